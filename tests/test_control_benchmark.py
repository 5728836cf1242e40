"""The simulation of the control laws: its data, its figures, its claims."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.control.__main__ import main, tasks, trials
from benchmarks.control.chance import activating, enters
from benchmarks.control.claims import judged
from benchmarks.control.laws import FIXED, GUARDED, OBSERVE, PAPER, SHIPPED
from benchmarks.control.plots import draw
from benchmarks.control.scenarios import (
    FLAT_MID,
    HARD,
    HEALTHY,
    NOISY,
    REGRESSING,
    SATURATING,
    SCENARIOS,
    Scenario,
    expected,
    rewards,
    truth,
)
from benchmarks.control.simulate import Injected, Path, Task, Trial, simulate
from benchmarks.control.summary import ENTRY, summarised
from benchmarks.svg import DARK, GROUND, INK
from monitor_service.engine.advance import advance
from monitor_service.engine.collapse import Outcome, RewardRange, judge
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.state import Observation, RunState


def beta_ratio(a: float, b: float, more_a: float, more_b: float) -> float:
    """B(a + more_a, b + more_b) / B(a, b)."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    return math.exp(log_beta(a + more_a, b + more_b) - log_beta(a, b))


@pytest.mark.parametrize("size", [2, 8, 16])
@pytest.mark.parametrize(("a", "b"), [(0.25, 2.5), (0.5, 0.5), (0.8, 1.2), (1.0, 1.0), (6.0, 6.0)])
def test_without_drift_the_true_shares_are_ratios_of_beta_functions(a, b, size):
    wrong, correct = expected(Scenario(name="", a=a, b=b), 0.0, size)
    assert wrong == pytest.approx(beta_ratio(a, b, 0, size), abs=1e-9)
    assert correct == pytest.approx(beta_ratio(a, b, size, 0), abs=1e-9)


@pytest.mark.parametrize(
    ("scenario", "first", "last"),
    [
        ("improving", 0.25, 0.31),
        ("flat-mid", 0.39, 0.39),  # Beta(.5, .5): 2 * .1964
        ("healthy", 0.03, 0.05),
        ("saturating", 0.43, 0.65),
        ("flat hard", 0.68, 0.68),  # .6782 + .0018
        ("regressing", 0.26, 0.49),
    ],
)
def test_scenarios_collapse_as_much_as_they_are_said_to(scenario, first, last):
    (found,) = (truth(one, 500) for one in SCENARIOS if one.name == scenario)
    assert round(float(found.acr[0]), 2) == first
    assert round(float(found.acr[-1]), 2) == last


def test_a_noisy_verifier_hides_collapse():
    # With flips f a pass rate p looks like 1/2 + (p - 1/2)(1 - 2f): the tails of p^8 shrink.
    clean, noisy = truth(HEALTHY, 500), truth(NOISY, 500)
    assert np.all(noisy.acr < clean.acr)
    hard = Scenario(name="", a=HARD.a, b=HARD.b, flips=0.1)
    assert expected(hard, 0.0)[0] == pytest.approx(0.2992, abs=1e-4)  # .6782 without flips


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_rewards_collapse_at_the_true_rates(scenario):
    steps, groups = 4, 20_000
    real = truth(scenario, steps)
    for at, batch in enumerate(rewards(scenario, steps=steps, groups=groups, run=0)):
        found = judge(batch, reward_range=RewardRange())
        for side, share in ((Outcome.ALL_WRONG, real.wrong), (Outcome.ALL_CORRECT, real.correct)):
            error = math.sqrt(share[at] * (1 - share[at]) / groups)
            assert found.share(side) == pytest.approx(share[at], abs=4 * error)


def test_a_run_is_the_same_whenever_it_is_drawn_and_differs_from_others():
    def drawn(run):
        return rewards(REGRESSING, steps=5, groups=16, run=run)

    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))


def test_only_hard_and_regressing_data_are_ever_above_the_entry_level():
    above = {scenario.name for scenario in SCENARIOS if truth(scenario, 500).wrong.max() > ENTRY}
    assert above == {"flat hard", "regressing"}


def test_observe_decides_as_guarded_does_without_its_benefit_check():
    unchecked = from_profile("guarded", {"benefit_check": False})
    trial = simulate(Task(scenario=HARD, groups=8, run=0, steps=200))
    told = trial.paths[OBSERVE.name].triggered.tolist()
    state, said = RunState(settings=unchecked), []
    for step, batch in enumerate(rewards(HARD, steps=200, groups=8, run=0), start=1):
        state, figures, _ = advance(state, Observation(step=step, rewards=batch), now_s=0.0)
        said.append(figures.triggered)
    assert said == told
    # 8 groups a step: 64 after step 8; then 50 active, 25 not, 50 active, 25 not, 42 active.
    assert told == [False] * 8 + ([True] * 50 + [False] * 25) * 2 + [True] * 42


def test_from_sixteen_groups_on_the_shipped_profile_is_the_papers_law():
    assert (SHIPPED.differs_at(15), SHIPPED.differs_at(16)) == (True, False)
    batches = rewards(FLAT_MID, steps=60, groups=16, run=0)
    said = {}
    for law in (PAPER, SHIPPED):
        state = RunState(settings=law.settings)
        for step, batch in enumerate(batches, start=1):
            state, _, _ = advance(state, Observation(step=step, rewards=batch), now_s=0.0)
        said[law.name] = state.settings.threshold
    assert said[PAPER.name] == said[SHIPPED.name] != 0.5


def path(told: str, *, is_locked: bool = False, injected: Injected | None = None) -> Path:
    """A path from one character for each step: # says to inject."""
    return Path(
        triggered=np.array([one == "#" for one in told]),
        threshold=np.full(len(told), 0.5),
        is_locked=is_locked,
        injected=injected,
    )


def trial_of(scenario: Scenario, told: str, **others: Path) -> Trial:
    """A trial in which every law did the same, except `others`."""
    steps = len(told)
    names = (PAPER.name, FIXED.name, OBSERVE.name, GUARDED.name)
    return Trial(
        task=Task(scenario=scenario, groups=32, run=0, steps=steps),
        acr=np.full(steps, 0.5),
        signs=np.array([0] + [1, -1] * steps, dtype=np.int8)[:steps],
        paths={name: others.get(name, path(told)) for name in names},
        alarms=(("saturation", 7), ("saturation", 50)),
    )


def test_activations_flaps_and_delays_are_counted_as_defined():
    #        0  2    5            16               29  (10 steps off, then 11)
    told = "..###..........####...........#..." + "." * 26
    figures = summarised([trial_of(HARD, told)])[0].laws[PAPER.name]
    assert figures.activations == 3
    assert figures.flaps == 1  # off for 10 steps: a flap; off for 11: none
    assert figures.duty == pytest.approx(8 / 60)  # 3 + 4 + 1
    assert figures.delay == (2, 2, 2)  # hard data is above the entry level from the first step on
    assert figures.missed == 0
    assert figures.false_activations == 0


def test_every_activation_is_false_where_the_truth_never_reaches_the_entry_level():
    (cell,) = summarised([trial_of(SATURATING, ".#..#"), trial_of(SATURATING, ".....")])
    figures = cell.laws[OBSERVE.name]
    assert (figures.false_activations, figures.activations, figures.never) == (2, 1, 0.5)
    assert (figures.delay, figures.missed) == (None, None)


def test_an_activation_before_the_truth_reaches_the_entry_level_is_false_and_no_detection():
    crossing = int(np.argmax(truth(REGRESSING, 100).wrong > ENTRY))
    early = "." * (crossing - 5) + "#"
    told = early + "." * (100 - len(early))
    figures = summarised([trial_of(REGRESSING, told)])[0].laws[OBSERVE.name]
    assert (figures.false_activations, figures.delay, figures.missed) == (1, None, 1)


def test_a_benefit_is_an_activation_that_lasted_to_its_limit_and_did_not_lock():
    full = "#" * GUARDED.settings.max_active_steps
    told = full + "." * 25 + full + "." * 25 + "###" + "." * 10
    (cell,) = summarised([trial_of(HARD, told, guarded=path(told, is_locked=True))])
    figures = cell.laws[GUARDED.name]
    assert (figures.checks, figures.benefits, figures.locked) == (2, 1, 1)
    # In shadow nothing is checked.
    assert cell.laws[OBSERVE.name].checks == 0


def test_published_rules_are_met_as_published():
    def met(acr: list[float]) -> tuple[float, float]:
        trial = replace(trial_of(HARD, "." * len(acr)), acr=np.array(acr))
        (cell,) = summarised([trial])
        return cell.raw_stall, cell.raw_volatility

    assert met([0.36] * 51 + [0.3] * 9) == (1, 0)
    assert met([0.36] * 50 + [0.35] + [0.36] * 9) == (0, 0)
    assert met([0.2, 0.6] * 30) == (0, 1)  # a standard deviation of .2
    assert met([0.2, 0.6] * 12) == (0, 0)  # 24 steps are no window of 25


@pytest.fixture(scope="module")
def small():
    """Two runs of 150 steps of each scenario at two sizes."""
    return summarised(trials(tasks(2, 150, groups=(1, 32)), workers=1))


@pytest.mark.parametrize("groups", [1, 8, 96])
def test_chance_enters_by_the_engines_own_rule(groups):
    counts = np.random.default_rng(groups).binomial(groups, 0.33, size=(300, 3))
    entered = enters(counts, groups)
    for run in range(3):
        state = RunState(settings=OBSERVE.settings)
        for step, wrong in enumerate(counts[:, run], start=1):
            rewards = np.zeros((groups, 8))
            rewards[: groups - wrong, :4] = 1.0
            state, _, _ = advance(state, Observation(step=step, rewards=rewards), now_s=0.0)
            is_active = state.settings.arming.stage == "active"
            assert is_active == entered[step - 1, run]
            # What follows an entry is another rule's.
            if is_active:
                break
    assert entered.any()


def test_chance_hardly_ever_activates_on_half_of_the_entry_level_and_always_on_hard_data():
    assert activating(FLAT_MID, groups=8, steps=100, runs=500) < 0.05
    assert activating(HARD, groups=8, steps=100, runs=500) == 1


def test_two_workers_find_what_one_finds():
    wanted = tasks(1, 30, groups=(8,))[:3]
    alone, together = (list(trials(wanted, workers)) for workers in (1, 2))
    assert [trial.task for trial in together] == wanted
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.acr, other.acr)
        assert one.alarms == other.alarms
        for law, found in one.paths.items():
            assert np.array_equal(found.threshold, other.paths[law].threshold)
            assert found.injected == other.paths[law].injected


def test_guarded_is_quiet_where_nothing_is_wrong_and_acts_where_it_is(small):
    for cell in small:
        activations = cell.laws[OBSERVE.name].activations
        if cell.scenario == HARD:
            assert activations >= 2
            assert cell.laws[GUARDED.name].activations <= activations
        elif cell.scenario != REGRESSING:
            assert activations == 0


def test_the_account_keeps_the_caps_of_guarded_and_the_paper_has_none(small):
    for cell in small:
        paper, guarded = cell.laws[PAPER.name], cell.laws[OBSERVE.name]
        assert guarded.most_groups <= 0.5 + 1e-9
        assert guarded.most_mass <= 0.3 + 1e-9
        if cell.scenario == HARD:
            assert guarded.mass_share < 0.3 < 0.6 < paper.mass_share


def test_one_group_a_step_makes_the_papers_law_inject_into_every_collapsed_group(small):
    for cell in small:
        if cell.groups == 1:
            paper = cell.laws[PAPER.name]
            assert paper.duty == pytest.approx(paper.group_share)
            assert paper.duty == cell.laws[FIXED.name].duty


def test_a_claim_that_does_not_hold_fails(small):
    assert all(verdict.holds for verdict in judged(small, {("improving", 1): 0.01})[:3])
    wrong = path("." * 100 + "#" * 50 + "." * 50)
    others = {OBSERVE.name: wrong}
    broken = [*small, *summarised([trial_of(SATURATING, "." * 200, **others)])]
    rarely, quiet, convergence, *_ = judged(broken, {("improving", 1): 0.011})
    assert (rarely.holds, quiet.holds, convergence.holds) == (False, True, False)
    assert (
        convergence.numbers == "1 activations in 10 runs"
    )  # 2 runs at 2 sizes and 1, each under 2 laws


def test_plots_exchange_every_colour_for_dark_pages(small, tmp_path):
    files = draw(small, tmp_path / "img")
    assert [file.name for file in files] == ["control-injecting.svg", "control-threshold.svg"]
    for file in files:
        text = file.read_text()
        drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text))
        assert drawn <= set(DARK)
        assert {GROUND, INK} <= drawn
        for label in ("step", "true ACR", "N = 32", "regressing"):
            assert f">{label}<" in text


def test_the_command_prints_tables_and_verdicts_and_its_status_is_the_worst(tmp_path, capsys):
    target = tmp_path / "figures.json"
    status = main(["--runs", "1", "--steps", "30", "--workers", "1", "--json", str(target)])
    found = json.loads(target.read_text())
    failed = [verdict for verdict in found["verdicts"] if not verdict["holds"]]
    # 30 groups are too few for a guarded controller to act on hard data with N = 1.
    assert "guarded acts on flat hard and regressing runs, at every N" in {
        verdict["claim"] for verdict in failed
    }
    assert status == 1
    out = capsys.readouterr().out
    assert out.count("FAILS") == len(failed)
    assert out.count("holds") == len(found["verdicts"]) - len(failed)
    assert len(found["cells"]) == 4 * len(SCENARIOS)
