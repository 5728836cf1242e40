"""The command line: what people type, what they read, and the status scripts look at."""

import doctest
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from monitor_service import formats
from monitor_service.__about__ import __version__
from monitor_service.cli import bars, values
from monitor_service.cli.main import COMMANDS
from monitor_service.cli.runs import COLUMNS
from monitor_service.formats import age
from tests.servers import api_server, stock_redis
from tests.service.acr import Ended, applied, in_a_terminal, plain
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id

# Port 1 is reserved, and nothing answers there.
NOBODY = "http://127.0.0.1:1"

ON_A_RUN = [
    ("set", "{}", "alpha=0.4", "-r", "why"),
    ("set", "{}", "alpha=0.4", "-r", "why", "--for", "5m"),
    ("unset", "{}", "1"),
    ("show", "{}"),
    ("watch", "{}"),
    ("history", "{}"),
    ("events", "{}"),
    ("events", "{}", "--follow"),
    ("audit", "{}"),
    ("groups", "{}", "1"),
    ("forecast", "{}"),
    ("tag", "{}", "team=rl"),
    ("note", "{}", "a note"),
    ("delete", "{}"),
    ("restore", "{}"),
    ("export", "{}"),
    ("result", "{}", "0.4", "--benchmark", "MATH-500"),
    ("kill", "{}"),
    ("rearm", "{}", "-r", "why"),
    ("save", "{}"),
    ("stop", "{}"),
]
"""Every command about one run, with {} in the place of its id."""


def about(run: str, arguments: tuple[str, ...]) -> list[str]:
    return [run if text == "{}" else text for text in arguments]


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "monitor_service", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("serve", "runs", "show", "set", "diagnose", "demo"):
        assert f" {name} " in ended.stdout


def test_every_command_about_a_run_is_tried_here():
    elsewhere = {"runs", "defaults", "diagnose", "import", "report", "serve"}
    ours = {name for commands in COMMANDS.values() for name in commands}
    assert {arguments[0] for arguments in ON_A_RUN} == ours - elsewhere


def test_it_says_its_version(acr):
    assert acr("--version") == Ended(0, f"acr {__version__}\n", "")


def test_a_shell_can_complete_the_commands(acr, monkeypatch):
    monkeypatch.setenv("_ACR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "acr re")
    monkeypatch.setenv("COMP_CWORD", "1")
    ended = acr()
    assert (ended.status, set(ended.out.split())) == (0, {"rearm", "report", "restore", "result"})


def line_of(ended: Ended, run_id: str) -> list[str]:
    (line,) = [line for line in ended.out.splitlines() if line.split()[:1] == [run_id]]
    return line.split()


def test_runs_shows_a_line_for_each_run(acr, client, run_id):
    rewards = [WRONG, CORRECT, CORRECT, MIXED]
    done = applied(1, injected_wrong=1, injected_correct=2)
    client.post(f"/v1/runs/{run_id}/steps", json=body(1, applied=done) | {"rewards": rewards})
    ended = acr("runs")
    assert ended.status == 0
    title, *_ = ended.out.splitlines()
    assert re.split(r"  +", title) == list(COLUMNS)
    # ACR 3/4: wrong 1/4, correct 2/4; 1 + 2 groups injected.
    *figures, reported = line_of(ended, run_id)[:11]
    assert figures == [run_id, "1", "1", "0.75", "0.25", "0.50", "0.500", "active", "3", "ok"]
    assert re.fullmatch(r"\d+s", reported)
    assert f"{reported}  Too early to tell: 1 step.\n" in ended.out


def test_a_run_without_a_step_shows_dashes_and_not_zeros(acr, run_id):
    dashes = [run_id, "0", "1", "-", "-", "-", "0.500", "active", "0", "-", "-"]
    assert line_of(acr("runs"), run_id)[:11] == dashes


def test_runs_shows_the_worst_verdict(acr, client, run_id):
    reports = [body(step, scalars={"kl": 1000.0}) for step in range(1, 41)]
    client.post(f"/v1/runs/{run_id}/steps", json=reports)
    worst, *_ = client.get(f"/v1/runs/{run_id}").json()["verdicts"]
    assert line_of(acr("runs"), run_id)[9] == f"{worst['severity']}:{worst['rule']}"


def test_runs_shows_what_is_in_force_not_what_is_configured(acr, client, run_id):
    acr("set", run_id, "threshold=0.2", "mode=shadow", "-r", "why", "--for-steps", "5")
    assert line_of(acr("runs"), run_id)[6:8] == ["0.200", "shadow"]
    acr("kill", run_id)
    assert line_of(acr("runs"), run_id)[6:8] == ["0.500", "locked"]


def test_runs_never_cuts_an_id(acr, client):
    long_id = new_run_id() + "x" * 100
    assert client.post("/v1/runs", json={"id": long_id}).is_success
    assert line_of(acr("runs"), long_id)
    assert long_id in in_a_terminal(80, "runs")


def test_runs_leaves_columns_out_on_a_terminal_that_is_too_narrow(folder):
    # In full the line takes 26 + 4 + 7 + 3 + 5 + 7 + 9 + 6 + 8 + 7 + 11 and 10 gaps of 2: 113;
    # with "Waiting for the first report." and another gap, 29 + 2 more: 144.
    with stock_redis(folder) as redis_url, api_server(redis_url) as alone:
        created = httpx.post(f"{alone}/v1/runs", json={"id": "x" * 26}, trust_env=False)
        assert created.is_success
        shown = {
            columns: plain(in_a_terminal(columns, "runs", "--url", alone)).splitlines()
            for columns in (144, 113, 112, 80)
        }
    assert re.split(r"  +", shown[144][0]) == list(COLUMNS)
    assert re.split(r"  +", shown[113][0]) == list(COLUMNS[:-1])
    assert re.split(r"  +", shown[112][0]) == [name for name in COLUMNS[:-1] if name != "attempt"]
    assert max(map(len, shown[80])) <= 80
    assert "x" * 26 in shown[80][1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (12.9, "12s"), (60, "1m"), (3599, "59m"), (3 * 3600, "3h"), (2 * 86400, "2d")],
)
def test_an_age_is_told_in_its_largest_unit(seconds, words):
    assert age(seconds) == words


@pytest.mark.parametrize("module", [bars, formats, values])
def test_the_examples_in_the_documentation_of_the_formats_are_true(module):
    failed, attempted = doctest.testmod(module)
    assert (failed, attempted > 0) == (0, True)


def test_runs_json_is_what_the_api_says(acr, client, run_id):
    ended = acr("runs", "--json")
    listed = client.get("/v1/runs", params={"limit": 200}).json()
    assert json.loads(ended.out) == {"runs": listed["runs"]}


def test_without_runs_it_says_how_to_make_one(acr, folder):
    with stock_redis(folder) as redis_url, api_server(redis_url) as empty:
        ended = acr("runs", "--url", f"{empty}/")
    train = f"acr-train examples/toy.yaml --use_avspo true --monitor_url {empty}"
    assert (ended.status, ended.out) == (0, f"No runs yet. Train one: {train}\n")


def test_an_address_may_come_without_a_scheme(acr, base_url, run_id):
    assert run_id in acr("runs", "--url", base_url.removeprefix("http://")).out


@pytest.mark.parametrize("arguments", ON_A_RUN, ids=lambda found: " ".join(found))
def test_an_unknown_run_is_named_with_status_1_and_how_to_find_others(acr, arguments):
    ended = acr(*about("nobody", arguments))
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "acr: no run 'nobody'; create it first (`acr runs` lists them)\n"


@pytest.mark.parametrize("run", ["", "a b", "../runs", "a?b", "a#b", "[/]", "x" * 129])
@pytest.mark.parametrize("command", ["show", "kill"])
def test_what_cannot_be_the_id_of_a_run_is_wrong_usage(acr, run, command):
    ended = acr(command, run)
    assert (ended.status, ended.out) == (2, "")
    assert "id: 1 to 128 of letters" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "run", "alpha=0.4"),
        ("set", "run", "alpha", "-r", "why"),
        ("set", "run", "=0.4", "-r", "why"),
        ("set", "run", "-r", "why"),
        ("set", "run", "alpha=0.4", "alpha=0.5", "-r", "why"),
        ("set", "run", "alpha=0.4", "reason=x", "-r", "why"),
        ("set", "run", "alpha=0.4", "actor=bot", "-r", "why"),
        ("set", "run", "alpha=0.4", "-r", "why", "--for", "30"),
        ("set", "run", "alpha=0.4", "-r", "why", "--for", "25h"),
        ("set", "run", "alpha=0.4", "-r", "why", "--for-steps", "501"),
        ("set", "run", "alpha=0.4", "-r", "why", "--for", "1h", "--if-revision", "1"),
        ("unset", "run", "alpha"),
        ("rearm", "run"),
        ("result", "run", "0.4"),
        ("result", "run", "41.2", "--benchmark", "MATH-500"),
        ("result", "run", "many", "--benchmark", "MATH-500"),
        ("serve", "--port", "many"),
        ("run",),
    ],
    ids=lambda found: " ".join(found),
)
def test_a_mistyped_command_ends_with_status_2_and_does_nothing(acr, arguments):
    ended = acr(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: acr" in ended.err


@pytest.mark.parametrize("url", [NOBODY, "http://[::1", "ftp://x"])
@pytest.mark.parametrize("arguments", [("runs",), *ON_A_RUN], ids=lambda found: " ".join(found))
def test_without_a_monitor_it_names_the_address_with_status_1(acr, arguments, url):
    ended = acr(*about("run", arguments), "--url", url)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"acr: no monitor answers at {url}: ")
    where = "start one with `acr serve`, or say where with --url or ACR_MONITOR_URL"
    assert ended.err.endswith(f"; {where}\n")


class Page(BaseHTTPRequestHandler):
    """A web page, and HTML for an error: what a wrong address may lead to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_page(page: type[BaseHTTPRequestHandler] = Page) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "status"), [(("runs",), 200), (("set", "run", "alpha=0.4", "-r", "why"), 501)]
)
def test_what_is_no_monitor_is_not_taken_for_one(acr, arguments, status):
    with web_page() as address:
        ended = acr(*arguments, "--url", address)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"acr: what answers at {address} is not a monitor (status {status})\n"


class Older(Page):
    """A monitor of a version whose runs had other fields, and no diagnosis."""

    ANSWERS: ClassVar[Mapping[str, tuple[int, bytes]]] = {
        "/healthz": (200, b'{"status": "ok", "version": "0.0.9"}'),
        "/v1/runs": (200, b'{"runs": [{"name": "demo"}]}'),
    }

    def do_GET(self) -> None:
        missing = b'{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no"}'
        status, body = self.ANSWERS.get(self.path, (404, missing))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("arguments", [("runs",), ("show", "demo")])
def test_a_monitor_of_another_version_is_named_as_such(acr, arguments):
    with web_page(Older) as address:
        ended = acr(*arguments, "--url", address)
    assert (ended.status, ended.out) == (1, "")
    assert f"the monitor is acr 0.0.9, this is acr {__version__}: use one version" in ended.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--redis-url", "unix:///nowhere/redis.sock"), "unix:///nowhere/redis.sock: Redis does"),
        (("--redis-url", "redis://user:secret@127.0.0.1:1"), "redis://127.0.0.1:1: Redis does"),
        (("--redis-url", "http://x"), "redis_url: must be redis://"),
        (("--host", "0.0.0.0"), "other machines can reach 0.0.0.0, and there is no token"),
        (("--data-dir", "/dev/null/acr"), "data directory /dev/null/acr"),
        (("--port", "70000"), "port: must be in [0, 65535]; got 70000"),
        (("--host", "[/]", "--insecure"), "cannot listen on [/]:0"),
    ],
)
def test_what_keeps_serve_from_starting_is_said_in_one_line_with_status_1(acr, options, words):
    ended = acr("serve", "--port", "0", *options)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"acr: {words}")
    assert ended.err.count("\n") == 1
    assert "secret" not in ended.err
