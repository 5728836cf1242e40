"""Which options a method sets, what goes together, and which rewards it adds."""

import logging
from pathlib import Path
from typing import Any

import pytest

from monitor_service.errors import InvalidInput
from tests.trainer.methods.scenes import Scene, played, right, seen
from tests.trainer.toys import arguments, by_outcome, config
from trainer import GRPOTrainer
from trainer.compat import UnsupportedTrainer
from trainer.methods.registry import METHODS
from trainer.rewards.assemble import assembled
from trainer.rewards.group import AgpoLength
from trainer.rewards.overlong import soft_overlong


@pytest.mark.parametrize("name", METHODS)
def test_methods_set_their_options(name: str, tmp_path: Path) -> None:
    args = config(tmp_path, method=name)
    for option, value in METHODS[name].options.items():
        assert getattr(args, option) == value
    assert args.initial_settings().mode == ("active" if args.use_avspo else "off")


def test_methods_leave_a_value_of_ones_own(tmp_path: Path) -> None:
    args = config(tmp_path, method="dapo", epsilon_high=0.5, overlong_fraction=0.1)
    assert (args.epsilon_high, args.overlong_fraction, args.dynamic_sampling) == (0.5, 0.1, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "dapp"}, "method: one of grpo, avspo.*did you mean dapo"),
        ({"method": "dapo", "use_avspo": True}, "dynamic_sampling: false with use_avspo"),
        ({"method": "avspo", "dynamic_sampling": True}, "dynamic_sampling: false with use_avspo"),
        ({"method": "ngrpo", "use_avspo": True}, "use_avspo: false with method=ngrpo"),
        ({"method": "rl_zvp", "dynamic_sampling": True}, "dynamic_sampling: false with method=rl"),
        ({"method": "ngrpo", "scale_rewards": "batch"}, "scale_rewards: group with method=ngrpo"),
        (
            {"method": "ngrpo", "reward_low": None, "reward_high": None},
            "reward_high: a number with method=ngrpo",
        ),
        (
            {"method": "rl_zvp", "multi_objective_aggregation": "normalize_then_sum"},
            "multi_objective_aggregation: sum_then_normalize with method=rl_zvp",
        ),
        ({"method": "rl_zvp", "loss_type": "vespo"}, "loss_type: any other with method=rl_zvp"),
        (
            {"method": "rl_zvp", "off_policy_mask_threshold": 0.5},
            "off_policy_mask_threshold: none with method=rl_zvp",
        ),
        ({"zvp_alpha": 0.0}, "zvp_alpha: a finite number above 0; got 0.0"),
        ({"overlong_fraction": 1.5}, r"overlong_fraction: in \[0, 1\]; got 1.5"),
        ({"sampling_max_tries": 0}, "sampling_max_tries: 1 to 1000; got 0"),
        ({"sampling_max_tokens": 0}, "sampling_max_tokens: 1 or more"),
        ({"kl_target": 0.1}, r"beta: in \[beta_min, beta_max\]"),
        ({"avspo_settings": {"targett": "wrong"}}, "targett: no setting; did you mean target"),
        ({"avspo_settings": {"target": "wrongs"}}, "target: one of both, wrong, correct"),
        ({"avspo_settings": "wrong"}, "avspo_settings: a mapping; got 'wrong'"),
    ],
)
def test_methods_refuse_what_does_not_go_together(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=words):
        config(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss_mask": True, "loss_type": "grpo"}, "loss_mask: loss_type='grpo' averages"),
        ({"method": "ngrpo", "loss_type": "dr_grpo"}, "loss_mask: loss_type='dr_grpo' divides"),
        ({"method": "avspo", "scale_rewards": "none"}, "use_avspo: scale_rewards='none'"),
    ],
)
def test_methods_are_refused_where_the_trainer_cannot_carry_them_out(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    args = config(tmp_path, **options)
    with pytest.raises(UnsupportedTrainer, match=words):
        GRPOTrainer(**arguments(args, ["mixed"]))


def shaped(**_: Any) -> list[float]:
    return []


def test_methods_add_their_rewards_and_the_given_one_stays_primary(tmp_path: Path) -> None:
    args = config(
        tmp_path, method="agpo", overlong_fraction=0.5, reward_weights=[2.0], reward_high=3.0
    )
    rewards = assembled(by_outcome, args)
    names = [function.__name__ for function in rewards.functions]
    assert names == ["by_outcome", "agpo_length_reward", "soft_overlong_punishment_reward"]
    assert rewards.primary == 0
    assert rewards.args.reward_weights == [2.0, 1.0, 1.0]
    assert args.reward_weights == [2.0]
    assert rewards.functions[1].reward_range.high == 3.0
    # The last half of the four tokens: a completion of three has half of the punishment.
    assert rewards.functions[2](completion_ids=[[1], [1] * 3, [1] * 4]) == [0.0, -0.5, -1.0]


def test_methods_do_not_add_a_reward_twice(tmp_path: Path) -> None:
    args = config(
        tmp_path, method="agpo", overlong_fraction=0.5, primary_reward="agpo_length_reward"
    )
    given = [AgpoLength(), soft_overlong(4, 2)]
    assert assembled(given, args).functions[0] is given[0]
    assert len(assembled(given, args).functions) == 2


def test_methods_that_add_a_reward_ask_which_of_several_is_primary(tmp_path: Path) -> None:
    args = config(tmp_path, method="agpo")
    with pytest.raises(InvalidInput, match="primary_reward: the name of one of the 2"):
        assembled([by_outcome, shaped], args)
    named = config(tmp_path, method="agpo", primary_reward="by_outcome")
    assert assembled([by_outcome, shaped], named).primary is None
    unbounded = config(tmp_path, method="agpo", reward_low=None, reward_high=None)
    with pytest.raises(InvalidInput, match="reward_low, reward_high: numbers with agpo_length"):
        assembled([by_outcome], unbounded)


def test_methods_leave_a_group_to_grpo_where_they_are_not_defined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(
        rewards=[[2.0, 2.0, 0.0, 0.0], right(0, 4)],
        options={"method": "ngrpo"},
        advantages={},
    )
    with caplog.at_level(logging.WARNING, "trainer.methods.objectives"):
        advantages = seen(played(scene, tmp_path))["advantages"]
    assert "a reward of 2 is above reward_high=1" in caplog.text
    # Sample std of (2, 2, 0, 0) is 1.1547; the other group has -1/sqrt(5).
    assert advantages[:4] == pytest.approx([0.86594, 0.86594, -0.86594, -0.86594], abs=1e-4)
    assert advantages[4:] == pytest.approx([-0.447213] * 4, abs=1e-5)
