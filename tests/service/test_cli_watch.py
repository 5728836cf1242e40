"""`acr watch`: on a terminal of any size, through a break, and where there is no terminal."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable

import msgspec
import pytest

from monitor_service.cli.board import board
from monitor_service.cli.watched import KEPT_STEPS, Line, Watched
from monitor_service.client.api import MonitorApi
from monitor_service.wire import CreateRun, StepReport
from tests.servers import PATIENCE_S, acr_serve
from tests.service.acr import applied, plain
from tests.service.reports import CORRECT, MIXED, WRONG, body
from tests.service.terminal import terminal

ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
NOW_S = 1000.0


def reports(num_steps: int, **fields):
    """Steps of 2 wrong, 1 correct and 1 mixed group: ACR 0.75; one wrong group is injected."""
    scalars = {"entropy": 2.0, "kl": 0.01, "completion_length_mean": 100.0}
    scalars |= {"completion_length_max": 256.0, "truncated_fraction": 0.03}
    done = {"injected_wrong": 1, "effective_acr": 0.5}
    rewards = [WRONG, WRONG, CORRECT, MIXED]
    return [
        body(step, scalars=scalars, applied=applied(step, **done), **fields) | {"rewards": rewards}
        for step in range(1, num_steps + 1)
    ]


@pytest.fixture
def reported(client, run_id) -> Callable[..., None]:
    def report(*steps) -> None:
        assert client.post(f"/v1/runs/{run_id}/steps", json=list(steps)).is_success

    return report


@pytest.fixture
def seen(base_url, monkeypatch, run_id) -> Callable[[], Watched]:
    """The run as a watcher knows it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def now() -> Watched:
        with MonitorApi(base_url) as monitor:
            line = Line(state="live", since_s=NOW_S)
            watched = Watched(run=monitor.run(run_id), line=line)
            watched = watched.with_steps(monitor.steps(run_id))
            return watched.with_events(reversed(list(monitor.events(run_id))))

    return now


def texts(seen: Watched, width: int = 80, height: int = 40, now_s: float = NOW_S) -> list[str]:
    return [line.plain.rstrip() for line in board(seen, now_s, width, height)]


def test_the_newest_step_is_told_beside_its_past(seen, reported):
    reported(*reports(3))
    lines = texts(seen())
    figures = {" ".join(line[:32].split()) for line in lines}
    # Of 4 groups 2 are wrong and 1 is correct; the paper moves tau from its third step on.
    assert {"ACR 0.75", "█ all wrong 0.50", "▒ all correct 0.25", "░ other 0.00"} <= figures
    assert {"mixed 0.25", "▲ injected 1", "effective 0.50", "reward 0.375"} <= figures
    assert {"entropy 2.000 100% of start", "KL 0.01", "length 100.0 max 256"} <= figures
    assert "truncated 3.0%" in figures
    chart = [line[33:] for line in lines if line.startswith(("ACR", "█", "▒", "░", "  mixed", "╌"))]
    # Six lines for an ACR of 1: three of them all wrong, half of three more all correct.
    assert chart == ["", "▄▄▄", "▒▒▒", "███", "███", "███"]


def test_marks_stand_where_groups_were_injected_and_where_tau_is_above(seen, reported):
    quiet = body(2, applied=applied(2)) | {"rewards": [MIXED] * 4}
    reported(reports(1)[0], quiet)
    lines = texts(seen())
    marks = next(line for line in lines if line.startswith("▲"))
    assert marks[33:] == "▲"
    # tau is 0.5 at both, which is the fourth line of six from below; the first bar covers it.
    tau = next(line for line in lines if line.startswith("▒"))
    assert tau[33:] == "▒╌"


def test_a_run_without_a_report_says_so(seen):
    lines = texts(seen())
    assert " step 0 " in lines[0]
    assert lines[0].endswith("live")
    assert lines[1] == "in short    Waiting for the first report."
    assert "nothing to judge yet" in lines[2]
    assert not [line for line in lines if line.startswith("ACR")]


def test_what_is_asked_for_and_not_done_is_told_with_its_reason(client, seen, reported, run_id):
    client.patch(f"/v1/runs/{run_id}/settings", json={"beta": 0.1, "reason": "why"})
    knobs = {"beta": {"status": "ignored", "value": 0.0, "reason": "no reference model"}}
    reported(body(1, applied=applied(1, knobs=knobs)))
    assert "beta  0.1 requested, 0 applied  ignored: no reference model" in "\n".join(texts(seen()))


def test_alarms_are_told_with_their_cause(seen, reported):
    reported(*(body(step, scalars={"kl": 1000.0}) for step in range(1, 41)))
    found = seen()
    worst = found.run.verdicts[0]
    title = f"health      {worst.severity} {worst.rule} since step {worst.since_step}"
    assert texts(found, height=24)[2] == f"{title}: {worst.cause}"
    assert texts(found, height=60)[2:4] == [title, f"              {worst.cause}"]


def test_a_kill_is_in_the_title(client, seen, reported, run_id):
    reported(*reports(1))
    client.post(f"/v1/runs/{run_id}/kill", json={"reason": "hacked", "actor": "ana"})
    lines = texts(seen())
    assert "LOCKED" in lines[0]
    assert any("killed" in line and line.startswith("events") is False for line in lines)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (Line(state="live", since_s=NOW_S), "live"),
        (Line(state="lost", since_s=NOW_S - 3), "lost 3s ago, retrying"),
        (Line(state="live", since_s=NOW_S - 2, note="resumed at step 7"), "resumed at step 7"),
        (Line(state="live", since_s=NOW_S - 60, note="resumed at step 7"), "live"),
    ],
)
def test_the_title_tells_how_the_connection_is(seen, line, words):
    found = seen()
    found = Watched(run=found.run, line=line)
    assert texts(found)[0].endswith(f"  {words}")


@pytest.mark.parametrize("height", [5, 16, 24, 60])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_and_no_board_higher_than_the_terminal(seen, reported, width, height):
    reported(*reports(60))
    lines = board(seen(), NOW_S, width, height)
    assert len(lines) <= height
    # What is too long is cut when it is drawn.
    assert all(line.no_wrap and line.overflow == "ellipsis" for line in lines)
    assert lines[-1].plain.strip()


def test_a_step_that_is_done_over_again_takes_the_place_of_the_first(seen, reported):
    reported(*reports(5))
    found = seen()
    third = found.steps[2]
    assert [one.step for one in found.with_steps([third]).steps] == [1, 2, 3]
    assert len(found.with_steps([third] * 2).steps) == 3
    assert len(found.with_events(found.events).events) == len(found.events)
    many = found.with_steps(found.steps[-1:] * (KEPT_STEPS + 5))
    assert len(many.steps) == 5


def test_on_a_terminal_steps_appear_as_they_come_and_ctrl_c_ends_it(base_url, reported, run_id):
    steps = reports(3)
    with terminal("watch", run_id, "--url", base_url) as shown:
        shown.shows(" step 0 ")
        reported(steps[0])
        shown.shows(" step 1 ")
        shown.resize(60, 20)
        reported(*steps[1:])
        shown.shows(" step 3 ")
        shown.interrupt()
        assert shown.ended() == 130
    assert shown.shown.startswith(ENTER_SCREEN)
    # The screen of before is back, with the cursor, and what was seen last stays on it.
    drawn, _, left = shown.shown.rpartition(LEAVE_SCREEN)
    assert drawn.rindex(SHOW_CURSOR) > drawn.rindex(HIDE_CURSOR)
    assert f"{run_id}  step 3" in plain(left)
    assert "Traceback" not in left
    assert max(map(len, plain(left).splitlines())) <= 60


def test_colours_are_left_out_where_nobody_wants_them(base_url, reported, run_id):
    reported(*reports(2))
    with terminal("watch", run_id, "--url", base_url, NO_COLOR="1") as shown:
        coloured = shown.shows("step 2")
    assert not re.search(r"\x1b\[[\d;]*3[0-9]m", coloured)


def test_it_ends_with_the_training_if_that_is_wanted(base_url, client, reported, run_id):
    reported(*reports(2))
    with terminal("watch", run_id, "--until-end", "--url", base_url) as shown:
        shown.shows("step 2")
        client.post(f"/v1/runs/{run_id}/end", json={"attempt": 1})
        assert shown.ended() == 0
    assert "ended: finished" in plain(shown.shown.rpartition(LEAVE_SCREEN)[2])


def test_a_break_is_told_and_nothing_is_missed(folder, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    steps = [msgspec.convert(one, StepReport) for one in reports(4)]
    with acr_serve(folder / "data") as server, MonitorApi(server.url) as monitor:
        monitor.create(CreateRun(id="run"))
        monitor.report("run", steps[:2])
        with terminal("watch", "run", "--url", server.url) as shown:
            shown.shows(" step 2 ")
            server.kill9()
            shown.shows("retrying")
            server.restart()
            monitor.report("run", steps[2:])
            shown.shows("resumed at step 2")
            shown.shows(" step 4 ")
            shown.interrupt()
            assert shown.ended() == 130


def lines_of(arguments: list[str], until: str, then: Callable[[], None]) -> list[str]:
    """Lines of `acr` without a terminal; once it told `until`, `then` happens, and it ends."""
    command = [sys.executable, "-m", "monitor_service", *arguments]
    env = os.environ | {"NO_PROXY": "127.0.0.1"}
    told = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        killer = threading.Timer(PATIENCE_S, process.kill)
        killer.start()
        for line in process.stdout:
            told.append(line.rstrip("\n"))
            if until in line:
                then()
        killer.cancel()
    assert process.returncode == 0
    return told


def test_without_a_terminal_it_is_a_line_for_each_step_and_event(
    base_url, client, reported, run_id
):
    first, second = reports(2)
    reported(first)

    def go_on() -> None:
        reported(second)
        client.post(f"/v1/runs/{run_id}/kill", json={"reason": "hacked", "actor": "ana"})
        client.post(f"/v1/runs/{run_id}/end", json={"attempt": 1})

    watch = ["watch", run_id, "--until-end", "--url", base_url]
    lines = lines_of(watch, "step 1 ", go_on)
    split = "ACR 0.75 (wrong 0.50, correct 0.25, other 0.00)  effective 0.50  threshold 0.500"
    rest = "injected 1  reward 0.375  entropy 2.000"
    assert lines[:2] == [f"step {step}  {split}  {rest}" for step in (1, 2)]
    assert [line.split("  ", 2)[2] for line in lines[2:]] == [
        "killed  ana: hacked",
        "ended  finished",
    ]


def test_json_is_a_line_for_each_message(base_url, client, reported, run_id):
    first, second = reports(2)
    reported(first)

    def go_on() -> None:
        reported(second)
        client.post(f"/v1/runs/{run_id}/end", json={"attempt": 1})

    watch = ["watch", run_id, "--json", "--until-end", "--url", base_url]
    messages = [json.loads(line) for line in lines_of(watch, '"run"', go_on)]
    kinds = [message["kind"] for message in messages]
    assert kinds[0] == "run"
    assert set(kinds[1:]) <= {"step", "settings", "event"}
    assert messages[0]["data"]["id"] == run_id
    (step,) = [one for one in messages if one["kind"] == "step"]
    assert step["data"] == client.get(f"/v1/runs/{run_id}/steps/2").json()
    assert step["id"]
    assert messages[-1]["data"]["event"]["kind"] == "ended"
