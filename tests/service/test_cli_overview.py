"""`acr show`: a run on one screen."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.servers import eventually
from tests.service.acr import applied, in_a_terminal, plain, stuck
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id


@pytest.fixture
def shown(acr):
    """What `acr show` says about a run, by label."""

    def show(run_id: str) -> dict[str, str]:
        ended = acr("show", run_id)
        assert (ended.status, ended.err) == (0, "")
        return ended.sections

    return show


@pytest.fixture
def created(client):
    """Creates a run of a profile, with changes and reports."""

    def create(profile: str, reports: list, **settings) -> str:
        run_id = new_run_id()
        wanted = {"id": run_id, "profile": profile, "settings": settings}
        assert client.post("/v1/runs", json=wanted).is_success
        if reports:
            assert client.post(f"/v1/runs/{run_id}/steps", json=reports).is_success
        return run_id

    return create


def test_json_is_what_the_api_says_about_the_run_and_its_health(acr, client, run_id):
    told = json.loads(acr("show", run_id, "--json").out)
    assert told == {
        "run": client.get(f"/v1/runs/{run_id}").json(),
        "diagnosis": client.get(f"/v1/runs/{run_id}/diagnosis").json(),
    }


def test_a_run_without_a_report_claims_nothing(shown, run_id):
    found = shown(run_id)
    assert found["title"].startswith(f"{run_id} step 0, attempt 1, created ")
    assert found["title"].endswith("s ago, no report yet")
    assert found["health"] == "nothing to judge yet"
    assert found["mode"] == "active: injected 0 all-wrong and 0 all-correct so far"
    assert not {"ACR", "loop", "groups", "knobs", "overrides", "last order"} & found.keys()


def test_a_healthy_run_fits_in_sixteen_lines(acr, created):
    # 16 groups, 2 wrong, 2 correct: ACR 4/16 = 0.25. Injecting one leaves 3/16 = 0.19.
    done: dict[str, Any] = {"injected_wrong": 1, "num_virtual": 4, "advantage_abs_max": 0.62}
    done |= {"effective_acr": 3 / 16, "decisions": {"has_signal": 12, "injected": 1, "held": 3}}
    rewards = [MIXED] * 12 + [WRONG] * 2 + [CORRECT] * 2
    reports = [body(step, applied=applied(step, **done)) | {"rewards": rewards} for step in (1, 2)]
    run_id = created("paper", reports)
    ended = acr("show", run_id)
    assert len(ended.out.splitlines()) <= 16
    found = ended.sections
    assert found["in short"] == "Too early to tell: 2 steps."
    assert found["health"] == "nothing found"
    assert found["ACR"] == (
        "raw 0.25 wrong 0.12, correct 0.12, other 0.00; of 16 groups "
        "smoothed 0.25 wrong 0.12, correct 0.12 "
        "effective 0.19 without a signal after injection"
    )
    assert found["threshold"] == "0.500, moved by the paper's controller within [0.1, 0.9]"
    assert found["controller"] == (
        "Paper's law: injects when the ACR of a batch is above 0.5; it was 0.25 in the newest "
        "step, 1 group injected."
    )
    assert found["mode"] == (
        "active: injected 1 group (K 4, |A| up to 0.62) at the newest step; "
        "2 all-wrong and 0 all-correct so far"
    )
    assert found["groups"] == "12 with a signal, 3 held, 1 injected"
    assert found["loop"] == "version 2 (active) was applied at step 2; the newest is 3"
    assert found["settings"] == "profile paper, revision 1, as the profile has them"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "4 groups (96 tokens) in 1 try: 2 that differ were trained on"),
        (
            {"tries": 3, "filled": 1, "surplus": 1, "stopped_by": "tries"},
            "4 groups (96 tokens) in 3 tries, ended by tries: 2 that differ and 1 that collapsed "
            "were trained on; 1 that differ were left over",
        ),
    ],
)
def test_how_dynamic_sampling_filled_the_newest_batch_is_told(shown, created, changes, line):
    sampling = {"tries": 1, "sampled": 4, "kept": 2, "tokens": 96, **changes}
    run_id = created("grpo", [body(1, applied=applied(1, sampling=sampling))])
    assert shown(run_id)["sampling"] == line


def test_what_the_api_says_of_run_and_controller_is_told(client, shown, created):
    run_id = created("paper", stuck(1))
    run, found = client.get(f"/v1/runs/{run_id}").json(), shown(run_id)
    assert (found["in short"], found["controller"]) == (run["headline"], run["controller"])
    assert found["controller"].endswith("; the trainer does not say what it applied.")


def test_a_run_whose_groups_are_too_few_decides_nothing_yet(shown, created):
    found = shown(created("paper", [body(1)]))["controller"]
    assert found.endswith("the newest step gave nothing to decide by.")


def test_a_fixed_threshold_is_said_to_be_fixed(shown, created):
    run_id = created("paper", [], controller="fixed", threshold=0.4)
    found = shown(run_id)
    assert found["threshold"] == "0.400, where it was set"
    told = "Fixed threshold: injects when the ACR of a batch is above 0.4."
    assert found["controller"] == told


def test_the_guarded_controller_says_where_it_stands_and_why(acr, shown, created):
    # 16 groups a step: off before 64, then armed; active since 0.75 - 1.64 x 0.055 is above 0.3.
    assert shown(created("guarded", stuck(3)))["controller"] == (
        "Waiting: 48 of the 64 groups it needs were seen."
    )
    assert shown(created("guarded", stuck(4)))["controller"] == (
        "Injecting into all-wrong groups since step 5 (0 of at most 50 steps): 0.750 less 1.64 x "
        "0.055 is above 0.3; the trainer does not say what it applied."
    )
    assert shown(created("guarded", stuck(4), threshold=0.8))["controller"] == (
        "Armed since step 5: begins when the pooled rate of all-wrong groups, less 1.64 standard "
        "errors, is above 0.8; the rate is 0.750."
    )
    limited = created("guarded", stuck(6), max_active_steps=2, benefit_check=False)
    assert shown(limited)["controller"] == (
        "Resting since step 7 (0 of 25 steps): 2 steps are the limit."
    )
    assert shown(limited)["threshold"] == "0.300 to begin, 0.2 to end"
    acr("set", limited, "mode=off", "-r", "why")
    acr("rearm", limited, "-r", "why")
    assert shown(limited)["controller"] == "Off: nothing is injected."
    acr("set", limited, "mode=active", "-r", "why")
    assert shown(limited)["controller"] == "Off until the next report, which arms it."


def test_a_run_locked_by_its_controller_says_why_and_how_to_go_on(shown, created):
    run_id = created("guarded", stuck(6), max_active_steps=2)
    found = shown(run_id)
    assert found["title"].endswith(", LOCKED")
    assert found["controller"] == (
        "Locked since step 7: 2 steps brought neither less collapse nor more reward; re-arm to go "
        f"on. -> acr rearm {run_id} -r REASON"
    )
    assert found["mode"] == "LOCKED: by the controller, nothing is injected"


def test_a_killed_run_says_by_whom_and_how_to_go_on(acr, shown, created):
    run_id = created("paper", stuck(6))
    acr("set", run_id, "alpha=0.4", "-r", "a look", "--for-steps", "20")
    acr("kill", run_id, "-r", "the reward is hacked")
    found = shown(run_id)
    assert found["title"].endswith(", LOCKED")
    assert found["in short"].startswith("Killed by ana: plain GRPO; ")
    assert "controller" not in found
    assert found["mode"].startswith("LOCKED: killed, plain GRPO ana at step 6, 20")
    assert found["mode"].endswith(f": the reward is hacked -> acr rearm {run_id} -r REASON")
    assert "resting while the run is killed; ana: a look" in found["overrides"]
    assert found["last order"].endswith("ago: kill (the reward is hacked)")


def test_a_run_killed_by_its_file_says_to_remove_the_file_first(shown, created):
    run_id = created("paper", [body(1, applied=applied(1, killed_after_rearms=0))])
    assert f"-> remove the kill file, then acr rearm {run_id}" in shown(run_id)["mode"]


def test_shadow_says_what_would_have_been_injected(shown, created):
    shadow = {"injected_wrong": 2, "num_virtual": 5, "advantage_abs_max": 0.5}
    shadow |= {"effective_acr": 0.625}
    done = applied(1, mode="shadow", effective_acr=0.75, shadow=shadow)
    done |= {"decisions": {"has_signal": 14, "injected": 2}}
    found = shown(created("observe", stuck(1, applied=done)))
    assert found["mode"] == (
        "shadow, nothing is touched; injected would be 2 groups (K 5, |A| up to 0.50) at the "
        "newest step; 2 all-wrong and 0 all-correct so far"
    )
    assert "effective 0.75 shadow injects nothing; it would be 0.62" in found["ACR"]
    assert found["groups"] == "14 with a signal, 2 would be injected"


def test_off_is_plain_grpo(shown, created):
    found = shown(created("grpo", stuck(1)))
    assert found["mode"] == "off: plain GRPO"
    assert found["loop"] == "the trainer does not say which settings it applied"


def test_verdicts_come_worst_first_each_with_cause_start_and_advice(acr, client, created):
    scalars = {"kl": 1000.0, "truncated_fraction": 0.5}
    knob = {"beta": {"status": "ignored", "value": 0.0, "reason": "no reference model"}}
    reports = [
        body(step, scalars=scalars, applied=applied(step, knobs=knob)) for step in range(1, 61)
    ]
    run_id = created("guarded", reports)
    verdicts = client.get(f"/v1/runs/{run_id}").json()["verdicts"]
    assert len({verdict["severity"] for verdict in verdicts}) > 1
    words = acr("show", run_id).words
    places = []
    for verdict in verdicts:
        title = f"{verdict['severity']} {verdict['rule']} since step {verdict['since_step']}"
        told = f"{title} {' '.join(verdict['cause'].split())} -> {verdict['advice']}"
        places.append(words.find(told))
    assert places[0] > 0
    assert all(before < after for before, after in pairwise(places))


def test_alarms_that_hold_injection_are_named_while_they_are_heeded(acr, shown, created):
    reports = [body(step, scalars={"kl": 1000.0}) for step in range(1, 61)]
    run_id = created("guarded", reports)
    assert shown(run_id)["held"].startswith("nothing is injected while kl_")
    acr("set", run_id, "heed_alarms=false", "-r", "why")
    assert "held" not in shown(run_id)


def test_the_correct_side_may_be_held_alone(shown, created):
    entropies = [2.0] * 30 + [0.01] * 60
    reports = [
        body(step, scalars={"entropy": entropy}) for step, entropy in enumerate(entropies, start=1)
    ]
    held = shown(created("guarded", reports))["held"]
    assert held == "all-correct groups are not injected while entropy_collapse stands"


def test_settings_of_somebodys_own_are_told_beside_the_profiles(acr, shown, created):
    run_id = created("guarded", [], alpha=0.4)
    acr("set", run_id, "threshold=0.4", "seed=7", "temperature=0.9", "-r", "why")
    found = shown(run_id)
    expected = "threshold=0.4 (profile: 0.3), alpha=0.4 (profile: 0.5)"
    assert found["settings"] == f"profile guarded, revision 2: {expected}"
    assert found["knobs"] == "knob requested applied temperature 0.9 - not reported on yet"


def test_a_threshold_that_the_paper_moves_is_nobodys_own(shown, created):
    # Better at ACR 0.75: tau = 0.5 + 0.01 * (0.75 - 0.5) = 0.5025.
    better = body(2) | {"rewards": [[1.0, 1.0, 1.0, 0.0]] * 4 + [WRONG] * 12}
    found = shown(created("paper", [*stuck(1), better]))
    assert found["threshold"].startswith("0.502")
    assert found["settings"].endswith("as the profile has them")


def test_overrides_say_what_is_left_of_them_and_act_where_they_say(acr, shown, created):
    run_id = created("paper", stuck(6))
    end = ("--for-steps", "20", "--for", "2h")
    acr("set", run_id, "threshold=0.2", "controller=fixed", "-r", "a look", *end)
    found = shown(run_id)
    assert found["threshold"] == "0.200, where it was set"
    assert found["overrides"].startswith("1: threshold=0.2 controller=fixed, 20 steps or ")
    assert "left (until step 26, 20" in found["overrides"]
    assert found["overrides"].endswith("; ana: a look")


def test_an_override_whose_time_is_over_is_gone_though_nothing_was_reported_since(
    acr, shown, run_id
):
    acr("set", run_id, "threshold=0.2", "-r", "a look", "--for", "1s")
    eventually(lambda: "overrides" not in shown(run_id), "the override expires")
    assert shown(run_id)["threshold"].startswith("0.500")
    assert acr("set", run_id, "threshold=0.4", "-r", "no hint that it is hidden").err == ""


def test_knobs_show_why_one_was_ignored(acr, shown, created):
    knobs = {
        "temperature": {"status": "applied", "value": 0.9},
        "beta": {"status": "ignored", "value": 0.0, "reason": "no reference model"},
    }
    reports = [body(1, applied=applied(1, knobs=knobs))]
    run_id = created("paper", reports, temperature=0.9, beta=0.01)
    rows = "beta 0.01 0 ignored no reference model temperature 0.9 0.9 applied"
    assert shown(run_id)["knobs"] == f"knob requested applied {rows}"
    acr("set", run_id, "temperature=null", "-r", "why")
    assert "temperature own 0.9 applied" in shown(run_id)["knobs"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (("set", "{}", "alpha=0.4", "beta=null", "-r", "why"), "set alpha=0.4 beta=null (why)"),
        (("set", "{}", "alpha=0.4", "-r", "why", "--for", "5m"), "override alpha=0.4 (why)"),
        (("unset", "{}", "1", "-r", "why"), "unset 1 (why)"),
        (("rearm", "{}", "-r", "why"), "rearm (why)"),
        (("save", "{}", "-r", "why"), "save (why)"),
    ],
    ids=lambda found: found[0],
)
def test_the_newest_order_is_told_by_its_command(acr, shown, run_id, order, words):
    acr("set", run_id, "alpha=0.9", "-r", "before", "--for", "5m")
    acr("kill", run_id)
    assert acr(*(run_id if text == "{}" else text for text in order)).status == 0
    assert shown(run_id)["last order"].startswith("ana, ")
    assert shown(run_id)["last order"].endswith(f"s ago: {words}")


def test_a_command_is_shown_until_the_trainer_takes_it_up(acr, client, shown, run_id):
    acr("stop", run_id, "-r", "the end of the day")
    told = "stop, not taken up by the trainer yet (ana: the end of the day)"
    assert shown(run_id)["command"] == told
    report = body(1, applied=applied(1, command=1))
    assert client.post(f"/v1/runs/{run_id}/steps", json=report).is_success
    assert "command" not in shown(run_id)


def test_a_trainer_that_is_late_or_follows_no_settings_is_told_of(shown, created):
    done = applied(3, settings_version=1, through_step=0, note="no monitor yet: plain GRPO")
    reports = [body(1), body(2), body(3, applied=done)]
    assert shown(created("paper", reports))["loop"] == (
        "version 1 (active) was applied at step 3, 2 steps late: no monitor yet: plain GRPO; "
        "the newest is 4"
    )


def test_how_the_training_ended_is_in_the_title(client, shown, run_id):
    client.post(f"/v1/runs/{run_id}/end", json={"attempt": 1, "how": "finished"})
    assert shown(run_id)["title"].endswith(", ended: finished")


def test_tags_and_notes_are_shown_where_there_are_any(acr, shown, run_id):
    assert not {"tags", "notes"} & shown(run_id).keys()
    acr("tag", run_id, "team=rl", "seed=1")
    acr("note", run_id, "the first\nwith the new data")
    found = shown(run_id)
    assert (found["tags"], found["notes"]) == ("team=rl seed=1", "the first with the new data")


def test_what_others_wrote_never_reaches_the_terminal_as_a_command(acr, client, run_id):
    order = {"reason": "\x1b[2Jgone\nand\x07 away [red]", "actor": "\x1b]0;eve\x07"}
    client.post(f"/v1/runs/{run_id}/kill", json=order)
    client.post(f"/v1/runs/{run_id}/commands", json={"command": "save", **order})
    shown = in_a_terminal(80, "show", run_id)
    assert "?[2Jgone and? away [red]" in plain(shown)
    assert not [code for code in ("\x1b]", "\x1b[2J", "\x07") if code in shown]


@pytest.mark.parametrize("columns", [80, 120, 400])
def test_no_line_is_wider_than_the_terminal_or_than_people_can_read(acr, created, columns):
    knob = {"beta": {"status": "ignored", "value": 0.0, "reason": "no reference model " * 10}}
    done = applied(1, mode="shadow", knobs=knob, shadow={"injected_wrong": 3})
    scalars = {"kl": 1000.0}
    reports = [body(step, scalars=scalars, applied=done) for step in range(1, 61)]
    run_id = created("observe", reports, beta=0.1, alpha=0.4, eta=0.5, threshold=0.35)
    acr("set", run_id, "alpha=0.3", "-r", "a reason of many words " * 10, "--for", "5m")
    acr("kill", run_id, "-r", "another reason of many words " * 10)
    shown = in_a_terminal(columns, "show", run_id)
    assert "\x1b[1;31m" in shown
    assert max(map(len, plain(shown).splitlines())) <= min(columns, 100)
