import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl

from monitor_service.engine.plan import Decision, plan
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.wire import StepReport, check_run_id, observation
from tests.trainer.toys import G, arguments, by_outcome, config
from trainer import GRPOTrainer
from trainer.compat import UnsupportedTrainer
from trainer.connect import made_up_run_id
from trainer.link import Held, InProcessMonitor


class Recording(InProcessMonitor):
    """The in-process monitor, remembering what it was told."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.reports: list[StepReport] = []

    def submit(self, report: StepReport) -> bool:
        self.reports.append(report)
        return super().submit(report)


class Watching(GRPOTrainer):
    """Keeps what TRL computed and what the hook made of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _close_the_loop(self, output: dict[str, Any], knobs: Any) -> None:
        before = output["advantages"].clone()
        super()._close_the_loop(output, knobs)
        self.seen.append((before, output["advantages"]))


def trained(folder: Path, outcomes: list[str], **changes: Any) -> tuple[Watching, Recording]:
    args = config(folder, **changes)
    link = Recording(args.initial_settings())
    trainer = Watching(**arguments(args, outcomes), monitor=link)
    trainer.train()
    return trainer, link


ACTIVE = {"use_avspo": True, "acr_threshold_init": 0.0}


def test_without_avspo_training_is_trls_own_bit_for_bit(tmp_path: Path) -> None:
    outcomes = ["right", "mixed", "wrong", "mixed"]
    args = config(tmp_path)
    ours = GRPOTrainer(**arguments(args, outcomes))
    ours.train()
    theirs = trl.GRPOTrainer(**arguments(args, outcomes))
    theirs.train()
    for (name, mine), (_, other) in zip(
        ours.model.named_parameters(), theirs.model.named_parameters(), strict=True
    ):
        assert torch.equal(mine, other), name


def test_collapsed_groups_are_rewritten_and_healthy_rows_keep_their_bits(tmp_path: Path) -> None:
    # min_groups_per_unit is 16, so two groups a step decide by EWMA, which needs 64 groups: lower
    # it as a person would, to decide by the batch from the first step on.
    args = config(tmp_path, **ACTIVE)
    link = Recording(Settings(threshold=0.0, min_groups_per_unit=1, seed=args.seed))
    trainer = Watching(**arguments(args, ["right", "mixed", "wrong", "mixed"]), monitor=link)
    trainer.train()
    assert len(trainer.seen) == 3
    for (before, after), report in zip(trainer.seen, link.reports, strict=True):
        seen = observation(report)
        expected = plan(
            seen.rewards, Settings(threshold=0.0, min_groups_per_unit=1), step=report.step
        )
        for group, decision in enumerate(expected.decisions):
            rows = slice(group * G, (group + 1) * G)
            if decision == Decision.INJECTED:
                want = torch.full((G,), expected.advantages[group], dtype=torch.float32)
                assert torch.equal(after[rows], want)
            else:
                assert torch.equal(after[rows], before[rows])


def test_trls_completion_log_shows_the_corrected_advantages(tmp_path: Path) -> None:
    args = config(tmp_path, **ACTIVE)
    link = Recording(Settings(threshold=0.0, min_groups_per_unit=1))
    trainer = Watching(**arguments(args, ["right", "wrong"]), monitor=link)
    trainer.train()
    logged = list(trainer._logs["advantages"])
    assert logged == pytest.approx(trainer.seen[-1][1].tolist())
    assert set(np.sign(logged)) == {-1.0, 1.0}


def test_every_batch_is_reported_once_with_what_was_applied(tmp_path: Path) -> None:
    trainer, link = trained(tmp_path, ["right", "mixed", "wrong", "half"], max_steps=4)
    assert [report.step for report in link.reports] == [1, 2, 3, 4]
    assert [report.optimizer_step for report in link.reports] == [0, 1, 2, 3]
    applied = [report.applied for report in link.reports]
    assert [one.settings_version for one in applied if one] == [1, 2, 3, 4]
    assert all(one and one.mode == "off" and not one.triggered for one in applied)
    assert link.reports[-1].scalars.entropy == pytest.approx(
        [log["entropy"] for log in trainer.state.log_history if "entropy" in log][2]
    )
    assert link.reports[0].components["by_outcome"].mean == pytest.approx(
        np.nanmean(observation(link.reports[0]).rewards)
    )


def test_rates_are_logged_under_names_that_become_train_acr(tmp_path: Path) -> None:
    trainer, _ = trained(tmp_path, ["right", "wrong"], **ACTIVE)
    for log in trainer.state.log_history[:3]:
        # Both groups collapse, and which two of the two problems come is all there is to draw.
        assert log["acr"] == 1
        assert log["acr_wrong"] + log["acr_correct"] == 1
        assert log["acr_threshold"] == 0
        assert log["acr_effective"] == 1  # 2 groups a step: EWMA decides, not before 64 groups.


def test_a_batch_in_which_nothing_was_scored_logs_no_rate(tmp_path: Path) -> None:
    trainer, link = trained(tmp_path, ["unscored", "unscored"], max_steps=1)
    assert "acr" not in trainer.state.log_history[0]
    assert link._state.settings.memory.num_groups == 0
    assert link._state.counters.unscored == 2


def test_evaluation_is_neither_touched_nor_reported(tmp_path: Path) -> None:
    args = config(tmp_path, **ACTIVE, per_device_eval_batch_size=2 * G)
    link = Recording(args.initial_settings())
    given = arguments(args, ["right", "wrong"])
    trainer = Watching(**given, eval_dataset=given["train_dataset"], monitor=link)
    metrics = trainer.evaluate()
    assert "eval_reward" in metrics
    assert not link.reports
    assert not trainer.seen


def test_with_gradient_accumulation_a_step_is_a_generation_batch(tmp_path: Path) -> None:
    _, link = trained(
        tmp_path,
        ["right", "mixed", "wrong", "mixed"],
        per_device_train_batch_size=G,
        gradient_accumulation_steps=2,
        num_iterations=2,
        max_steps=4,
    )
    # 4 optimizer steps of 2 micro-batches, each batch of 2 micro-batches used twice: 2 batches.
    assert [report.step for report in link.reports] == [1, 2]
    assert [observation(report).rewards.shape for report in link.reports] == [(2, G)] * 2


def test_batch_scaling_divides_by_the_std_of_the_batch(tmp_path: Path) -> None:
    args = config(tmp_path, **ACTIVE, scale_rewards="batch")
    link = Recording(Settings(threshold=0.0, min_groups_per_unit=1))
    trainer = Watching(**arguments(args, ["right", "wrong"]), monitor=link)
    trainer.train()
    for (_, after), report in zip(trainer.seen, link.reports, strict=True):
        rewards = observation(report).rewards
        std = rewards.std(ddof=1)
        if std == 0:
            continue
        # ACR is 1, so K = G = 4. All correct: V = .8 .6 .4 .2, mean of the union (4 + 2)/8 = .75.
        # All wrong: V = .1 .075 .05 .025, mean .25/8 = .03125.
        want = [0.25 / (std + 1e-4) if group[0] else -0.03125 / (std + 1e-4) for group in rewards]
        assert after.tolist() == pytest.approx(np.repeat(want, G))
        break
    else:
        pytest.fail("no batch held both groups")


def test_the_primary_reward_tells_right_from_wrong(tmp_path: Path) -> None:
    def formatted(completions: list[str], **_: Any) -> list[float]:
        return [0.3] * len(completions)

    args = config(tmp_path, primary_reward="by_outcome")
    link = Recording(args.initial_settings())
    given = arguments(args, ["right", "wrong"])
    given["reward_funcs"] = [formatted, by_outcome]
    Watching(**given, monitor=link).train()
    counters = link._state.counters
    # The sums 1.3 and 0.3 are outside and inside of [0, 1]; the accuracy alone decides.
    assert counters.all_correct > 0
    assert counters.all_wrong > 0
    assert counters.uniform_other == 0
    assert link.reports[0].primary is not None


def test_an_intervention_switched_on_live_is_refused_where_it_cannot_be_served(
    tmp_path: Path,
) -> None:
    args = config(tmp_path, multi_objective_aggregation="normalize_then_sum")
    link = Recording(Settings(threshold=0.0, min_groups_per_unit=1, mode="active"))
    trainer = Watching(**arguments(args, ["right", "wrong"]), monitor=link)
    trainer.train()
    for before, after in trainer.seen:
        assert torch.equal(before, after)
    applied = link.reports[0].applied
    assert applied is not None
    assert applied.mode == "off"
    assert applied.note is not None
    assert "normalize_then_sum" in applied.note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multi_objective_aggregation": "normalize_then_sum"}, "no total std"),
        ({"scale_rewards": "none"}, "choose r_anchor"),
        ({"primary_reward": "accuracy"}, "must be one of by_outcome; got 'accuracy'"),
    ],
)
def test_what_the_hook_cannot_serve_is_refused_at_construction(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    args = config(tmp_path, use_avspo=True, **changes)
    with pytest.raises(UnsupportedTrainer, match=words):
        GRPOTrainer(**arguments(args, ["right"]))


def test_an_unscaled_trainer_is_served_once_the_anchor_is_chosen(tmp_path: Path) -> None:
    args = config(tmp_path, use_avspo=True, scale_rewards="none", r_anchor=1.0)
    assert GRPOTrainer(**arguments(args, ["right"])).args.r_anchor == 1.0


def test_a_trl_whose_private_methods_look_different_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _calculate_rewards(self: Any, samples: Any) -> None: ...

    monkeypatch.setattr(trl.GRPOTrainer, "_calculate_rewards", _calculate_rewards)
    with pytest.raises(UnsupportedTrainer, match=r"_calculate_rewards takes .*samples"):
        GRPOTrainer(**arguments(config(tmp_path), ["right"]))


def test_trls_own_config_is_refused_by_name(tmp_path: Path) -> None:
    args = trl.GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    with pytest.raises(UnsupportedTrainer, match=r"must be a trainer\.GRPOConfig"):
        GRPOTrainer(**arguments(args, ["right"]))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"acr_threshold_init": 7}, "acr_threshold_init: must be a number in [0, 1]; got 7"),
        ({"virtual_sample_alpha": 0}, "virtual_sample_alpha: "),
        (
            {"avspo_profile": "papper"},
            "avspo_profile: one of paper, guarded, observe, constant, grpo; got 'papper'",
        ),
        ({"use_avspo": True, "avspo_profile": "grpo"}, "avspo_profile: one that intervenes"),
        ({"monitor_unreachable": "fial"}, "monitor_unreachable: one of grpo, hold, fail"),
        ({"run_id": "a/b"}, "id"),
        ({"settings_wait_s": -1}, "settings_wait_s"),
        ({"reward_low": 2.0}, "reward_low"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises((InvalidInput, ValueError), match="^" + re.escape(field)):
        config(tmp_path, **changes)


def test_the_link_is_told_where_training_continues(tmp_path: Path) -> None:
    class Listening(Recording):
        started: int | None = None

        def start(self, after_step: int) -> None:
            self.started = after_step
            super().start(after_step)

        def settings_for(self, step: int, wait_s: float) -> Held:
            assert self.started is not None
            return super().settings_for(step, wait_s)

    outcomes = ["right", "mixed", "wrong", "mixed"]
    args = config(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    GRPOTrainer(**arguments(args, outcomes)).train()
    link = Listening(args.initial_settings())
    again = config(tmp_path, max_steps=4)
    trainer = GRPOTrainer(**arguments(again, outcomes), monitor=link)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert link.started == 2
    assert [report.step for report in link.reports] == [3, 4]
    assert link._state.counters.missing_steps == 0


def test_a_resume_that_restores_callbacks_keeps_the_one_of_the_trainer(tmp_path: Path) -> None:
    assert reported(tmp_path, max_steps=2) == [1, 2]
    changes: dict[str, Any] = {"restore_callback_states_from_checkpoint": True}
    assert reported(tmp_path, "checkpoint-2", max_steps=3, **changes) == [3]


def reported(folder: Path, resume: str | None = None, **changes: Any) -> list[int]:
    args = config(folder, save_strategy="steps", save_steps=1, **changes)
    link = Recording(args.initial_settings())
    outcomes = ["right", "mixed", "wrong", "mixed"] * 2
    GRPOTrainer(**arguments(args, outcomes), monitor=link).train(
        resume_from_checkpoint=resume and str(folder / resume)
    )
    return [report.step for report in link.reports]


def test_a_resume_counts_on_where_epochs_do_not_divide(tmp_path: Path) -> None:
    # 8 prompts of G are 4 micro-batches of 2G an epoch; by 3 that is optimizer steps of 3 and 1.
    changes: dict[str, Any] = {"gradient_accumulation_steps": 3, "steps_per_generation": 1}
    before = reported(tmp_path, max_steps=3, **changes)
    assert before == list(range(1, len(before) + 1))
    after = reported(tmp_path, "checkpoint-3", max_steps=4, **changes)
    assert after[0] == len(before) + 1


def test_resuming_twice_in_the_middle_of_a_generation_batch_reuses_no_number(
    tmp_path: Path,
) -> None:
    # A batch lasts 2 optimizer steps, and a resume always generates a new one.
    changes: dict[str, Any] = {"per_device_train_batch_size": G, "steps_per_generation": 2}
    assert reported(tmp_path, max_steps=1, **changes) == [1]
    assert reported(tmp_path, "checkpoint-1", max_steps=2, **changes)[0] == 2
    second = reported(tmp_path, "checkpoint-2", max_steps=3, **changes)
    assert second[0] == 3


def test_a_log_interval_does_not_blur_the_figures_of_a_step(tmp_path: Path) -> None:
    outcomes = ["right", "mixed", "wrong", "mixed"]
    _, every = trained(tmp_path, outcomes, max_steps=5, logging_steps=1)
    _, third = trained(tmp_path, outcomes, max_steps=5, logging_steps=3)
    entropies = [[one.scalars.entropy for one in link.reports] for link in (every, third)]
    assert entropies[0] == entropies[1]
    assert len(set(entropies[0][1:])) == 4
    # The gradient norm exists in log lines only: the newest line's, none before the first.
    assert [one.scalars.grad_norm is None for one in third.reports] == [True] * 3 + [False] * 2


def test_a_made_up_run_id_is_valid_and_never_shared() -> None:
    names = [made_up_run_id(name) for name in ("out", "out", "my run", "_x", "a" * 200, "/", "é")]
    assert len(set(names)) == len(names)
    assert [check_run_id(name) for name in names] == names
    assert names[2].startswith("my-run-")


def test_infinite_rewards_end_nothing_and_count_as_unscored(tmp_path: Path) -> None:
    def broken(completions: list[str], **_: Any) -> list[float]:
        return [float("inf") if i % 2 else float("-inf") for i in range(len(completions))]

    args = config(tmp_path, max_steps=1)
    link = Recording(args.initial_settings())
    given = arguments(args, ["right", "wrong"])
    given["reward_funcs"] = [broken, by_outcome]
    GRPOTrainer(**given, monitor=link).train()
    assert link._state.counters.invalid_rewards == 2 * G
