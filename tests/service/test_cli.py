"""The command line: what people type, what they read, and the status scripts look at."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from monitor_service import cli
from monitor_service.__about__ import __version__
from tests.servers import api_server, stock_redis
from tests.service.reports import CORRECT, MIXED, WRONG, body

# Port 1 is reserved, and nothing answers there.
NOBODY = "http://127.0.0.1:1"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def acr(monkeypatch, capsys) -> Callable[..., Ended]:
    """`acr` with these arguments, in this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["acr", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def url(base_url: str, monkeypatch) -> str:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ACR_MONITOR_URL", base_url)
    monkeypatch.setenv("USER", "ana")
    return base_url


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "monitor_service", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("serve", "runs", "set", "demo"):
        assert f" {name} " in ended.stdout


def test_it_says_its_version(acr):
    assert acr("--version") == Ended(0, f"acr {__version__}\n", "")


def test_runs_shows_a_line_for_each_run(acr, url, client, run_id):
    rewards = [WRONG, CORRECT, CORRECT, MIXED]
    applied = {"settings_version": 1, "through_step": 0, "mode": "active", "threshold": 0.5}
    applied |= {"triggered": True, "injected_wrong": 1, "injected_correct": 2}
    report = body(1, applied=applied) | {"rewards": rewards}
    client.post(f"/v1/runs/{run_id}/steps", json=report)
    ended = acr("runs")
    assert ended.status == 0
    title, *_ = ended.out.splitlines()
    assert re.split(r"  +", title) == list(cli.COLUMNS)
    (line,) = [line for line in ended.out.splitlines() if line.split()[:1] == [run_id]]
    # ACR 3/4: wrong 1/4, correct 2/4; 1 + 2 groups injected.
    *figures, age = line.split()
    assert figures == [run_id, "1", "1", "0.75", "0.25", "0.50", "0.500", "active", "3"]
    assert re.fullmatch(r"\d+s", age)


def test_a_run_without_a_step_shows_dashes_and_not_zeros(acr, url, run_id):
    (line,) = [line for line in acr("runs").out.splitlines() if line.split()[:1] == [run_id]]
    assert line.split() == [run_id, "0", "1", "-", "-", "-", "0.500", "active", "0", "-"]


def test_runs_never_cuts_an_id(acr, url, client, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long_id = "x" * 128
    assert client.post("/v1/runs", json={"id": long_id}).is_success
    assert long_id in [line.split()[0] for line in acr("runs").out.splitlines()]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (12.9, "12s"), (60, "1m"), (3599, "59m"), (3 * 3600, "3h"), (2 * 86400, "2d")],
)
def test_an_age_is_told_in_its_largest_unit(seconds, words):
    assert cli._age(seconds) == words


def test_runs_json_is_what_the_api_says(acr, url, client, run_id):
    ended = acr("runs", "--json")
    assert json.loads(ended.out) == client.get("/v1/runs").json()


def test_without_runs_it_says_how_to_make_one(acr, folder):
    with stock_redis(folder) as redis_url, api_server(redis_url) as empty:
        ended = acr("runs", "--url", f"{empty}/")
    train = f"acr-train examples/toy.yaml --use_avspo true --monitor_url {empty}"
    assert (ended.status, ended.out) == (0, f"No runs yet. Train one: {train}\n")


def test_an_address_may_come_without_a_scheme(acr, url, run_id):
    assert run_id in acr("runs", "--url", url.removeprefix("http://")).out


def test_set_changes_settings_and_says_what_they_are_now(acr, url, client, run_id):
    ended = acr("set", run_id, "threshold=0.3", "target=wrong", "-r", "too many correct ones")
    assert ended.status == 0
    assert ended.out == f"{run_id}: threshold=0.3, target=wrong  (version 2, after step 0)\n"
    view = client.get(f"/v1/runs/{run_id}/settings").json()
    assert (view["settings"]["threshold"], view["settings"]["target"]) == (0.3, "wrong")
    assert (view["changed"]["actor"], view["changed"]["reason"]) == ("ana", "too many correct ones")


def test_set_json_is_what_the_api_says(acr, url, client, run_id):
    ended = acr("set", run_id, "alpha=0.4", "--reason", "why", "--json")
    assert json.loads(ended.out) == client.get(f"/v1/runs/{run_id}/settings").json()


@pytest.mark.parametrize("text", ["3e-1", "0.3", ".3", "+.3"])
def test_set_reads_numbers_as_people_write_them(acr, url, client, run_id, text):
    assert acr("set", run_id, f"threshold={text}", "-r", "why").status == 0
    assert client.get(f"/v1/runs/{run_id}/settings").json()["settings"]["threshold"] == 0.3


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        (["threshold=0.95"], True),
        (["threshold=0.05"], True),
        (["threshold=0.9"], False),
        (["threshold=0.95", "controller=fixed"], False),
        (["alpha=0.4"], False),
    ],
)
def test_set_tells_of_a_threshold_that_will_not_stay(acr, url, run_id, changes, is_told):
    ended = acr("set", run_id, *changes, "-r", "why")
    hint = "hint: the paper controller keeps it in [0.1, 0.9]; add controller=fixed to pin it\n"
    assert (ended.status, ended.err) == (0, hint if is_told else "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("threshold=7", "threshold: must be a number in [0, 1]; got 7"),
        ("threshold=high", "threshold: must be a number in [0, 1]; got 'high'"),
        ("threshold=inf", "threshold: must be a number in [0, 1]; got 'inf'"),
        ("threshold=[/]", "threshold: must be a number in [0, 1]; got '[/]'"),
        ("tau=0.5", "tau: one of profile, mode, controller, threshold,"),
    ],
)
def test_a_refused_change_is_said_in_the_services_words_with_status_1(
    acr, url, client, run_id, change, words
):
    ended = acr("set", run_id, change, "-r", "why")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"acr: {words}")
    assert client.get(f"/v1/runs/{run_id}/settings").json()["settings"]["revision"] == 1


@pytest.mark.parametrize("run", ["nobody", "a/b", "a?b", "a#b"])
def test_an_unknown_run_is_named_with_status_1(acr, url, run):
    ended = acr("set", run, "alpha=0.4", "-r", "why")
    assert (ended.status, ended.out) == (1, "")
    assert run in ended.err


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
        ("serve", "--port", "many"),
        ("run",),
    ],
)
def test_a_mistyped_command_ends_with_status_2_and_does_nothing(acr, url, arguments):
    ended = acr(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: acr" in ended.err


def test_set_tells_how_to_find_a_run_that_exists(acr, url):
    assert acr("set", "nobody", "alpha=0.4", "-r", "why").err.endswith(" (`acr runs` lists them)\n")


@pytest.mark.parametrize("url", [NOBODY, "http://[::1", "ftp://x"])
@pytest.mark.parametrize("arguments", [("runs",), ("set", "run", "alpha=0.4", "-r", "why")])
def test_without_a_monitor_it_names_the_address_with_status_1(acr, arguments, url):
    ended = acr(*arguments, "--url", url)
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


@pytest.mark.parametrize(
    ("arguments", "status"), [(("runs",), 200), (("set", "run", "alpha=0.4", "-r", "why"), 501)]
)
def test_what_is_no_monitor_is_not_taken_for_one(acr, monkeypatch, arguments, status):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        ended = acr(*arguments, "--url", address)
        server.shutdown()
        thread.join()
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"acr: what answers at {address} is not a monitor (status {status})\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--redis-url", "unix:///nowhere/redis.sock"), "unix:///nowhere/redis.sock: Redis does"),
        (("--redis-url", "redis://user:secret@127.0.0.1:1"), "redis://127.0.0.1:1: Redis does"),
        (("--redis-url", "http://x"), "redis_url: must be redis://"),
        (("--host", "0.0.0.0"), "host: must be a loopback address"),
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
