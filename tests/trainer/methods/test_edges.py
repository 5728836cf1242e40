"""Where a method meets what is missing: unscored completions, empty steps, the live switch."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from monitor_service.engine.plan import plan
from monitor_service.engine.settings import Settings
from tests.trainer.methods.sampled import Listening
from tests.trainer.methods.scenes import Scene, played, right, seen
from tests.trainer.toys import G, arguments, config
from trainer import GRPOTrainer, toy
from trainer.compat import UnsupportedTrainer
from trainer.methods import ngrpo
from trainer.methods.objectives import ByNgrpo


@pytest.mark.parametrize("method", ["agpo", "dapo"])
def test_methods_do_not_score_what_the_given_reward_left_unscored(
    method: str, tmp_path: Path
) -> None:
    scene = Scene(
        rewards=[[1.0, None, 0.0, 0.0], right(2, 4)],
        options={"method": method, "sampling_max_tries": 1, "mask_truncated_completions": False},
        advantages={},
    )
    trainer = played(scene, tmp_path)
    advantages = seen(trainer)["advantages"]
    assert advantages[1] == 0.0
    assert all(advantages[:1] + advantages[2:4])
    unscored = [list(column)[1] for column in trainer._logs["rewards"].values()]
    assert np.isnan(unscored).all()


def test_methods_with_an_objective_of_their_own_keep_it_under_the_live_switch(
    tmp_path: Path,
) -> None:
    args = config(tmp_path, method="ngrpo", max_steps=1, avspo_settings={"dynamic_sampling": True})
    link = Listening(args)
    trainer = GRPOTrainer(**arguments(args, ["wrong", "right"]), monitor=link)
    trainer.train()
    (report,) = link.reports
    assert report.applied is not None
    knob = report.applied.knobs["dynamic_sampling"]
    assert (knob.status, knob.value) == ("ignored", False)
    assert "ngrpo learns from" in str(knob.reason)
    assert sorted(set(trainer._logs["advantages"])) == pytest.approx(
        [-1 / np.sqrt(G + 1), 0.0], abs=1e-5
    )


def test_methods_count_no_signal_where_ngrpo_is_not_defined_and_grpo_has_none() -> None:
    rewards = np.array([[2.0] * 4, [2.0, 2.0, 0.0, 0.0], [0.0] * 4])
    correction = ByNgrpo(1.0)(plan(rewards, Settings(), step=1), rewards)
    assert correction.has_signal.tolist() == [False, True, True]
    assert correction.effective_acr == pytest.approx(1 / 3)


def test_methods_give_ngrpo_below_zero_too() -> None:
    found = ngrpo.advantages(np.array([[-3.0, -3.0, float("nan")]]), -1.0)
    assert found[0] == pytest.approx([-0.57735, -0.57735, 0.0], abs=1e-5)


def test_methods_leave_beta_alone_after_a_step_that_measured_no_kl(tmp_path: Path) -> None:
    args = config(
        tmp_path,
        beta=0.05,
        kl_target=1e-9,
        kl_horizon=100.0,
        loss_mask=True,
        max_steps=4,
        logging_steps=100,
        shuffle_dataset=False,
    )
    model = toy.make_model(seed=1)
    model.save_pretrained(tmp_path / "start")
    model.config._name_or_path = str(tmp_path / "start")
    outcomes = ["mixed", "mixed", "mixed", "mixed", "wrong", "wrong", "right", "right"]
    trainer = GRPOTrainer(**{**arguments(args, outcomes), "model": model})
    trainer.train()
    # A KL of 0, one above the target, and two steps that the mask left nothing of.
    assert trainer.beta == pytest.approx(0.05 * 0.984 * 1.016)


def test_methods_move_beta_by_the_micro_batches_of_the_step_alone(tmp_path: Path) -> None:
    args = config(
        tmp_path,
        beta=0.05,
        kl_target=1.0,
        kl_horizon=100.0,
        gradient_accumulation_steps=2,
        logging_steps=100,
    )
    model = toy.make_model(seed=1)
    model.save_pretrained(tmp_path / "start")
    model.config._name_or_path = str(tmp_path / "start")
    trainer = GRPOTrainer(**{**arguments(args, ["mixed"] * 4), "model": model})
    callback = next(
        one for one in trainer.callback_handler.callbacks if type(one).__name__ == "LoopCallback"
    )
    given = (args, trainer.state, trainer.control)
    trainer._metrics["train"]["kl"] += [9.0, 9.0]
    callback.on_step_begin(*given)
    trainer._metrics["train"]["kl"] += [0.5]  # The other one was masked.
    callback.on_step_end(*given)
    assert trainer.beta == pytest.approx(0.05 * (1 - 0.2 * 2 * G / 100))


def test_methods_do_not_take_an_empty_step_for_a_collapse_of_entropy(tmp_path: Path) -> None:
    args = config(
        tmp_path,
        loss_mask=True,
        use_adaptive_entropy=True,
        entropy_coef=0.5,
        entropy_coef_delta=0.1,
        entropy_target=1e-6,
        max_steps=2,
        shuffle_dataset=False,
    )
    trainer = GRPOTrainer(**arguments(args, ["mixed", "mixed", "wrong", "right"]))
    trainer.train()
    # The first step is above the target, the second has no entropy to speak of.
    assert trainer.entropy_coef == pytest.approx(0.4)
    assert trainer._last_world_entropy > 1e-6


def test_methods_refuse_to_sample_prompts_with_images_inside(tmp_path: Path) -> None:
    content = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "1+1="}]
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": content}]}])
    args = config(tmp_path, dynamic_sampling=True)
    given = {**arguments(args, ["mixed"]), "train_dataset": data}
    with pytest.raises(UnsupportedTrainer, match="dynamic_sampling: prompts with images"):
        GRPOTrainer(**given)
