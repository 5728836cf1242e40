"""The sentence on a run: whether it learns, and if not, why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor_service.engine.changes import killed
from monitor_service.engine.headline import headline
from monitor_service.engine.health.alarms import Health, Verdict, silence
from monitor_service.engine.health.figures import Seen
from monitor_service.engine.health.reward import START_STEPS
from monitor_service.engine.health.rules import RULES
from monitor_service.engine.health.vitals import Vitals
from monitor_service.engine.health.words import WORDS
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from tests.engine.vitals import any_vitals, collapsed, examined, rates, steady

WAVE = (0.02, -0.02)
"""What the reward of these runs swings by, so that there is noise to tell a trend from."""


def rewards(*levels: float) -> list[Vitals]:
    """A step at each level, swinging around it."""
    return [Vitals(step=0, reward_mean=one + WAVE[at % 2]) for at, one in enumerate(levels)]


def climb(first: float, last: float, num_steps: int) -> list[float]:
    return [first + (last - first) * step / (num_steps - 1) for step in range(num_steps)]


def told(steps: list[Vitals] | Health, **fields) -> str:
    """What is said of a run with these steps."""
    health = steps if isinstance(steps, Health) else examined(steps)[0]
    state = replace(RunState(settings=Settings(), step=health.step, health=health), **fields)
    return headline(state, health.verdicts, has_reported=health.step > 0)


def test_before_the_first_report_it_is_waited_for():
    assert told(Health()) == "Waiting for the first report."
    assert told(Health(), ended="failed") == "Ended (failed) before the first report."
    dead = killed(RunState(settings=Settings()), actor="ana", reason="why", now_s=0)
    words = headline(dead, (), has_reported=False)
    assert words == "Waiting for the first report, killed by ana."


def test_of_few_steps_nothing_is_said():
    assert told(rewards(0.5)) == "Too early to tell: 1 step."
    assert told(rewards(*climb(0.1, 0.9, 19))) == "Too early to tell: 19 steps."


def test_a_reward_that_rises_is_learning():
    found = told(rewards(*climb(0.3, 0.6, 150)))
    # It rises by 0.3 / 149 a step: 14 steps after the first the mean is 0.30 + 7 x 0.002 = 0.314.
    assert found.startswith("Learning: reward rising, 0.")
    assert found.endswith(" (it began at 0.315); no warning.")


def test_a_reward_that_falls_is_no_warning_yet():
    found = told(rewards(*climb(0.6, 0.5, 60)))
    assert found.startswith("No warning, but reward falling, 0.5")


def test_a_reward_that_does_neither_shows_no_trend():
    assert told(rewards(*[0.5] * 150)) == "No warning; reward shows no clear trend (0.499)."


@pytest.mark.parametrize(
    ("last", "way"), [(0.7, "rose from 0.479 to 0.699"), (0.4, "fell from 0.479 to 0.399")]
)
def test_what_was_reached_long_ago_is_said_beside_that_nothing_changes(last, way):
    # The lowest step keeps a small fall from being a collapse. Of 15 steps the mean of the start is
    # (0.18 + 14 x 0.5) / 15 = 0.479, as the swings of the others cancel out; the newest of them
    # moves the mean of about 30 steps by 0.02 / 31.
    levels = [0.16] + [0.5] * (START_STEPS - 1) + climb(0.5, last, 50) + [last] * 401
    found = told(rewards(*levels))
    assert found == f"No warning; reward {way}, with no clear trend of late."


def test_a_start_that_an_older_state_does_not_know_is_left_out():
    health, _ = examined(rewards(*climb(0.3, 0.6, 150)))
    trends = health.trends
    older = replace(health, trends=replace(trends, reward=replace(trends.reward, first=None)))
    assert "it began" not in told(older)


def test_steps_of_which_nothing_was_scored_say_nothing():
    assert told(steady(500)) == "Nothing to judge by: no completion was scored."


def test_a_stall_says_since_when_and_why():
    steps = collapsed(0.5, num_steps=60, reward_mean=0.25)
    assert told(steps) == (
        "Stalled since step 1: most groups without a signal are all wrong and the reward does not "
        "rise."
    )


def test_a_stall_of_unknown_kind_is_told_too():
    unknown = replace(rates(wrong=0.5), wrong=None, correct=None)
    found = told(collapsed(0.5, num_steps=60, reward_mean=0.25, pooled=unknown))
    assert found.startswith("Stalled since step 1: many groups give no signal and ")


def test_saturation_says_how_much_is_right():
    steps = collapsed(0.8, num_steps=60, reward_mean=0.9, pooled=rates(correct=0.8))
    assert told(steps) == (
        "Saturated since step 1: 80% of the groups are all correct; reward shows no clear trend "
        "(0.9)."
    )


def test_the_worst_comes_first_and_the_rest_is_counted():
    # KL and truncation are critical, KL drift is a warning; low entropy is worth no more than info.
    steps = steady(80, kl=3.0, truncated_fraction=1.0, entropy=0.4, reward_mean=0.5)
    health, _ = examined(steps)
    assert [one.severity for one in health.verdicts] == ["critical", "critical", "warning", "info"]
    assert told(health) == (
        "KL explodes since step 1: 3 nats away from the reference; reward shows no clear trend "
        "(0.5); 2 more alarms."
    )


def test_what_is_only_worth_knowing_is_no_headline():
    health, _ = examined(steady(80, entropy=0.4, reward_mean=0.5))
    assert [one.rule for one in health.verdicts] == ["entropy_low"]
    assert told(health) == "No warning; reward shows no clear trend (0.5)."


def test_a_run_that_ended_says_how_and_what_it_came_to():
    assert told(collapsed(0.5, num_steps=60), ended="finished").startswith(
        "Ended (finished), stalled since step 1: most groups"
    )
    assert told(steady(60, kl=3.0), ended="stopped").startswith("Ended (stopped), KL explodes ")


def test_a_silent_run_says_for_how_long_and_what_was_before():
    health, _ = examined(collapsed(0.5, num_steps=60))
    state = RunState(settings=Settings(), step=60, health=health)
    silent = silence(last_report_at_s=0, now_s=12.9 * 60, typical_step_s=None, step=60)
    assert silent is not None
    found = headline(state, [silent, *health.verdicts], has_reported=True)
    assert found.startswith("Silent: no report for 12 min; before, stalled since step 1: ")


def test_a_run_begun_anew_that_stays_silent_had_nothing_before():
    silent = silence(last_report_at_s=0, now_s=12.9 * 60, typical_step_s=None, step=0)
    assert silent is not None
    found = headline(RunState(settings=Settings()), [silent], has_reported=False)
    assert found == "Silent: no report for 12 min."


def test_a_killed_run_says_by_whom_on_one_line():
    state = RunState(settings=Settings(), step=12, health=examined(rewards(*[0.5] * 12))[0])
    state = killed(state, actor="a\nna", reason="why", now_s=0)
    assert headline(state, (), has_reported=True) == (
        "Killed by a na: plain GRPO; too early to tell: 12 steps."
    )


def test_rules_that_failed_are_not_said_to_have_found_nothing():
    found = told(rewards(*[0.5] * 60), health_failure="ValueError in stall, line 1")
    assert found == "Not judged: the health rules failed at the newest step."


FULL = Vitals(
    step=0,
    num_groups=16,
    acr=0.6,
    acr_primary=0.9,
    pooled=rates(wrong=0.4, correct=0.1, other=0.1),
    reward_mean=0.3,
    components={"format": (1.0, 0.0)},
    entropy=0.4,
    kl=2.0,
    grad_norm=1.0,
    clip_fraction=0.4,
    completion_length_mean=100.0,
    completion_length_max=200.0,
    truncated_fraction=0.9,
    non_finite=("loss",),
    settings_lag_steps=9,
    not_applied={"beta": "no reference model"},
    filled_share=0.5,
    sampling_tries=3,
)
"""A step of which everything was measured."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_words_of_a_headline_that_its_evidence_fills(rule):
    health, _ = examined([FULL] * 120)
    seen = Seen(vitals=FULL, trends=health.trends, first_hundred=health.first_hundred)
    found = WORDS[rule.name].evidence(seen)
    verdict = Verdict(
        rule=rule.name,
        severity="warning",
        since_step=7,
        step=120,
        cause="",
        evidence={name: value for name, value in found.items() if value is not None},
        advice="",
    )
    state = RunState(settings=Settings(), step=120, health=health)
    words = headline(state, [verdict], has_reported=True)
    assert " since step 7: " in words
    assert "unknown" not in words
    assert len(words) < 200


@given(st.lists(any_vitals, max_size=40), st.booleans())
@settings(max_examples=60)
def test_whatever_is_reported_there_is_one_sentence(steps, has_ended):
    health, _ = examined(steps)
    found = told(health, ended="finished" if has_ended else None)
    assert found.endswith(".")
    assert found == " ".join(found.split())
    assert found[0] == found[0].upper()
