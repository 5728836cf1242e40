"""`acr history` and `acr groups`: a run's figures over its steps, and the rewards of one."""

import json
import os
import subprocess
import sys

import pytest

from monitor_service.series import COLUMNS
from tests.service.acr import in_a_terminal, plain
from tests.service.reports import MIXED, WRONG, body


@pytest.fixture
def run(client, run_id):
    """Four steps of which ever more groups are wrong: ACR 0, 1/4, 2/4, 3/4."""
    reports = [
        body(step) | {"rewards": [WRONG] * wrong + [MIXED] * (4 - wrong)}
        for step, wrong in enumerate(range(4), start=1)
    ]
    assert client.post(f"/v1/runs/{run_id}/steps", json=reports).is_success
    return run_id


def test_a_line_for_each_figure_says_where_it_was_and_is(acr, run):
    title, names, *lines = acr("history", run, "--fields", "acr,entropy").out.splitlines()
    assert title == f"{run}  4 steps, from 1 to 4"
    assert names.split() == ["figure", "first", "least", "most", "last"]
    # Of eight bars from 0 to 0.75 those for thirds are the third and the sixth.
    assert [line.split() for line in lines] == [
        ["acr", "0", "0", "0.75", "0.75", "▁▃▆█"],
        ["entropy", "-", "-", "-", "-"],
    ]


def test_only_the_steps_that_are_asked_for_are_shown(acr, run):
    title, _, line = acr(
        *("history", run, "--fields", "acr", "--from", "2", "--to", "3")
    ).out.splitlines()
    assert title == f"{run}  2 steps, from 2 to 3"
    assert line.split() == ["acr", "0.25", "0.25", "0.5", "0.5", "▁█"]


def test_a_run_without_steps_has_no_figures(acr, run_id):
    assert acr("history", run_id).out == f"{run_id}  0 steps\n"


def test_csv_has_a_line_for_each_step(acr, run):
    ended = acr("history", run, "--csv", "--fields", "acr,entropy", "--from", "3")
    assert ended.out.splitlines() == ["step,acr,entropy", "3,0.5,", "4,0.75,"]


def test_json_is_what_the_api_says(acr, client, run):
    told = json.loads(acr("history", run, "--json", "--fields", "acr,kl").out)
    query = {"fields": "acr,kl"}
    assert told == client.get(f"/v1/runs/{run}/steps", params=query).json()
    few = json.loads(acr("history", run, "--json", "--fields", "acr", "--points", "4").out)
    assert few["columns"]["step"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fields", "acr,entropie"), "'entropie' is not one of step, attempt"),
        (("--csv", "--json"), "two formats"),
        (("--from", "0"), "--from"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(acr, run, options, words):
    ended = acr("history", run, *options)
    assert (ended.status, ended.out) == (2, "")
    assert words in " ".join(ended.err.replace("│", " ").split())


def test_every_figure_can_be_asked_for(acr, run):
    ended = acr("history", run, "--fields", ",".join(COLUMNS))
    assert [line.split()[0] for line in ended.out.splitlines()[2:]] == list(COLUMNS[1:])


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_bars_fit_the_terminal(client, run_id, columns):
    reports = [body(step) for step in range(1, 201)]
    assert client.post(f"/v1/runs/{run_id}/steps", json=reports).is_success
    shown = in_a_terminal(columns, "history", run_id, "--url", str(client.base_url))
    lines = plain(shown).splitlines()
    assert "200 steps" in lines[0]
    assert max(map(len, lines)) <= max(columns, 70)


def test_a_terminal_that_knows_ascii_only_gets_ascii(base_url, run):
    env = os.environ | {"NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "ascii"}
    shown = [
        subprocess.run(
            [sys.executable, "-m", "monitor_service", *arguments, "--url", base_url],
            capture_output=True,
            check=True,
            env=env,
        ).stdout.decode("ascii")
        for arguments in (("history", run, "--fields", "acr"), ("groups", run, "2"))
    ]
    assert shown[0].splitlines()[-1].split()[-1] == ".,+#"
    # A group of [1, 0, 1, 0] beside one of zeros.
    assert [line.split()[1] for line in shown[1].splitlines()[2:4]] == ["....", "#.#."]


def test_groups_are_shown_as_shades_of_their_rewards(acr, client, run_id):
    rewards = [[1.0, 0.0, None, 0.4], WRONG, [1.0] * 4, [0.5] * 4, [None] * 4]
    client.post(f"/v1/runs/{run_id}/steps", json=body(1) | {"rewards": rewards})
    title, scale, *lines = acr("groups", run_id, "1").out.splitlines()
    told = "1 mixed, 1 all correct, 1 all wrong, 1 uniform other, 1 unscored"
    assert title == f"{run_id}  step 1, attempt 1: 5 groups: {told}"
    assert scale == "rewards: 0 ░▒▓█ 1, · not scored"
    # The mean of the scored ones: (1 + 0 + 0.4) / 3 = 0.467; shades are thirds of the range.
    assert [line.split() for line in lines] == [
        ["1", "█░·▒", "0.467"],
        ["2", "░░░░", "0", "all", "wrong"],
        ["3", "████", "1", "all", "correct"],
        ["4", "▓▓▓▓", "0.5", "uniform", "other"],
        ["5", "····", "-", "unscored"],
    ]


def test_groups_of_rewards_without_bounds_are_shaded_by_their_own_range(acr, client, run_id):
    settings = {"mode": "off", "strategy": "none", "reward_low": None, "reward_high": None}
    client.patch(f"/v1/runs/{run_id}/settings", json=settings | {"reason": "why"})
    client.post(f"/v1/runs/{run_id}/steps", json=body(1) | {"rewards": [[-5.0, 10.0, 2.0]]})
    _, scale, line = acr("groups", run_id, "1").out.splitlines()
    assert scale.startswith("rewards: -5 ░▒▓█ 10")
    assert line.split()[1] == "░█▒"


def test_groups_of_a_step_that_was_never_reported_are_named_as_such(acr, run):
    ended = acr("groups", run, "9")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("acr: no rewards of step 9: ")


def test_groups_as_json_are_what_the_api_says(acr, client, run):
    told = json.loads(acr("groups", run, "2", "--json").out)
    assert told == client.get(f"/v1/runs/{run}/steps/2/groups").json()
