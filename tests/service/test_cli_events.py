"""`acr events` and `acr audit`: what happened, and who ordered it."""

import json
import os
import subprocess
import sys
import threading

import pytest

from tests.servers import PATIENCE_S
from tests.service.acr import applied
from tests.service.reports import body


def order(client, run_id, what="kill", **content):
    reply = client.post(f"/v1/runs/{run_id}/{what}", json={"actor": "ana", **content})
    assert reply.is_success, reply.text


@pytest.fixture
def run(client, run_id):
    """A run that was killed and re-armed."""
    order(client, run_id, reason="the reward is hacked")
    order(client, run_id, "rearm", reason="it is not")
    return run_id


def told(ended):
    """Each event without its time."""
    return [line.split("  ", 1)[1] for line in ended.out.splitlines()]


def test_events_are_listed_oldest_first(acr, run):
    assert told(acr("events", run)) == [
        "step 0  created  profile paper",
        "step 0  killed  ana: the reward is hacked",
        "step 0  rearmed  ana: it is not",
    ]


def test_the_newest_are_shown_when_few_are_wanted(acr, run):
    assert told(acr("events", run, "--limit", "1")) == ["step 0  rearmed  ana: it is not"]


def test_only_the_kinds_that_are_wanted_are_shown(acr, run):
    ended = acr("events", run, "--kind", "created", "--kind", "rearmed")
    assert [line.split("  ")[1] for line in told(ended)] == ["created", "rearmed"]
    wrong = acr("events", run, "--kind", "exploded")
    assert (wrong.status, wrong.out) == (2, "")
    assert "'exploded' is not one of created," in " ".join(wrong.err.replace("│", " ").split())


def test_json_is_a_line_for_each_event(acr, client, run):
    lines = acr("events", run, "--json").out.splitlines()
    listed = client.get(f"/v1/runs/{run}/events").json()["events"]
    assert [json.loads(line) for line in lines] == listed[::-1]


def test_what_comes_is_followed_from_the_newest_on(base_url, client, run):
    command = [sys.executable, "-m", "monitor_service", "events", run, "--follow"]
    command += ["--kind", "killed", "--kind", "rearmed", "--limit", "1", "--url", base_url]
    env = os.environ | {"NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        killer = threading.Timer(PATIENCE_S, process.kill)
        killer.start()
        assert process.stdout.readline().endswith("rearmed  ana: it is not\n")
        client.patch(f"/v1/runs/{run}/settings", json={"alpha": 0.4, "reason": "not of the kind"})
        order(client, run, reason="hacked after all")
        assert process.stdout.readline().endswith("killed  ana: hacked after all\n")
        killer.cancel()
        process.kill()


def test_the_audit_trail_says_who_what_why_and_from_where(acr, client, run_id):
    acr("set", run_id, "threshold=0.3", "alpha=0.5", "-r", "trying it")
    lines = acr("audit", run_id).out.splitlines()
    assert lines[0].endswith("  ana  settings changed, after step 0")
    # alpha was 0.5 before, so that it did not change.
    assert lines[1:3] == [
        "  threshold 0.5 -> 0.3; trying it",
        "  no report of the trainer says yet that it was applied",
    ]
    assert lines[3].startswith("  127.0.0.1, acr/")


def test_the_audit_trail_says_from_which_step_it_acted_and_what_was_ignored(acr, client, run_id):
    acr("set", run_id, "temperature=0.9", "beta=0.1", "-r", "cooler")
    version = client.get(f"/v1/runs/{run_id}/settings").json()["settings"]["version"]
    knobs = {
        "temperature": {"status": "applied", "value": 0.9},
        "beta": {"status": "ignored", "value": 0.0, "reason": "no reference model"},
    }
    done = applied(1, settings_version=version, knobs=knobs)
    assert client.post(f"/v1/runs/{run_id}/steps", json=body(1, applied=done)).is_success
    lines = acr("audit", run_id).out.splitlines()
    assert set(lines[1].removesuffix("; cooler").strip().split(", ")) == {
        "temperature null -> 0.9",
        "beta null -> 0.1",
    }
    assert lines[2:4] == ["  applied at step 1", "  ignored: beta: no reference model"]


def test_orders_other_than_changes_are_in_the_trail_newest_first(acr, run):
    lines = [line for line in acr("audit", run).out.splitlines() if "after step" in line]
    assert [line.split("  ")[2] for line in lines] == [
        "rearmed, after step 0",
        "killed, after step 0",
    ]
    (newest,) = [
        line for line in acr("audit", run, "--limit", "1").out.splitlines() if "after step" in line
    ]
    assert newest == lines[0]


def test_nobody_has_ordered_anything_of_a_new_run(acr, run_id):
    assert acr("audit", run_id).out == f"{run_id}: nobody has ordered anything yet\n"


def test_the_trail_as_json_is_what_the_api_says(acr, client, run):
    found = client.get(f"/v1/runs/{run}/settings/history").json()
    assert json.loads(acr("audit", run, "--json").out) == {"orders": found["orders"]}
