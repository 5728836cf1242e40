"""What Prometheus reads: every figure of a run, none that does not exist, nothing else."""

import math
import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor_service.__about__ import __version__
from monitor_service.engine.advance import advance
from monitor_service.engine.arming import Arming
from monitor_service.engine.changes import killed, with_override
from monitor_service.engine.profiles import changed
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.exposition import METRIC_NAMES, deliveries, render
from monitor_service.resources import Run, StepRecord
from monitor_service.store.redis import About, StoredRun
from monitor_service.store.roster import Standing
from monitor_service.views import view
from monitor_service.wire import Applied, Injection, Knob, Sampling, Scalars, observation
from tests.service.collector import latest
from tests.service.reports import CORRECT, MIXED, WRONG, report

SCALARS = Scalars(
    entropy=0.5, kl=0.01, grad_norm=2.5, completion_length_mean=120.0, truncated_fraction=0.125
)
KNOBS = {
    "beta": Knob(status="ignored", value=0.0, reason="there is no reference policy"),
    "temperature": Knob(status="applied", value=0.8),
    "loss_mask": Knob(status="applied", value=True),
}
ASKED = {"beta": 0.04, "temperature": 0.9, "loss_mask": True}


def applied(**fields) -> Applied:
    """By settings that knew no step yet."""
    needed = {"settings_version": 1, "through_step": 0, "mode": "active", "threshold": 0.5}
    return Applied(**{**needed, "triggered": True, **fields})


APPLIED = applied(
    injected_wrong=1,
    injected_correct=2,
    effective_acr=0.25,
    group_fraction_pooled=0.375,
    mass_fraction_pooled=0.125,
    knobs=KNOBS,
    sampling=Sampling(
        tries=3, sampled=9, kept=3, filled=2, surplus=1, tokens=999, stopped_by="tries"
    ),
)
# 8 groups: 3 mixed, 1 wrong, 2 correct, 1 partial credit, 1 unscored; 7 scored.
REWARDS = [MIXED, MIXED, MIXED, WRONG, CORRECT, CORRECT, [0.5] * 4, [math.nan] * 4]


def run_after(*reports, run_id: str = "run-a", now_s: float = 1001.0, **settings) -> Run:
    state, last = RunState(settings=changed(Settings(), settings)), None
    for found in reports:
        state, figures, _ = advance(state, observation(found), now_s=1000.5)
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
    about = About(created_at_s=1.0, config={}, tags={})
    return view(StoredRun(run_id=run_id, state=state, about=about, last=last), now_s)


def full_run(run_id: str = "run-a") -> Run:
    # Twice a knob that is ignored: an alarm.
    first = report(2, REWARDS, applied=applied(knobs=KNOBS))
    newest = report(4, [*REWARDS, [math.inf, 1.0, 0.0, 1.0]], scalars=SCALARS, applied=APPLIED)
    return run_after(first, newest, run_id=run_id, **ASKED)


def samples(*runs: Run) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) to value, of everything in the text."""
    families = text_string_to_metric_families(render(runs, {}).decode())
    found = [sample for family in families for sample in family.samples]
    values = {(one.name, frozenset(one.labels.items())): one.value for one in found}
    assert len(values) == len(found), "a sample occurs twice"
    return values


STANDINGS: dict[Standing, int] = {"waiting": 1, "training": 2, "silent": 0, "ended": 3}


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
        # Nobody has changed a setting.
        "acr_settings_revision": 1,
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
        "acr_injected_groups_ratio": 0.375,
        "acr_injected_mass_ratio": 0.125,
        "acr_killed": 0,
        "acr_overrides_active": 0,
    }
    assert {name: value(run, name) for name in steps} == pytest.approx(steps)


def test_group_outcomes_are_counters_and_their_shares_add_up_to_the_acr():
    run = full_run()
    counted = {"mixed": 7, "all_wrong": 2, "all_correct": 4, "uniform_other": 2, "unscored": 2}
    for outcome, count in counted.items():
        assert value(run, "acr_groups_total", outcome=outcome) == count
    for use, count in {"kept": 3, "filled": 2, "surplus": 1}.items():
        assert value(run, "acr_sampling_groups_total", use=use) == count
    for side, count in {"wrong": 1, "correct": 2}.items():
        assert value(run, "acr_injected_groups_total", side=side) == count
    shares = {"all_wrong": 1 / 8, "all_correct": 2 / 8, "uniform_other": 1 / 8}
    for outcome, share in shares.items():
        assert value(run, "acr_collapsed_ratio", outcome=outcome) == share
    assert sum(shares.values()) == value(run, "acr_ratio")


def test_smoothed_sides_are_those_of_the_smoothed_rate():
    run = run_after(report(1, [WRONG, CORRECT, CORRECT, MIXED]))
    # One step: its own shares.
    assert value(run, "acr_smoothed_collapsed_ratio", outcome="all_wrong") == pytest.approx(1 / 4)
    assert value(run, "acr_smoothed_collapsed_ratio", outcome="all_correct") == pytest.approx(2 / 4)
    assert value(run, "acr_smoothed_ratio") == pytest.approx(3 / 4)


def test_what_shadow_would_have_injected_is_counted_apart():
    would = Injection(injected_wrong=2, injected_correct=1)
    run = run_after(report(1, REWARDS, applied=applied(mode="shadow", shadow=would)))
    for side, count in {"wrong": 2, "correct": 1}.items():
        assert value(run, "acr_shadow_injected_groups_total", side=side) == count
        assert value(run, "acr_injected_groups_total", side=side) == 0
    assert value(run, "acr_intervened_steps_total") == 0


def test_knobs_show_what_is_asked_for_beside_what_is_in_force():
    run = full_run()
    for knob, asked, in_force, ignored in (
        ("beta", 0.04, 0.0, 1),
        ("temperature", 0.9, 0.8, 0),
        ("loss_mask", 1, 1, 0),
    ):
        assert value(run, "acr_knob_requested", knob=knob) == asked
        assert value(run, "acr_knob_applied", knob=knob) == in_force
        assert value(run, "acr_knob_ignored", knob=knob) == ignored


def test_a_knob_nobody_reported_on_is_asked_for_and_no_more():
    found = {(name, dict(labels).get("knob")) for name, labels in samples(run_after(beta=0.04))}
    assert {one for one in found if one[1]} == {("acr_knob_requested", "beta")}


def test_names_of_knobs_come_from_us_and_not_from_reports():
    made_up = {f"knob-{number}": Knob(status="applied", value=1.0) for number in range(5)}
    run = run_after(report(1, applied=applied(knobs=made_up)))
    assert not {name for name, _ in samples(run) if name.startswith("acr_knob")}


def test_every_raised_alarm_is_there_with_its_severity_and_no_other():
    label = frozenset({"run": "run-a", "rule": "settings_ignored", "severity": "warning"}.items())
    found = {one: count for one, count in samples(full_run()).items() if "alarm" in one[0]}
    assert found == {("acr_alarm_active", label): 1}
    assert not {name for name, _ in samples(run_after(report(1))) if "alarm" in name}


def test_silence_is_an_alarm_of_the_moment_somebody_looks():
    # Reported at 1000.5; after 600 s of silence it is one.
    silent = {"rule": "reports_stopped", "severity": "critical"}
    assert value(run_after(report(1), now_s=1601.0), "acr_alarm_active", **silent) == 1
    key = ("acr_alarm_active", frozenset({"run": "run-a", **silent}.items()))
    assert key not in samples(run_after(report(1), now_s=1600.0))


def one_hot(run: Run, name: str, label: str) -> dict[str, float]:
    return {
        dict(labels)[label]: count
        for (found, labels), count in samples(run).items()
        if found == name
    }


def stored(state: RunState, now_s: float = 1001.0) -> Run:
    about = About(created_at_s=1.0, config={}, tags={})
    return view(StoredRun(run_id="run-a", state=state, about=about), now_s)


def test_the_mode_that_acts_is_the_one_that_is_1():
    state = RunState(settings=Settings(mode="shadow"))
    others = {"off": 0, "shadow": 0, "active": 0, "locked": 0}
    assert one_hot(stored(state), "acr_acting_mode", "mode") == {**others, "shadow": 1}
    dead = killed(state, actor="ana", reason="why", now_s=1000.0)
    assert one_hot(stored(dead), "acr_acting_mode", "mode") == {**others, "locked": 1}
    assert (value(stored(state), "acr_killed"), value(stored(dead), "acr_killed")) == (0, 1)


def test_a_change_by_a_person_moves_the_revision_and_a_report_does_not():
    fresh = RunState(settings=Settings())
    reported, *_ = advance(fresh, observation(report(1)), now_s=1000.5)
    dead = killed(reported, actor="ana", reason="why", now_s=1000.0)
    found = [stored(state) for state in (fresh, reported, dead)]
    assert [value(run, "acr_settings_revision") for run in found] == [1, 1, 2]
    assert [value(run, "acr_settings_version") for run in found] == [1, 2, 3]


def test_an_override_counts_until_its_time_is_over():
    state = with_override(
        RunState(settings=Settings()),
        {"mode": "off", "beta": 0.1},
        actor="ana",
        reason="why",
        expires_in_steps=5,
        expires_in_s=60,
        now_s=1000.0,
    )
    during, after = stored(state, 1059.9), stored(state, 1060.0)
    assert (value(during, "acr_overrides_active"), value(after, "acr_overrides_active")) == (1, 0)
    assert value(during, "acr_acting_mode", mode="off") == 1
    assert value(after, "acr_acting_mode", mode="active") == 1
    assert value(during, "acr_knob_requested", knob="beta") == 0.1
    assert not one_hot(after, "acr_knob_requested", "knob")


def test_the_stage_of_the_controller_is_the_one_that_is_1():
    settings = Settings(arming=Arming(stage="cooldown"))
    stages = one_hot(stored(RunState(settings=settings)), "acr_controller_stage", "stage")
    assert stages == {"off": 0, "armed": 0, "active": 0, "cooldown": 1, "locked": 0}


def test_what_a_run_is_set_to_is_on_its_info():
    labels = {"profile": "paper", "controller": "paper", "mode": "active", "strategy": "stratified"}
    assert value(full_run(), "acr_run_info", **labels) == 1


def test_the_names_listed_are_those_of_a_full_run_and_no_others():
    names = {name for name, _ in samples(full_run())}
    assert names | {"acr_runs", "acr_alert_deliveries_total"} == METRIC_NAMES


def test_without_runs_only_the_monitor_itself_is_there():
    assert samples() == {("acr_build_info", frozenset({("version", __version__)})): 1}


def test_before_its_first_step_a_run_has_counters_and_no_figures():
    names = {name for name, _ in samples(run_after())}
    assert names == {
        "acr_build_info",
        *("acr_steps_total", "acr_completions_total", "acr_step_gaps_total"),
        *("acr_intervened_steps_total", "acr_invalid_rewards_total"),
        *("acr_groups_total", "acr_injected_groups_total", "acr_sampling_groups_total"),
        *("acr_run_info", "acr_step", "acr_attempt", "acr_threshold_ratio", "acr_settings_version"),
        *("acr_shadow_injected_groups_total", "acr_acting_mode", "acr_controller_stage"),
        *("acr_killed", "acr_ended", "acr_overrides_active", "acr_settings_revision"),
    }


def test_a_step_without_scores_scalars_or_proof_has_no_figures_and_no_zeros():
    run = run_after(report(1, [[math.nan] * 4]))
    names = {name for name, _ in samples(run)}
    absent = {
        *("acr_ratio", "acr_smoothed_ratio", "acr_collapsed_ratio", "acr_reward_mean"),
        *("acr_entropy_nats", "acr_kl_nats", "acr_grad_norm", "acr_completion_length_tokens"),
        *("acr_truncated_ratio", "acr_effective_ratio", "acr_applied_settings_version"),
        *("acr_settings_lag_steps", "acr_smoothed_collapsed_ratio", "acr_alarm_active"),
        *("acr_injected_groups_ratio", "acr_injected_mass_ratio"),
        *("acr_knob_requested", "acr_knob_applied", "acr_knob_ignored"),
    }
    assert names == METRIC_NAMES - absent - {"acr_runs", "acr_alert_deliveries_total"}


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


def overridden_run() -> Run:
    state = with_override(
        RunState(settings=Settings(arming=Arming(stage="locked"))),
        {"beta": 0.1},
        actor="ana",
        reason="why",
        expires_in_steps=5,
        expires_in_s=60,
        now_s=1000.0,
    )
    return stored(killed(state, actor="ana", reason="why", now_s=1000.0))


RUNS = {
    "nothing": [],
    "a full one": [full_run()],
    "one that waits": [run_after()],
    "one without scores": [run_after(report(1, [[math.nan] * 4]))],
    "one that is silent": [run_after(report(1), now_s=9999.0)],
    "one that is killed": [overridden_run()],
    "large and small numbers": [
        run_after(report(10**9, [MIXED], scalars=Scalars(kl=1e-12, grad_norm=1e300)))
    ],
    "a name to escape": [full_run('a"b\\c\nd')],
    "several": [full_run("a"), run_after(run_id="b"), run_after(report(1), run_id="c")],
}


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
def test_the_text_says_what_prometheus_client_would_say(runs):
    def said(text: bytes) -> dict[str, tuple[str, str, set[object]]]:
        return {
            family.name: (
                family.type,
                family.documentation,
                {(one.name, frozenset(one.labels.items()), one.value) for one in family.samples},
            )
            for family in text_string_to_metric_families(text.decode())
        }

    ours, theirs = render(runs, STANDINGS), latest(runs, STANDINGS)
    assert said(ours) == said(theirs)
    assert ours.count(b"\n") == theirs.count(b"\n")


def test_it_takes_less_than_half_the_time_of_prometheus_client():
    runs = [full_run(f"run-{number}") for number in range(50)]

    def best_s(write: Callable[..., bytes]) -> float:
        def once() -> float:
            begun_s = time.thread_time()
            write(runs, STANDINGS)
            return time.thread_time() - begun_s

        return min(once() for _ in range(5))

    # Measured: a tenth.
    assert best_s(render) < 0.5 * best_s(latest)


def test_how_many_runs_stand_how_is_told():
    families = text_string_to_metric_families(render([], STANDINGS).decode())
    (counts,) = [family for family in families if family.name == "acr_runs"]
    assert {one.labels["state"]: one.value for one in counts.samples} == STANDINGS


def test_deliveries_of_alerts_are_counted_by_sink_and_outcome():
    text = deliveries({("slack-2", "failed"): 3, ("log", "delivered"): 7}).decode()
    (family,) = text_string_to_metric_families(text)
    assert {(one.labels["sink"], one.labels["outcome"]): one.value for one in family.samples} == {
        ("log", "delivered"): 7,
        ("slack-2", "failed"): 3,
    }
    assert {one.name for one in family.samples} <= METRIC_NAMES


def test_rendering_twice_gives_the_same_text():
    runs = [full_run("a"), run_after(run_id="b")]
    assert render(runs, STANDINGS) == render(runs, STANDINGS)


def test_the_process_that_answers_says_what_it_uses(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = {family.name: family.samples for family in families}
    assert found["process_resident_memory_bytes"][0].value > 0
    assert found["process_cpu_seconds"][0].labels == {}
