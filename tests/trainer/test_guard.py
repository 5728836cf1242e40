"""What a guarded reward function lets through, and how it fails."""

import functools
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.utils import get_callable_name, is_async_callable

from tests.trainer import toys
from trainer.grpo import GRPOTrainer
from trainer.rewards.group import AgpoLength
from trainer.rewards.guard import RewardError, guarded

ROWS = ["a", "b"]


def returning(value: Any) -> Any:
    def reward(completions: list[str], **_: Any) -> Any:
        return value

    return reward


def returned(value: Any) -> list[float | None]:
    rewards: list[float | None] = guarded(returning(value))(completions=ROWS)
    return rewards


@pytest.mark.parametrize(
    "value",
    [
        [1, 0.5],
        (1, 0.5),
        [True, 0.5],
        [np.float64(1), np.float32(0.5)],
        [np.int64(1), np.bool_(True) * 0.5],
        [torch.tensor(1), torch.tensor(0.5, dtype=torch.bfloat16)],
        np.array([1, 0.5]),
        torch.tensor([1, 0.5]),
        [Fraction(1), Fraction(1, 2)],
    ],
)
def test_every_real_number_passes_as_a_float(value: Any) -> None:
    rewards = returned(value)
    assert rewards == [1.0, 0.5]
    assert [type(reward) for reward in rewards] == [float, float]


def test_none_and_nan_mean_not_scored_and_infinities_are_passed_on() -> None:
    assert returned([None, math.inf]) == [None, math.inf]
    first, second = returned([float("nan"), -math.inf])
    assert math.isnan(first or 0.0)
    assert second == -math.inf


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["1", 0], r"'reward', row 0: returned '1' \(str\)"),
        ([1, 2j], r"'reward', row 1: returned 2j \(complex\)"),
        ([1, [1]], r"'reward', row 1: returned \[1\] \(list\)"),
        ([1, Decimal(1)], r"row 1: returned Decimal\('1'\) \(Decimal\)"),
        ([1, np.array([1.0])], r"row 1: returned array\(\[1.\]\) \(ndarray\)"),
        ([1, 10**400], r"row 1: returned 1000.*000 \(int\)"),
        ([1], r"'reward' returned 1 rewards for 2 completions"),
        ([1, 2, 3], r"'reward' returned 3 rewards for 2 completions"),
        (None, r"'reward' returned None \(NoneType\); allowed is a list"),
        (1.0, r"'reward' returned 1.0 \(float\); allowed is a list"),
        ("10", r"'reward' returned '10' \(str\); allowed is a list"),
        ({"a": 1, "b": 2}, r"'reward' returned \{.*\} \(dict\); allowed is a list"),
        (np.ones((2, 1)), r"\(ndarray\); allowed is a list"),
    ],
)
def test_anything_else_is_refused_with_the_function_the_row_and_the_value(
    value: Any, words: str
) -> None:
    with pytest.raises(RewardError, match=words):
        returned(value)


def test_a_long_value_is_shown_in_short() -> None:
    with pytest.raises(RewardError) as caught:
        returned(["x" * 10_000, 0])
    assert len(str(caught.value)) < 200


def test_what_the_function_raised_is_named_and_chained() -> None:
    def broken(completions: list[str], **_: Any) -> list[float]:
        return [1 / len(completion) for completion in completions]

    with pytest.raises(RewardError, match="'broken' raised ZeroDivisionError: div") as caught:
        guarded(broken)(completions=["a", ""])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_an_async_function_stays_async_and_is_guarded_the_same() -> None:
    async def slow(completions: list[str], **_: Any) -> list[Any]:
        return [1.0 if completion else "?" for completion in completions]

    reward = guarded(slow)
    assert is_async_callable(reward)
    assert await reward(completions=["a"]) == [1.0]
    with pytest.raises(RewardError, match="'slow', row 0: returned '\\?'"):
        await reward(completions=[""])


def test_the_name_that_trl_logs_is_kept() -> None:
    class Scorer:
        def __call__(self, completions: list[str], **_: Any) -> list[float]:
            return [0.0] * len(completions)

    def scale(completions: list[str], factor: float, **_: Any) -> list[float]:
        return [factor] * len(completions)

    for func in (returning(None), Scorer(), functools.partial(scale, factor=2.0)):
        reward = guarded(func)
        assert reward.__name__ == get_callable_name(func)
        assert get_callable_name(guarded(reward)) == reward.__name__


def test_guarded_twice_names_the_function_once() -> None:
    with pytest.raises(RewardError) as caught:
        guarded(guarded(returning("no")))(completions=ROWS)
    assert str(caught.value).count("reward function") == 1


def test_models_their_ids_and_group_rewards_are_left_alone() -> None:
    for one in ("org/model", torch.nn.Linear(1, 1), AgpoLength()):
        assert guarded(one) is one


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(RewardError, match="must be callable; got 5"):
        guarded(5)


@pytest.mark.parametrize("value", ["1.0", ["1.0"] * 8, [1.0] * 7])
def test_a_bad_reward_ends_real_training_with_its_name(tmp_path: Path, value: Any) -> None:
    args = toys.config(tmp_path)
    trainer = GRPOTrainer(**toys.arguments(args, ["mixed", "mixed"], returning(value)))
    with pytest.raises(RewardError, match="reward function 'reward'"):
        trainer.train()
