"""`acr grafana publish`: twice is once, and what others saved stays theirs."""

import json
import re
import ssl
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint

import pytest

from dashboards.grafana import connection
from dashboards.grafana.connection import Grafana
from dashboards.grafana.publication import JSON_DIR, documents
from monitor_service.__about__ import __version__
from tests.grafana.fake import (
    EDITOR,
    LOKI,
    PROMETHEUS,
    TOKEN,
    hang,
    lose_answer,
    meanwhile,
    reply,
)

UIDS = [document["uid"] for document in documents()]
SAVE = "POST /api/dashboards/db"


def outcomes(ended) -> dict[str, str]:
    return {one["uid"]: one["outcome"] for one in json.loads(ended.out)["dashboards"]}


def all_are(outcome: str) -> dict[str, str]:
    return dict.fromkeys(UIDS, outcome)


def variable(fake, uid: str, name: str) -> dict:
    there = fake.dashboards[uid].newest["data"]["templating"]["list"]
    return next(one for one in there if one["name"] == name)


def test_every_dashboard_is_published_into_a_new_folder(acr_grafana, fake):
    ended = acr_grafana("publish")
    assert ended.status == 0, ended.err
    assert fake.folders["acr"]["title"] == "ACR"
    assert set(fake.dashboards) == {path.stem for path in JSON_DIR.glob("*.json")} == {*UIDS}
    for uid, saved in fake.dashboards.items():
        assert saved.folder_uid == "acr"
        assert saved.newest["message"].startswith(f"acr-monitor {__version__}, content ")
        assert f"{fake.url}/d/{uid}/slug" in ended.words
    assert ended.out.count("created") == 1 + len(UIDS)


def test_publishing_twice_changes_nothing(acr_grafana, fake):
    assert outcomes(acr_grafana("publish", "--json")) == all_are("created")
    fake.requests.clear()
    assert outcomes(acr_grafana("publish", "--json")) == all_are("unchanged")
    assert fake.writes == []
    assert [len(saved.versions) for saved in fake.dashboards.values()] == [1] * len(UIDS)


def test_a_dry_run_says_the_same_and_changes_nothing(acr_grafana, fake):
    ended = acr_grafana("publish", "--dry-run", "--json")
    assert outcomes(ended) == all_are("created")
    assert json.loads(ended.out)["is_new_folder"] is True
    assert fake.writes == []
    assert "Nothing was changed" in acr_grafana("publish", "--dry-run").out


def test_other_content_is_a_new_version_and_older_grafanas_list_them_otherwise(acr_grafana, fake):
    acr_grafana("publish")
    fake.version = "10.4.2"
    more = ("--monitor-url", "acr.example.org/", "--json")
    assert outcomes(acr_grafana("publish", *more)) == all_are("updated")
    assert outcomes(acr_grafana("publish", *more)) == all_are("unchanged")
    for uid, saved in fake.dashboards.items():
        assert saved.newest["version"] == 2
        found = variable(fake, uid, "monitor_url")
        assert found["query"] == found["current"]["value"] == "http://acr.example.org"
        assert [option["value"] for option in found["options"]] == ["http://acr.example.org"]


def test_the_address_of_links_is_the_public_one_of_the_monitor(acr_grafana, fake, monkeypatch):
    monkeypatch.setenv("ACR_PUBLIC_URL", "https://acr.example.org")
    acr_grafana("publish")
    assert variable(fake, UIDS[0], "monitor_url")["query"] == "https://acr.example.org"


def test_what_was_changed_by_hand_is_left_alone_until_it_is_to_be_replaced(acr_grafana, fake):
    acr_grafana("publish")
    fake.edit(UIDS[0], "my colours", title="Mine")
    ended = acr_grafana("publish", "--json")
    assert ended.status == 1
    assert outcomes(ended) == all_are("unchanged") | {UIDS[0]: "refused"}
    told = acr_grafana("publish").words
    assert "version 2 is not of acr: ana saved it" in told
    assert "(my colours); --overwrite replaces it" in told
    assert fake.dashboards[UIDS[0]].newest["data"]["title"] == "Mine"

    assert outcomes(acr_grafana("publish", "--overwrite", "--json"))[UIDS[0]] == "updated"
    assert fake.dashboards[UIDS[0]].newest["data"]["title"] != "Mine"
    assert len(fake.dashboards[UIDS[0]].versions) == 3
    assert outcomes(acr_grafana("publish", "--json")) == all_are("unchanged")


def test_a_dashboard_that_was_there_before_is_somebody_elses(acr_grafana, fake):
    fake.folders["acr"] = {"id": 1, "uid": "acr", "title": "ACR"}
    posted = {"dashboard": documents()[0], "folderUid": "acr", "message": "", "overwrite": False}
    assert fake.save(posted)[0] == 200
    assert outcomes(acr_grafana("publish", "--json"))[UIDS[0]] == "refused"


def test_one_that_is_saved_at_the_same_moment_is_not_overwritten(acr_grafana, fake):
    acr_grafana("publish")
    fake.faults.append((SAVE, meanwhile(lambda: fake.edit(UIDS[0], title="Mine"))))
    ended = acr_grafana("publish", "--monitor-url", "http://acr.example.org", "--json")
    assert outcomes(ended) == all_are("updated") | {UIDS[0]: "refused"}
    (why,) = [one["why"] for one in json.loads(ended.out)["dashboards"] if one["why"]]
    assert "The dashboard has been changed by someone else (412)" in why
    assert fake.dashboards[UIDS[0]].newest["data"]["title"] == "Mine"


def test_a_title_that_another_dashboard_has_is_told(acr_grafana, fake):
    acr_grafana("publish")
    other = {**documents()[0], "uid": "other"}
    del fake.dashboards[UIDS[0]]
    fake.save({"dashboard": other, "folderUid": "acr", "message": "", "overwrite": False})
    ended = acr_grafana("publish")
    assert ended.status == 1
    assert "A dashboard with the same name in the folder already exists (412)" in ended.words
    assert [*fake.dashboards["other"].versions] == [fake.dashboards["other"].newest]


def test_a_provisioned_dashboard_is_refused_before_anything_is_sent(acr_grafana, fake):
    acr_grafana("publish")
    fake.provisioned = {UIDS[0]}
    fake.requests.clear()
    ended = acr_grafana("publish", "--overwrite")
    assert (ended.status, fake.writes) == (1, [])
    assert "Grafana has it from a file" in ended.words


def test_a_folder_that_was_renamed_is_the_same_folder(acr_grafana, fake):
    acr_grafana("publish")
    fake.folders["acr"]["title"] = "RL"
    assert outcomes(acr_grafana("publish", "--json")) == all_are("unchanged")
    assert [*fake.folders] == ["acr"]
    assert fake.folders["acr"]["title"] == "RL"


def test_a_folder_that_somebody_made_is_found_by_its_title(acr_grafana, fake):
    fake.folders["dd1x"] = {"id": 1, "uid": "dd1x", "title": "RL team"}
    fake.folders["dd2x"] = {"id": 2, "uid": "dd2x", "title": "RL team, old"}
    acr_grafana("publish", "--folder", "RL team")
    assert {saved.folder_uid for saved in fake.dashboards.values()} == {"dd1x"}

    fake.folders["dd3x"] = {"id": 3, "uid": "dd3x", "title": "RL team"}
    ended = acr_grafana("publish", "--folder", "RL team")
    assert ended.status == 1
    assert (
        "--folder: must be the title of one folder, not of dd1x, dd3x; got 'RL team'" in ended.err
    )


def test_another_folder_moves_the_dashboards(acr_grafana, fake):
    acr_grafana("publish")
    assert outcomes(acr_grafana("publish", "--folder", "My Team!", "--json")) == all_are("updated")
    assert {saved.folder_uid for saved in fake.dashboards.values()} == {"my-team"}
    assert outcomes(acr_grafana("publish", "--folder", "Ψ", "--json")) == all_are("updated")
    (uid,) = {saved.folder_uid for saved in fake.dashboards.values()}
    assert fake.folders[uid]["title"] == "Ψ"


def test_an_empty_title_is_no_folder(acr_grafana, fake):
    ended = acr_grafana("publish", "--folder", " ")
    assert (ended.status, fake.writes) == (1, [])
    assert "--folder: must not be empty" in ended.err


def test_panels_ask_the_only_prometheus(acr_grafana, fake):
    acr_grafana("publish")
    chosen = {"text": "Prometheus", "value": "prom"}
    assert [variable(fake, uid, "datasource")["current"] for uid in UIDS] == [chosen] * len(UIDS)


def test_of_several_prometheuses_one_has_to_be_named(acr_grafana, fake):
    second = {**PROMETHEUS, "uid": "prom-2", "name": "Other"}
    fake.datasources.append(second)
    ended = acr_grafana("publish")
    assert (ended.status, fake.writes) == (1, [])
    assert "must be one of prom (Prometheus), prom-2 (Other); got None" in ended.err
    assert acr_grafana("publish", "--datasource-uid", "prom-2").status == 0
    assert variable(fake, UIDS[0], "datasource")["current"]["value"] == "prom-2"
    # Loki is there, and no Prometheus.
    assert "got 'loki'" in acr_grafana("publish", "--datasource-uid", "loki").err


def test_without_a_prometheus_nothing_is_published(acr_grafana, fake):
    fake.datasources = [LOKI]
    ended = acr_grafana("publish")
    assert (ended.status, fake.writes) == (1, [])
    assert "Grafana has no Prometheus among its data sources: add the one" in ended.err


@pytest.mark.parametrize("taken", [409, 412])
def test_a_folder_that_search_does_not_know_yet_is_there_all_the_same(acr_grafana, fake, taken):
    fake.is_search_behind, fake.uid_taken = True, taken
    acr_grafana("publish")
    ended = acr_grafana("publish", "--json")
    assert outcomes(ended) == all_are("unchanged")
    assert json.loads(ended.out)["is_new_folder"] is False


def test_a_folder_is_found_among_any_number(acr_grafana, fake, monkeypatch):
    monkeypatch.setattr(connection, "PAGE", 2)
    for number in range(5):
        uid = f"dd{number}x"
        fake.folders[uid] = {"id": number, "uid": uid, "title": f"Team {number}"}
    acr_grafana("publish", "--folder", "Team 4")
    assert {saved.folder_uid for saved in fake.dashboards.values()} == {"dd4x"}


@pytest.mark.parametrize(
    "permission",
    [
        *("datasources:read", "folders:create"),
        *("dashboards:read", "dashboards:create", "dashboards:write"),
    ],
)
def test_a_missing_permission_is_named(acr_grafana, fake, permission):
    fake.tokens[TOKEN] = EDITOR - {permission}
    if permission == "dashboards:write":
        acr_grafana("publish")
    ended = acr_grafana("publish")
    assert ended.status == 1
    assert f"Permissions needed: {permission} (403); the token's service account needs" in ended.err
    assert f"{permission}" in ended.err.partition("(403)")[2]


def test_a_token_that_is_none_there_is_told(acr_grafana, fake, monkeypatch):
    monkeypatch.setenv("ACR_GRAFANA_TOKEN", "glsa_old")
    ended = acr_grafana("publish")
    assert ended.status == 1
    assert "Invalid API key (401); is the token that of a service account there" in ended.err
    assert "glsa_old" not in ended.err


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("", "ACR_GRAFANA_TOKEN: must be the token of a service account of Grafana; got 'nothing'"),
        ("glsa one", "token: must be printable, without spaces; got 'what was given'"),
        ("glsä", "token: must be printable, without spaces; got 'what was given'"),
    ],
)
def test_what_can_be_no_token_is_not_sent(acr_grafana, fake, monkeypatch, token, told):
    monkeypatch.setenv("ACR_GRAFANA_TOKEN", token)
    ended = acr_grafana("publish")
    assert (ended.status, fake.requests) == (1, [])
    assert ended.err == f"acr: {told}\n"


def test_the_token_may_come_from_a_file(acr_grafana, fake, monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setenv("ACR_GRAFANA_TOKEN_FILE", str(file))
    assert "not beside ACR_GRAFANA_TOKEN" in acr_grafana("publish").err
    monkeypatch.delenv("ACR_GRAFANA_TOKEN")
    assert acr_grafana("publish").status == 0
    monkeypatch.setenv("ACR_GRAFANA_TOKEN_FILE", str(tmp_path))
    assert "must be a file that can be read (IsADirectoryError)" in acr_grafana("publish").err


def test_a_grafana_that_is_not_there_is_told_in_a_sentence(acr_grafana, fake):
    port = fake.server_address[1]
    fake.shutdown()
    fake.server_close()
    ended = acr_grafana("publish")
    assert ended.status == 1
    assert ended.err == (
        f"acr: no Grafana answers at http://127.0.0.1:{port}, as --grafana-url has it: "
        "[Errno 111] Connection refused\n"
    )


def test_a_host_that_can_have_no_address_is_told_in_a_sentence(acr_grafana, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    ended = acr_grafana("publish", "--grafana-url", "http://a..b")
    assert ended.status == 1
    assert ended.err.startswith("acr: no Grafana answers at http://a..b, as --grafana-url has it: ")
    assert ended.err.count("\n") == 1


def test_an_address_where_something_else_answers_is_told(acr_grafana, served):
    ended = acr_grafana("publish", "--grafana-url", served.url)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == (
        f"acr: what answers at {served.url} is not a Grafana, or its address has a path that is "
        "missing here (404)\n"
    )


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (
            reply(500, '{"message": "database is locked"}'),
            "failed to .*: database is locked \\(500",
        ),
        (reply(502, "<html>Bad gateway</html>", "text/html"), "failed to .*: <html>Bad gateway"),
        (reply(200, "<html>Log in</html>", "text/html"), "is not a Grafana, or not one"),
        (reply(200, "so it is"), "is not a Grafana, or not one"),
        (reply(200, "[1, 2]"), "is not a Grafana, or not one"),
        (reply(404, "page not found", "text/plain"), "(not found|missing here) \\(404\\)"),
        (reply(302, "", location="https://grafana.example.org"), "redirects to https://grafana.ex"),
        (lose_answer, "no Grafana answers at .*: Remote end closed connection"),
    ],
)
@pytest.mark.parametrize("request_line", ["GET /api/health", "POST /api/folders"])
def test_strange_answers_end_it_with_a_sentence(acr_grafana, fake, behaviour, told, request_line):
    fake.faults.append((request_line, behaviour))
    ended = acr_grafana("publish")
    assert ended.status == 1
    assert re.search(told, ended.err)
    assert ended.err.count("\n") == 1
    assert not fake.dashboards
    # What went wrong once stands in nobody's way.
    assert acr_grafana("publish").status == 0


def test_a_grafana_that_hangs_is_given_up(acr_grafana, fake, monkeypatch):
    monkeypatch.setattr(Grafana.__init__, "__kwdefaults__", {"timeout_s": 0.2})
    fake.faults.append((SAVE, hang))
    ended = acr_grafana("publish")
    assert ended.status == 1
    assert re.search(r"no Grafana answers at .*: .*timed out", ended.err)
    assert acr_grafana("publish").status == 0


def test_a_grafana_that_is_too_old_is_told(acr_grafana, fake):
    fake.version = "8.5.27"
    ended = acr_grafana("publish")
    assert (ended.status, fake.writes) == (1, [])
    assert "is 8.5.27: 9.0 is the first that finds dashboards" in ended.err


@pytest.mark.parametrize(
    "url",
    [
        "ftp://here",
        "http://",
        "http://admin:secret@here",
        "http://:secret@h",
        "http://h/?a=1",
        "http://h:x/",
        "http://a\x01b/",
    ],
)
def test_what_can_be_no_address_is_told(acr_grafana, fake, url):
    ended = acr_grafana("publish", "--grafana-url", url)
    assert (ended.status, fake.requests) == (1, [])
    assert "--grafana-url: must be" in ended.err
    assert "secret" not in ended.err


def test_a_certificate_of_your_own_is_found_by_the_variable(
    acr_grafana, fake, monkeypatch, tmp_path
):
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -nodes"
    make += " -subj /CN=grafana -addext subjectAltName=IP:127.0.0.1 -keyout key -out certificate"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    fake.socket = context.wrap_socket(fake.socket, server_side=True)
    over_tls = ("publish", "--grafana-url", fake.url.replace("http", "https"))
    ended = acr_grafana(*over_tls)
    assert ended.status == 1
    assert re.search(r"no Grafana answers at https://.*certificate verify failed", ended.err)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
    ended = acr_grafana(*over_tls)
    assert ended.status == 0, ended.err
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere"))
    assert f"{tmp_path / 'nowhere'}" in acr_grafana(*over_tls).err


def test_a_grafana_below_a_path_is_asked_there(acr_grafana, fake):
    fake.prefix = "/grafana"
    ended = acr_grafana("publish", "--grafana-url", f"{fake.url}/grafana/")
    assert ended.status == 0, ended.err
    assert f"{fake.url}/grafana/d/{UIDS[0]}/slug" in ended.words
    assert "its address has a path that is missing here (404)" in acr_grafana("publish").err


def test_the_distribution_brings_the_group_and_the_dashboards():
    project = tomllib.loads((JSON_DIR.parents[1] / "pyproject.toml").read_text())
    named = project["project"]["entry-points"]["acr.groups"]["grafana"]
    group = EntryPoint("grafana", named, "acr.groups").load()()
    assert [one.name for one in group.registered_commands] == ["publish", "annotate"]
    assert "dashboards" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_the_commands_need_nothing_that_only_the_builders_need_and_ask_for_the_rest_late():
    code = "import sys, dashboards.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    builders, late = {"grafana_foundation_sdk", "dashboards.build"}, {"grafana_client", "requests"}
    assert not (builders | late) & {*done.stdout.split()}


def test_without_its_extra_a_command_says_what_to_install(acr_grafana, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "grafana_client", None)
    ended = acr_grafana("publish")
    assert (ended.status, fake.requests) == (1, [])
    assert "acr grafana needs grafana-client: pip install 'acr-monitor[grafana]'\n" in ended.err
