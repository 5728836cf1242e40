"""`acr grafana annotate`: what happened to real runs, once, in a strict fake of Grafana."""

import json
import signal
import subprocess
import sys
from itertools import islice

import msgspec
import pytest

from dashboards.grafana import connection
from dashboards.grafana.annotation import Annotator, followed
from dashboards.grafana.connection import Grafana, GrafanaFailed
from monitor_service.client.api import MonitorApi
from monitor_service.wire import CreateRun, StepReport
from tests.grafana.fake import EDITOR, TOKEN, lose_answer, reply
from tests.servers import PATIENCE_S, acr_serve, eventually
from tests.service.acr import applied, stuck
from tests.service.reports import new_run_id

POST = "POST /api/annotations"
AWAY = reply(503, '{"message": "starting"}')


def report(monitor, run_id: str, first: int, last: int, attempt: int = 1, **done) -> None:
    """Steps of 12 all-wrong and 4 mixed groups, in one request."""
    steps = [
        {**body, "attempt": attempt, "applied": applied(body["step"], **done)}
        for body in stuck(last)[first - 1 :]
    ]
    monitor.report(run_id, msgspec.convert(steps, list[StepReport]))


@pytest.fixture
def run_id(monitor) -> str:
    """A run that stalls: guarded, its controller is active from step 5 on, and locks itself."""
    run = new_run_id()
    monitor.create(CreateRun(id=run, profile="guarded"))
    report(monitor, run, 1, 4)
    report(monitor, run, 5, 53, injected_wrong=6)
    report(monitor, run, 54, 54, injected_wrong=6)
    report(monitor, run, 55, 70)
    return run


@pytest.fixture
def annotator(fake, run_id):
    with Grafana(fake.url, TOKEN) as grafana:
        yield Annotator(grafana, run_id)


def counts(ended) -> tuple[int, int, int]:
    found = json.loads(ended.out)
    return found["created"], found["updated"], found["unchanged"]


def at_ms(monitor, run_id: str, step: int) -> int:
    return round(monitor.step(run_id, step).at_s * 1000)


def test_a_run_is_annotated_with_what_happened_to_it(acr_grafana, fake, monitor, run_id):
    monitor.change(run_id, {"threshold": 0.25}, reason="<b>earlier</b>", actor="ana")
    monitor.kill(run_id, reason="enough", actor="bob")
    monitor.rearm(run_id, reason="looked at it", actor="ana")
    monitor.end(run_id, attempt=1)
    ended = acr_grafana("annotate", run_id)
    assert ended.status == 0, ended.err
    # created, injection, locked, alarm, change, kill, re-armed, ended.
    assert ended.out == f"{run_id}: 8 created, 0 updated, 0 unchanged\n"

    injected, locked = fake.annotation(run_id, "intervention")
    assert (injected["time"], injected["timeEnd"]) == (
        at_ms(monitor, run_id, 5),
        at_ms(monitor, run_id, 54),
    )
    # Steps 5 to 54 are fifty, of six groups each.
    assert "injected in 50 of 50 steps, until step 54: 300 all-wrong" in injected["text"]
    assert "active -&gt; locked" in locked["text"]

    (alarm,) = fake.annotation(run_id, "alarm")
    assert alarm["time"] == at_ms(monitor, run_id, 55) < alarm["timeEnd"]
    assert alarm["text"].startswith("<b>Alarm raised: stall (warning)</b>, step 55<br>pooled ACR")

    (change,) = fake.annotation(run_id, "settings")
    assert change["text"].endswith("ana: &lt;b&gt;earlier&lt;/b&gt;<br>threshold 0.3 → 0.25")
    assert change["time"] == change["timeEnd"]

    kill, rearmed = fake.annotation(run_id, "kill")
    assert kill["timeEnd"] == rearmed["time"]
    begun, over = fake.annotation(run_id, "lifecycle")
    assert ("Created" in begun["text"], over["timeEnd"]) == (True, alarm["timeEnd"])

    ids = set()
    for one in fake.annotations.values():
        *tags, mark_id = one["tags"]
        assert tags[:2] == ["acr", f"run:{run_id}"]
        assert one["dashboardUID"] is None
        ids.add(mark_id)
    assert len(ids) == 8


def test_annotating_twice_changes_nothing(acr_grafana, fake, run_id):
    assert counts(acr_grafana("annotate", run_id, "--json")) == (4, 0, 0)
    fake.requests.clear()
    assert counts(acr_grafana("annotate", run_id, "--json")) == (0, 0, 4)
    assert fake.writes == []


def test_what_has_ended_since_gets_its_end_and_keeps_what_people_added(
    acr_grafana, fake, monitor, run_id
):
    monitor.kill(run_id, reason="enough", actor="bob")
    acr_grafana("annotate", run_id)
    (kill,) = fake.annotation(run_id, "kill")
    assert kill["time"] == kill["timeEnd"]
    kill["tags"].append("looked-at")
    kill["text"] = "my words"
    monitor.rearm(run_id, reason="looked at it", actor="ana")
    assert counts(acr_grafana("annotate", run_id, "--json")) == (1, 1, 4)
    kill, rearmed = fake.annotation(run_id, "kill")
    assert kill["timeEnd"] == rearmed["time"]
    assert (kill["tags"][-1], kill["text"]) == ("looked-at", "my words")
    assert counts(acr_grafana("annotate", run_id, "--json")) == (0, 0, 6)


def test_shadow_injects_nothing(acr_grafana, fake, monitor):
    run = new_run_id()
    monitor.create(CreateRun(id=run, profile="observe"))
    shadow = {"injected_wrong": 6, "injected_correct": 0}
    report(monitor, run, 1, 20, mode="shadow", shadow=shadow)
    acr_grafana("annotate", run)
    assert fake.annotation(run, "intervention") == []


def test_a_run_without_a_step_is_annotated_too(acr_grafana, fake, monitor):
    run = new_run_id()
    monitor.create(CreateRun(id=run))
    assert counts(acr_grafana("annotate", run, "--json")) == (1, 0, 0)


def test_only_what_began_later_is_annotated_when_asked(acr_grafana, fake, run_id):
    # The lock and the alarm, of steps 54 and 55; the intervention began at step 5.
    assert counts(acr_grafana("annotate", run_id, "--since", "6", "--json")) == (2, 0, 0)
    assert counts(acr_grafana("annotate", run_id, "--json")) == (2, 0, 2)


def test_more_annotations_than_grafana_lists_at_once_are_all_found(
    acr_grafana, fake, monitor, run_id, monkeypatch
):
    monkeypatch.setattr(connection, "PAGE", 1)
    for number in range(20):
        monitor.change(run_id, {"seed": number + 1}, reason="try", actor="ana")
    assert counts(acr_grafana("annotate", run_id, "--json")) == (24, 0, 0)
    assert counts(acr_grafana("annotate", run_id, "--json")) == (0, 0, 24)
    # 1, 4 and 16 are too few for 24 of them, 64 are enough.
    assert fake.requests[-4:] == ["GET /api/annotations"] * 4


def test_runs_whose_ids_differ_in_case_are_not_confused(acr_grafana, fake, monitor):
    run = new_run_id()
    monitor.create(CreateRun(id=run))
    (created,) = monitor.events(run)
    # Both were created in the same millisecond.
    tags = ["acr", f"run:{run.upper()}", "lifecycle", f"event:{created.id}"]
    fake.annotations[1] = {"id": 1, "time": 1, "timeEnd": 1, "text": "Created", "tags": tags}
    assert counts(acr_grafana("annotate", run, "--json")) == (1, 0, 0)
    assert len(fake.annotation(run, "lifecycle")) == 1


def test_an_answer_that_got_lost_makes_nothing_double(acr_grafana, fake, run_id):
    fake.faults.append((POST, lose_answer))
    ended = acr_grafana("annotate", run_id)
    assert ended.status == 1
    assert "no Grafana answers at" in ended.err
    assert len(fake.annotations) == 1
    assert counts(acr_grafana("annotate", run_id, "--json")) == (3, 0, 1)


def test_annotations_can_belong_to_a_dashboard(acr_grafana, fake, run_id):
    ended = acr_grafana("annotate", run_id, "--dashboard-uid", "acr-run")
    assert (ended.status, fake.writes) == (1, [])
    assert "--dashboard-uid: must be a dashboard of Grafana; got 'acr-run'" in ended.err
    acr_grafana("publish")
    assert acr_grafana("annotate", run_id, "--dashboard-uid", "acr-run").status == 0
    assert {one["dashboardUID"] for one in fake.annotations.values()} == {"acr-run"}


@pytest.mark.parametrize("permission", sorted(one for one in EDITOR if "annotations" in one))
def test_a_missing_permission_is_named(acr_grafana, fake, monitor, run_id, permission):
    if permission == "annotations:write":
        monitor.kill(run_id)
        acr_grafana("annotate", run_id)
        monitor.rearm(run_id, reason="looked at it")
    fake.tokens[TOKEN] = EDITOR - {permission}
    ended = acr_grafana("annotate", run_id)
    assert ended.status == 1
    assert f"service account needs {permission}, as the role Editor has" in ended.err


def test_an_id_that_no_tag_can_hold_is_refused(acr_grafana, fake, monitor):
    run = "r" * 101
    monitor.create(CreateRun(id=run))
    ended = acr_grafana("annotate", run)
    assert (ended.status, fake.requests) == (1, [])
    assert "RUN: must have at most 100 characters, to be a tag in Grafana" in ended.err
    longest = "r" * 100
    monitor.create(CreateRun(id=longest))
    assert acr_grafana("annotate", longest).status == 0


def test_a_run_or_a_monitor_that_is_not_there_is_told(acr_grafana, fake):
    ended = acr_grafana("annotate", "nobody")
    assert (ended.status, fake.writes) == (1, [])
    assert "no run 'nobody'" in ended.err
    ended = acr_grafana("annotate", "nobody", "--url", "http://127.0.0.1:9")
    assert ended.status == 1
    assert "no monitor answers at http://127.0.0.1:9" in ended.err


def test_following_goes_on_with_what_comes(fake, monitor, run_id, annotator):
    following = followed(monitor, run_id, annotator, complain=pytest.fail)
    assert next(following).created == 4
    monitor.kill(run_id, reason="enough", actor="bob")
    until(following, lambda: fake.annotation(run_id, "kill"))
    monitor.rearm(run_id, reason="looked at it", actor="ana")
    until(following, lambda: len(fake.annotation(run_id, "kill")) == 2)
    kill, rearmed = fake.annotation(run_id, "kill")
    assert kill["timeEnd"] == rearmed["time"]
    report(monitor, run_id, 71, 71, injected_wrong=1)
    report(monitor, run_id, 72, 72, injected_wrong=1)
    until(following, lambda: len(fake.annotation(run_id, "intervention")) == 3)
    monitor.end(run_id, attempt=1)
    until(following, lambda: len(fake.annotation(run_id, "lifecycle")) == 2)
    last = fake.annotation(run_id, "intervention")[-1]
    assert last["timeEnd"] == at_ms(monitor, run_id, 72)
    assert "injected in 2 of 2 steps, until step 72: 2 all-wrong" in last["text"]


def test_following_and_looking_afterwards_agree(acr_grafana, fake, monitor, run_id, annotator):
    following = followed(monitor, run_id, annotator, complain=pytest.fail)
    next(following)
    report(monitor, run_id, 71, 80, injected_wrong=1)
    report(monitor, run_id, 81, 90, injected_wrong=1)
    monitor.create(CreateRun(id=run_id, resume_from_step=80, start_id="again"))
    report(monitor, run_id, 81, 95, attempt=2, injected_wrong=1)
    monitor.end(run_id, attempt=2)
    until(following, lambda: "Ended" in fake.annotation(run_id, "lifecycle")[-1]["text"])
    number = len(fake.annotations)
    # The first attempt's intervention went on to step 90; what counts of it ends at step 80.
    assert counts(acr_grafana("annotate", run_id, "--json")) == (0, 1, number - 1)
    assert counts(acr_grafana("annotate", run_id, "--json")) == (0, 0, number)


def test_following_waits_for_a_grafana_that_is_away(fake, monitor, run_id, annotator):
    told: list[str] = []
    waits: list[float] = []
    following = followed(monitor, run_id, annotator, complain=told.append, sleep=waits.append)
    next(following)
    fake.faults += [(POST, AWAY), ("GET", AWAY), ("GET", lose_answer), (POST, lose_answer)]
    monitor.kill(run_id, reason="enough", actor="bob")
    until(following, lambda: fake.annotation(run_id, "kill"))
    assert len(fake.annotation(run_id, "kill")) == 1
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert told == [
        f"Grafana at {fake.url} failed to write an annotation: starting (503); it is tried again"
    ]


def test_what_somebody_deleted_is_written_again_when_it_ends(fake, monitor, run_id, annotator):
    monitor.kill(run_id, reason="enough", actor="bob")
    following = followed(monitor, run_id, annotator, complain=pytest.fail)
    next(following)
    (kill,) = fake.annotation(run_id, "kill")
    del fake.annotations[kill["id"]]
    monitor.rearm(run_id, reason="looked at it", actor="ana")
    until(following, lambda: len(fake.annotation(run_id, "kill")) == 2)
    again, rearmed = fake.annotation(run_id, "kill")
    assert (again["time"], again["timeEnd"]) == (kill["time"], rearmed["time"])


def test_following_ends_when_the_token_is_taken_away(fake, monitor, run_id, annotator):
    following = followed(monitor, run_id, annotator, complain=pytest.fail)
    next(following)
    fake.tokens.clear()
    monitor.kill(run_id)
    with pytest.raises(GrafanaFailed, match=r"Invalid API key \(401\)"):
        until(following, lambda: fake.annotation(run_id, "kill"))


def test_following_begins_only_when_grafana_is_there(fake, monitor, run_id, annotator):
    fake.faults.append(("GET", AWAY))
    with pytest.raises(GrafanaFailed, match="starting"):
        next(followed(monitor, run_id, annotator, complain=pytest.fail))


def until(following, is_so) -> None:
    """Go on until it is so; each message of the monitor is a turn."""
    for _ in islice(following, 200):
        if is_so():
            return
    pytest.fail("the messages did not tell it")


@pytest.mark.e2e
def test_the_command_follows_over_a_restart_of_the_monitor_until_it_is_interrupted(
    environment, fake, folder
):
    with acr_serve(folder) as server, MonitorApi(server.url) as monitor:
        monitor.create(CreateRun(id="r"))
        command = [sys.executable, "-c", "from dashboards.command import grafana; grafana()()"]
        command += ["annotate", "r", "--follow", "--json", "--url", server.url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                assert json.loads(process.stdout.readline())["created"] == 1
                server.restart()
                monitor.kill("r", reason="enough", actor="bob")
                eventually(lambda: bool(fake.annotation("r", "kill")), "the kill is annotated")
                assert json.loads(process.stdout.readline())["created"] == 1
            finally:
                process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130
            assert "the connection to the monitor is lost, and tried again" in process.stderr.read()
