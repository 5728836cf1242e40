"""What Prometheus reads: every figure of a run, none that does not exist, nothing else."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor_service.__about__ import __version__
from monitor_service.engine.advance import RunState, advance
from monitor_service.engine.settings import Settings
from monitor_service.exposition import METRIC_NAMES, render
from monitor_service.wire import Applied, Run, Scalars, StepRecord, observation
from tests.service.reports import CORRECT, MIXED, WRONG, report

SCALARS = Scalars(
    entropy=0.5, kl=0.01, grad_norm=2.5, completion_length_mean=120.0, truncated_fraction=0.125
)
# With settings that knew no step yet.
APPLIED = Applied(
    settings_version=1,
    through_step=0,
    mode="active",
    threshold=0.5,
    triggered=True,
    injected_wrong=1,
    injected_correct=2,
    effective_acr=0.25,
)
# 8 groups: 3 mixed, 1 wrong, 2 correct, 1 partial credit, 1 unscored; 7 scored.
REWARDS = [MIXED, MIXED, MIXED, WRONG, CORRECT, CORRECT, [0.5] * 4, [math.nan] * 4]


def run_after(*reports, run_id: str = "run-a") -> Run:
    state, last = RunState(settings=Settings()), None
    for found in reports:
        state, figures, _ = advance(state, observation(found))
        last = StepRecord(
            step=found.step,
            attempt=1,
            optimizer_step=None,
            at_s=1000.5,
            settings_version=state.settings.version,
            collapse=figures,
            components={},
            scalars=found.scalars,
            applied=found.applied,
        )
    return Run(
        id=run_id,
        created_at_s=1.0,
        last_report_at_s=last.at_s if last else None,
        step=state.step,
        attempt=state.attempt,
        config={},
        tags={},
        counters=state.counters,
        settings=state.settings,
        changed=None,
        last=last,
    )


def full_run(run_id: str = "run-a") -> Run:
    newest = report(4, [*REWARDS, [math.inf, 1.0, 0.0, 1.0]], scalars=SCALARS, applied=APPLIED)
    return run_after(report(2, REWARDS), newest, run_id=run_id)


def samples(*runs: Run) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) to value, of everything in the text."""
    families = text_string_to_metric_families(render(runs).decode())
    found = [sample for family in families for sample in family.samples]
    values = {(one.name, frozenset(one.labels.items())): one.value for one in found}
    assert len(values) == len(found), "a sample occurs twice"
    return values


def value(run: Run, name: str, **labels: str) -> float:
    return samples(run)[name, frozenset({"run": run.id, **labels}.items())]


def test_every_figure_of_a_run_is_there_with_its_value():
    run = full_run()
    assert run.last is not None
    steps = {
        "acr_step": 4,
        "acr_attempt": 1,
        "acr_steps_total": 2,
        # Steps 1 and 3.
        "acr_step_gaps_total": 2,
        # 7 scored groups of 4, twice, and 3 finite rewards of the group with an infinity.
        "acr_completions_total": 7 * 4 * 2 + 3,
        "acr_invalid_rewards_total": 1,
        "acr_intervened_steps_total": 1,
        # 4 of 8 scored groups.
        "acr_ratio": 4 / 8,
        "acr_effective_ratio": 0.25,
        "acr_threshold_ratio": run.settings.threshold,
        "acr_settings_version": 3,
        "acr_applied_settings_version": 1,
        # It could have known step 3 and knew step 0.
        "acr_settings_lag_steps": 3,
        "acr_last_report_timestamp_seconds": 1000.5,
        # (3 * 2 + 2 * 4 + 4 * 0.5 + 2) / (7 * 4 + 3)
        "acr_reward_mean": 18 / 31,
        "acr_smoothed_ratio": run.last.collapse.acr_smoothed,
        "acr_entropy_nats": 0.5,
        "acr_kl_nats": 0.01,
        "acr_grad_norm": 2.5,
        "acr_completion_length_tokens": 120,
        "acr_truncated_ratio": 0.125,
    }
    assert {name: value(run, name) for name in steps} == pytest.approx(steps)


def test_group_outcomes_are_counters_and_their_shares_add_up_to_the_acr():
    run = full_run()
    counted = {"mixed": 7, "all_wrong": 2, "all_correct": 4, "uniform_other": 2, "unscored": 2}
    for outcome, count in counted.items():
        assert value(run, "acr_groups_total", outcome=outcome) == count
    for side, count in {"wrong": 1, "correct": 2}.items():
        assert value(run, "acr_injected_groups_total", side=side) == count
    shares = {"all_wrong": 1 / 8, "all_correct": 2 / 8, "uniform_other": 1 / 8}
    for outcome, share in shares.items():
        assert value(run, "acr_collapsed_ratio", outcome=outcome) == share
    assert sum(shares.values()) == value(run, "acr_ratio")


def test_what_a_run_is_set_to_is_on_its_info():
    labels = {"profile": "paper", "controller": "paper", "mode": "active", "strategy": "stratified"}
    assert value(full_run(), "acr_run_info", **labels) == 1


def test_the_names_listed_are_those_of_a_full_run_and_no_others():
    assert {name for name, _ in samples(full_run())} == METRIC_NAMES


def test_without_runs_only_the_monitor_itself_is_there():
    assert samples() == {("acr_build_info", frozenset({("version", __version__)})): 1}


def test_before_its_first_step_a_run_has_counters_and_no_figures():
    names = {name for name, _ in samples(run_after())}
    assert names == {
        "acr_build_info",
        *("acr_steps_total", "acr_completions_total", "acr_step_gaps_total"),
        *("acr_intervened_steps_total", "acr_invalid_rewards_total"),
        *("acr_groups_total", "acr_injected_groups_total"),
        *("acr_run_info", "acr_step", "acr_attempt", "acr_threshold_ratio", "acr_settings_version"),
    }


def test_a_step_without_scores_scalars_or_proof_has_no_figures_and_no_zeros():
    run = run_after(report(1, [[math.nan] * 4]))
    names = {name for name, _ in samples(run)}
    absent = {
        *("acr_ratio", "acr_smoothed_ratio", "acr_collapsed_ratio", "acr_reward_mean"),
        *("acr_entropy_nats", "acr_kl_nats", "acr_grad_norm", "acr_completion_length_tokens"),
        *("acr_truncated_ratio", "acr_effective_ratio", "acr_applied_settings_version"),
        "acr_settings_lag_steps",
    }
    assert names == METRIC_NAMES - absent


def test_a_figure_that_is_zero_is_there():
    run = run_after(report(1, [MIXED], scalars=Scalars(kl=0.0)))
    assert value(run, "acr_ratio") == 0
    assert value(run, "acr_kl_nats") == 0


def test_each_run_has_its_own_samples():
    found = samples(full_run("a"), run_after(run_id="b"))
    label = {run: frozenset({("run", run)}) for run in "ab"}
    assert (found["acr_step", label["a"]], found["acr_step", label["b"]]) == (4, 0)
    assert ("acr_ratio", label["b"]) not in found


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", 'a\\"', "Läufe", "{}"])
def test_no_label_can_break_the_text(name):
    run = full_run(name)
    assert {dict(labels).get("run", name) for _, labels in samples(run)} == {name}
    assert value(run, "acr_step") == 4


def test_rendering_twice_gives_the_same_text():
    runs = [full_run("a"), run_after(run_id="b")]
    assert render(runs) == render(runs)
