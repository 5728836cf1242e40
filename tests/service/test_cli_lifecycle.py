"""`acr tag`, `note`, `delete`, `restore`, `defaults`, and which runs `acr runs` lists."""

import json

import pytest

from tests.service.reports import new_run_id
from tests.service.terminal import terminal


def ids(ended):
    return {line.split()[0] for line in ended.out.splitlines()[1:]}


def test_tags_are_added_replaced_and_taken_away(acr, run_id):
    assert acr("tag", run_id, "team=rl", "seed=1").out == "seed=1\nteam=rl\n"
    assert acr("tag", run_id, "seed=2", "--remove", "team").out == "seed=2\n"
    assert acr("tag", run_id).out == "seed=2\n"
    assert json.loads(acr("tag", run_id, "--json").out)["tags"] == {"seed": "2"}


@pytest.mark.parametrize("text", ["team", "=rl"])
def test_what_is_no_tag_is_wrong_usage(acr, run_id, text):
    ended = acr("tag", run_id, text)
    assert (ended.status, ended.out) == (2, "")
    assert "is not NAME=VALUE" in ended.err


def test_a_note_is_kept_shown_and_deleted(acr, run_id):
    assert acr("note", run_id, "two lines\nof text").out == "two lines\nof text\n"
    assert acr("note", run_id).out == "two lines\nof text\n"
    assert acr("note", run_id, "").out == ""
    assert acr("note", run_id).out == ""


def test_a_deleted_run_says_how_to_bring_it_back(acr, run_id):
    deleted = acr("delete", run_id, "-r", "a mistake")
    assert deleted.out == f"{run_id}: deleted; bring it back with: acr restore {run_id}\n"
    ended = acr("show", run_id)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.endswith(f"; bring it back with: acr restore {run_id}\n")
    assert run_id not in ids(acr("runs"))
    assert run_id in ids(acr("runs", "--state", "deleted"))
    assert acr("restore", run_id).out == f"{run_id}: restored, at step 0\n"
    assert run_id in ids(acr("runs"))


def test_purging_without_anybody_to_ask_needs_a_yes(acr, client, run_id):
    ended = acr("delete", run_id, "--purge")
    assert (ended.status, ended.out) == (2, "")
    assert client.get(f"/v1/runs/{run_id}").is_success
    purged = acr("delete", run_id, "--purge", "--yes")
    assert purged.out == f"{run_id}: purged; nothing of it is left\n"
    assert client.get(f"/v1/runs/{run_id}", params={"deleted": "true"}).status_code == 404


@pytest.mark.parametrize(("typed", "status"), [("{}", 0), ("yes", 2)])
def test_purging_asks_for_the_id_of_the_run(base_url, client, run_id, typed, status):
    with terminal("delete", run_id, "--purge", "--url", base_url) as shown:
        shown.shows("cannot be undone")
        shown.types(typed.format(run_id) + "\n")
        assert shown.ended() == status
    assert client.get(f"/v1/runs/{run_id}").is_success == (status != 0)


def test_runs_are_listed_by_tag_state_and_text(acr, client):
    name = new_run_id()
    for number, tags in enumerate([{"team": name}, {"team": name, "seed": "1"}, {}]):
        client.post("/v1/runs", json={"id": f"{name}-{number}", "tags": tags})
    assert ids(acr("runs", "--tag", f"team={name}")) == {f"{name}-0", f"{name}-1"}
    assert ids(acr("runs", "--tag", f"team={name}", "--tag", "seed=1")) == {f"{name}-1"}
    assert ids(acr("runs", name.upper())) == {f"{name}-0", f"{name}-1", f"{name}-2"}
    assert ids(acr("runs", name, "--limit", "1")) == {f"{name}-2"}
    client.post(f"/v1/runs/{name}-1/end", json={"attempt": 1})
    assert ids(acr("runs", name, "--state", "ended")) == {f"{name}-1"}
    assert acr("runs", f"{name}-9").out == "No such runs.\n"


def test_a_state_that_there_is_not_is_wrong_usage(acr):
    ended = acr("runs", "--state", "dead")
    assert (ended.status, ended.out) == (2, "")
    assert "'dead' is not one of" in ended.err


def test_a_run_that_is_nearly_named_is_offered(acr, client):
    name = new_run_id()
    client.post("/v1/runs", json={"id": f"{name}-qwen-guarded"})
    ended = acr("show", f"{name}-qwen-guardde")
    assert ended.status == 1
    assert f"; did you mean {name}-qwen-guarded?" in ended.err


@pytest.fixture
def defaults(acr, client):
    """`acr defaults`; what new runs start with is in the end what it was."""
    before = client.get("/v1/defaults").json()
    yield lambda *arguments: acr("defaults", *arguments)
    again = {"profile": before["profile"], "settings": before["settings"], "reason": "as before"}
    assert client.patch("/v1/defaults", json=again).is_success


def test_defaults_are_shown_changed_and_taken_back(client, defaults):
    assert defaults().sections["title"].startswith("profile paper, for runs that name none")
    changed = defaults("profile=guarded", "alpha=0.4", "temperature=0.9", "-r", "a trial")
    assert changed.status == 0
    assert "alpha=0.4 temperature=0.9" in changed.out
    assert "ana, 20" in changed.out
    assert ": a trial" in changed.out
    kept = defaults("--remove", "temperature", "alpha=0.3", "-r", "less of it")
    assert "alpha=0.3" in kept.out
    assert "temperature" not in kept.out
    created = client.post("/v1/runs", json={"id": new_run_id()}).json()["settings"]
    assert (created["profile"], created["alpha"]) == ("guarded", 0.3)
    assert json.loads(defaults("--json").out) == client.get("/v1/defaults").json()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("alpha=0.4",), "a change needs its --reason"),
        (("--remove", "alpha", "-r", "why"), "'alpha' is not among the defaults"),
    ],
)
def test_a_change_of_the_defaults_that_cannot_be_is_wrong_usage(defaults, arguments, words):
    ended = defaults(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert words in " ".join(ended.err.replace("│", " ").split())


def test_a_default_out_of_range_is_named(defaults):
    ended = defaults("alpha=2", "-r", "why")
    assert (ended.status, ended.out) == (1, "")
    assert "alpha" in ended.err
