"""The Python client, against a real monitor: typed answers and errors, broken connections."""

import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest
import redis

from monitor_service.__about__ import __version__
from monitor_service.client.api import MonitorApi
from monitor_service.client.http import ClientError, NotUnderstood, Unreachable
from monitor_service.client.sse import frames
from monitor_service.client.stream import Lost, Message, Reconnected, Told
from monitor_service.engine.fields import FIELDS
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.resources import EventView, Glance, Problem, Run, StepRecord
from monitor_service.series import row
from monitor_service.store.keys import RunKeys
from monitor_service.wire import CreateRun, pack
from tests.servers import acr_serve, eventually
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id, report

T = TypeVar("T")


@pytest.fixture
def monitor(base_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MonitorApi]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MonitorApi(base_url) as opened:
        yield opened


def kinds(monitor: MonitorApi, run_id: str) -> list[str]:
    return [view.event.kind for view in monitor.events(run_id)]


def test_a_run_is_created_reported_on_and_read_back(monitor):
    run_id = new_run_id()
    created = monitor.create(CreateRun(id=run_id, profile="guarded", tags={"team": "rl"}))
    assert (created.id, created.settings.profile, created.tags) == (
        run_id,
        "guarded",
        {"team": "rl"},
    )
    ack = monitor.report(run_id, [report(1), report(2)])
    assert [one.status for one in ack.results] == ["recorded", "recorded"]
    assert ack.settings.through_step == 2
    run = monitor.run(run_id)
    assert run.step == 2
    assert run.last is not None
    # By the report: 1 wrong and 1 correct of 4 groups.
    assert run.last.collapse.acr == 0.5
    assert monitor.step(run_id, 1).collapse.acr == 0.5
    assert monitor.end(run_id, attempt=1, how="stopped").ended == "stopped"
    assert kinds(monitor, run_id)[:2] == ["ended", "created"]


def test_packed_rewards_and_missing_ones_arrive_as_they_were(monitor, run_id):
    rewards = np.array([MIXED, [np.nan, 0.0, 0.0, 0.0]])
    packed = msgspec.structs.replace(report(1), rewards=pack(rewards))
    assert monitor.report(run_id, packed).results[0].status == "recorded"
    first, second = monitor.groups(run_id, 1).groups
    assert (first.outcome, first.rewards) == ("mixed", MIXED)
    assert (second.outcome, second.rewards) == ("all_wrong", [None, 0.0, 0.0, 0.0])


def test_pages_are_turned_until_the_end(monitor, run_id):
    # A page of the list of runs has 100 of them, of records 1000, of columns 10000.
    others = {new_run_id() for _ in range(101)}
    for other in others:
        monitor.create(CreateRun(id=other, tags={"page": run_id}))
    assert {run.id for run in monitor.runs(tags={"page": run_id})} == others
    for start in range(1, 1101, 100):
        monitor.report(run_id, [report(step) for step in range(start, start + 100)])
    assert [one.step for one in monitor.steps(run_id)] == list(range(1, 1101))
    assert [one.step for one in monitor.steps(run_id, first=999, last=1001)] == [999, 1000, 1001]


def test_figures_come_as_columns_and_as_csv(monitor, run_id):
    monitor.report(run_id, [report(1), report(2, rewards=[WRONG] * 3 + [MIXED])])
    found = monitor.columns(run_id, ["acr", "entropy"])
    assert found.columns == {"step": [1, 2], "acr": [0.5, 0.75], "entropy": [None, None]}
    assert (found.steps_from, found.steps_to, found.total) == (1, 2, 2)
    assert monitor.columns(run_id, ["acr"], limit=1).columns["step"] == [1]
    assert list(monitor.csv(run_id, ["acr"])) == ["step,acr", "1,0.5", "2,0.75"]


def test_who_asks_and_what_can_be_set_is_told(monitor):
    assert not monitor.me().is_token_needed
    assert monitor.me().scopes == ["read", "report", "control"]
    assert monitor.fields() == FIELDS


def test_csv_of_a_long_run_has_its_names_once(monitor, run_id, redis_url):
    # As if all these steps had been reported; a page has 10,000 of them.
    monitor.report(run_id, report(1))
    record = monitor.step(run_id, 1)
    rows = [row(msgspec.structs.replace(record, step=step)) for step in range(2, 10_100)]
    with redis.Redis.from_url(redis_url) as store:
        store.append(RunKeys(run_id).series, b"".join(rows))
    monitor.report(run_id, report(10_100))
    lines = list(monitor.csv(run_id, ["acr"]))
    assert lines[0] == "step,acr"
    assert lines[1:] == [f"{step},0.5" for step in range(1, 10_101)]
    assert monitor.columns(run_id, ["acr"]).columns["step"] == list(range(1, 10_101))
    assert len(monitor.columns(run_id, ["acr"], points=10).columns["step"]) <= 10


def test_settings_are_changed_and_the_change_is_in_the_history(monitor, run_id):
    changed = monitor.change(run_id, {"threshold": 0.3}, reason="trying it", actor="ana")
    assert changed.settings.threshold == 0.3
    with pytest.raises(ClientError) as refused:
        monitor.change(run_id, {"threshold": 0.4}, reason="late", if_revision=1)
    assert (refused.value.status, refused.value.kind) == (412, "revision-conflict")
    (order,) = monitor.orders(run_id)
    assert (order.actor, order.reason) == ("ana", "trying it")
    assert (order.old["threshold"], order.new["threshold"]) == (0.5, 0.3)
    assert order.origin is not None
    assert str(order.origin.client).startswith("acr/")


def test_orders_are_given(monitor, run_id):
    given = monitor.override(run_id, {"mode": "shadow"}, for_steps=5, for_s=60, reason="a look")
    assert [one.number for one in given.settings.overrides] == [1]
    assert monitor.end_override(run_id, 1).settings.overrides == ()
    assert monitor.kill(run_id, reason="hacked").settings.acting_mode == "locked"
    assert monitor.rearm(run_id, reason="it was the data").settings.kill is None
    command = monitor.command(run_id, "save").settings.command
    assert command is not None
    assert command.kind == "save"
    assert monitor.settings(run_id).settings.command == command


def test_health_forecast_and_result(monitor, run_id):
    monitor.report(run_id, report(1))
    assert monitor.diagnosis(run_id).verdicts == []
    assert not monitor.forecast(run_id).forecast.ready
    assert monitor.result(run_id, accuracy=0.4, benchmark="MATH-500").accuracy == 0.4
    # The text may be a second old.
    eventually(lambda: f'run="{run_id}"' in monitor.metrics(), "the run is shown")
    assert monitor.health().version == __version__
    assert monitor.alerts().sinks == []


def test_a_run_is_described_deleted_and_restored(monitor, run_id):
    described = monitor.describe(run_id, tags={"team": "rl", "seed": "1"}, notes="the first one")
    assert (described.tags, described.notes) == ({"team": "rl", "seed": "1"}, "the first one")
    assert monitor.describe(run_id, tags={"seed": None}).tags == {"team": "rl"}
    monitor.delete(run_id, reason="a mistake")
    with pytest.raises(ClientError) as refused:
        monitor.run(run_id)
    assert refused.value.kind == "run-deleted"
    assert monitor.run(run_id, deleted=True).deleted is not None
    assert run_id in {run.id for run in monitor.runs(state="deleted")}
    assert monitor.restore(run_id).notes == "the first one"
    monitor.delete(run_id)
    monitor.purge(run_id)
    with pytest.raises(ClientError) as unknown:
        monitor.run(run_id, deleted=True)
    assert unknown.value.kind == "run-not-found"


def test_an_exported_run_is_imported_under_another_name(monitor, run_id):
    monitor.report(run_id, [report(1), report(2)])
    copy = f"{run_id}-copy"
    assert monitor.import_run(copy, monitor.export(run_id)).step == 2
    ours = [one.collapse for one in monitor.steps(run_id)]
    assert [one.collapse for one in monitor.steps(copy)] == ours


def test_defaults_are_for_new_runs(monitor):
    before = monitor.defaults()
    try:
        changed = monitor.change_defaults(settings={"alpha": 0.4}, reason="a trial", actor="ana")
        assert changed.settings == {"alpha": 0.4}
        assert monitor.create(CreateRun(id=new_run_id())).settings.alpha == 0.4
        with pytest.raises(ClientError) as refused:
            monitor.change_defaults(settings={}, reason="late", if_revision=before.revision)
        assert refused.value.status == 412
    finally:
        monitor.change_defaults(settings=before.settings, reason="the trial is over")


def test_a_refusal_names_the_field_its_value_and_what_is_allowed(monitor, run_id):
    with pytest.raises(ClientError, match="threshold") as refused:
        monitor.change(run_id, {"threshold": 2}, reason="why")
    problem = refused.value.problem
    assert (refused.value.status, problem.field, problem.value) == (422, "threshold", "2")
    assert problem.allowed
    assert refused.value.path == f"/v1/runs/{run_id}/settings"


def test_reports_that_contradict_say_what_became_of_each(monitor, run_id):
    monitor.report(run_id, report(1))
    with pytest.raises(ClientError) as refused:
        monitor.report(run_id, [report(1, rewards=[CORRECT]), report(2)])
    results = refused.value.problem.results or []
    assert [one.status for one in results] == ["conflict", "recorded"]


@pytest.mark.parametrize("run_id", ["", "../runs", "a/b", "a b"])
def test_what_can_be_no_id_is_refused_before_it_becomes_a_path(monitor, run_id):
    with pytest.raises(InvalidInput, match="id: 1 to 128"):
        monitor.run(run_id)


@pytest.mark.parametrize("token", ["", "acr_1 2", "acr_1\n", "acr_ä"])
def test_what_can_be_no_token_is_refused_without_being_repeated(token):
    with pytest.raises(InvalidInput) as refused:
        MonitorApi("http://127.0.0.1:1", token=token)
    assert str(refused.value) == "token: must be printable, without spaces; got 'what was given'"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1", "ftp://x"])
def test_no_answer_names_the_address(url, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(Unreachable, match="no monitor answers at"), MonitorApi(url) as nobody:
        nobody.health()


def test_a_password_in_the_address_is_not_shown(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MonitorApi("http://ana:secret@127.0.0.1:1") as nobody, pytest.raises(Unreachable) as error:
        nobody.health()
    assert "secret" not in str(error.value)


def test_a_monitor_that_does_not_answer_in_time_is_unreachable(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            MonitorApi(url, timeout_s=0.1) as monitor,
            pytest.raises(Unreachable, match="timed out"),
        ):
            monitor.health()


class Busy(BaseHTTPRequestHandler):
    """Says when to come again; elsewhere it is a web page."""

    def do_GET(self) -> None:
        is_busy = self.path == "/healthz"
        problem = Problem(type="urn:acr:error:overloaded", title="", status=503, detail="busy")
        self.send_response(503 if is_busy else 200)
        self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(msgspec.json.encode(problem) if is_busy else b"<html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[MonitorApi]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with MonitorApi(f"http://127.0.0.1:{server.server_port}") as monitor:
            yield monitor
        server.shutdown()
        thread.join()


def test_a_busy_monitor_says_when_to_come_again(busy):
    with pytest.raises(ClientError, match="busy") as refused:
        busy.health()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 7.0)


def test_what_is_no_monitor_is_not_understood(busy):
    with pytest.raises(NotUnderstood, match="is not understood") as strange:
        busy.run("demo")
    assert strange.value.status == 200


def told(messages: Iterator[Message], kind: type[T]) -> T:
    """The next content of this kind."""
    for message in messages:
        if isinstance(message, Told) and isinstance(message.content, kind):
            return message.content
    raise AssertionError("the stream has no end")


def test_a_stream_begins_with_the_run_and_tells_what_happens(monitor, run_id):
    messages = monitor.stream(run_id)
    assert told(messages, Run).id == run_id
    monitor.report(run_id, report(1))
    assert told(messages, StepRecord).step == 1
    assert told(messages, Settings).through_step == 1
    monitor.kill(run_id, reason="hacked")
    assert told(messages, EventView).event.kind == "killed"


def test_a_stream_goes_on_behind_the_message_that_is_named(monitor, run_id):
    messages = monitor.stream(run_id)
    told(messages, Run)
    monitor.report(run_id, [report(1), report(2), report(3)])
    first = next(one for one in messages if isinstance(one, Told) and one.kind == "step")
    again = monitor.stream(run_id, after=first.id)
    assert [told(again, StepRecord).step for _ in range(2)] == [2, 3]


def test_the_stream_of_a_run_that_is_deleted_ends_with_what_the_monitor_says(monitor, run_id):
    messages = monitor.stream(run_id)
    told(messages, Run)
    monitor.delete(run_id)
    with pytest.raises(ClientError) as ended:
        told(messages, StepRecord)
    assert ended.value.kind == "run-deleted"


def test_a_stream_of_nobody_is_refused_at_once(monitor):
    with pytest.raises(ClientError) as refused:
        next(monitor.stream("nobody"))
    assert refused.value.kind == "run-not-found"
    with MonitorApi("http://127.0.0.1:1") as nobody, pytest.raises(Unreachable):
        next(nobody.stream("nobody"))


def test_a_run_that_moves_is_glanced_at(monitor, run_id):
    messages = monitor.stream_runs()
    thread = threading.Timer(0.1, monitor.report, (run_id, report(1)))
    thread.start()
    glance = told(messages, Glance)
    while (glance.run_id, glance.step) != (run_id, 1):
        glance = told(messages, Glance)
    assert glance.acr == 0.5
    thread.join()


def test_a_stream_survives_its_monitor_and_misses_nothing(folder, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with acr_serve(folder / "data") as server, MonitorApi(server.url) as monitor:
        monitor.create(CreateRun(id="run"))
        messages = monitor.stream("run")
        told(messages, Run)
        monitor.report("run", report(1))
        assert told(messages, StepRecord).step == 1
        server.kill9()
        assert next(one for one in messages if isinstance(one, Lost)).why
        server.restart()
        monitor.report("run", report(2))
        back = next(one for one in messages if isinstance(one, Reconnected))
        assert back.after_s > 0
        assert told(messages, StepRecord).step == 2


def chunked(text: bytes, size: int) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_whatever_the_pieces_they_come_in(size):
    # U+2028 is a line separator, though not here.
    data = '{"text": "a\u2028b"}'
    text = f": hello\r\nretry: 1500\n\nevent: step\r\nid: 7\ndata: {data}\r\n\n"
    text += "data: a\ndata:b\n\ndata: not finished"
    step, plain = frames(chunked(text.encode(), size))
    assert (step.name, step.id, step.data.decode(), step.retry_s) == ("step", "7", data, 1.5)
    assert (plain.name, plain.id, plain.data) == ("message", None, b"a\nb")


def examples() -> list[str]:
    """The programs of the page about the client."""
    page = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_examples_of_the_documentation_run(base_url, monitor):
    using, watching = (one.replace("http://127.0.0.1:8400", base_url) for one in examples())
    printed: list[str] = []

    def show(*words: object) -> None:
        printed.append(" ".join(map(str, words)))
        if printed[-1] == "from step 1":
            monitor.report("first", (report(2), report(3)))
            monitor.end("first", attempt=1)

    exec(using, {"print": show})
    # Of profile guarded, whose threshold is 0.3; of 2 groups one is all wrong.
    refused = "422 threshold must be a number in [0, 1]"
    assert printed == ["0.3", "first 1 []", "[0.5]", refused]
    exec(watching, {"print": show})
    assert printed[4:] == ["from step 1", "2 0.5", "3 0.5", "ended finished"]
