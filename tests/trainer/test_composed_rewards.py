"""Shaping rewards, rewards of groups, and what a configuration makes of their names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor_service.errors import InvalidInput
from tests.trainer import toys
from trainer.rewards.format import box_format_reward, think_format_reward
from trainer.rewards.group import AgpoLength
from trainer.rewards.length import LengthPenalty
from trainer.rewards.overlong import soft_overlong
from trainer.rewards.registry import REWARDS, accuracy, check_names, composed

NAN = np.nan


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        (r"so \boxed{42}", 1.0),
        (r"\boxed{wrong}", 1.0),
        (r"\boxed{42} \boxed{", 0.0),
        (r"\boxed{ }", 0.0),
        ("42", 0.0),
        ("", 0.0),
    ],
)
def test_a_closed_box_with_something_in_it_has_the_form(completion: str, reward: float) -> None:
    assert box_format_reward([completion]) == [reward]
    assert box_format_reward([[{"role": "assistant", "content": completion}]]) == [reward]


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<think>a</think><answer>b</answer>", 1.0),
        ("\n<think>a\n\nb</think>\n<answer>\nb\n</answer>\n", 1.0),
        ("<think></think><answer>b</answer>", 1.0),
        ("<think>a</think><answer> </answer>", 0.0),
        ("<think>a</think>b", 0.0),
        ("a</think><answer>b</answer>", 0.0),
        ("x<think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer>x", 0.0),
        ("<think>a<think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>b</answer>", 0.0),
        ("<answer>b</answer><think>a</think>", 0.0),
        ("", 0.0),
    ],
)
def test_thinking_and_answer_stand_in_their_tags_once(completion: str, reward: float) -> None:
    assert think_format_reward([completion]) == [reward]


# 16384 = 20480 - 4096; one token more costs 1 / 4096 = 0.000244140625.
@pytest.mark.parametrize(
    ("limit", "cache", "length", "punishment"),
    [
        (20480, 4096, 16384, 0.0),
        (20480, 4096, 16385, -0.000244140625),
        (20480, 4096, 18432, -0.5),
        (20480, 4096, 20480, -1.0),
        (20480, 4096, 20481, -1.0),
        (100, 20, 90, -0.5),
        (100, 0, 100, 0.0),
        (100, 0, 101, -1.0),
        (100, 100, 0, 0.0),
    ],
)
def test_the_overlong_punishment_is_that_of_dapo(
    limit: int, cache: int, length: int, punishment: float
) -> None:
    assert soft_overlong(limit, cache)(completion_ids=[[0] * length]) == [punishment]


@pytest.mark.parametrize(("limit", "cache"), [(0, 0), (100, 101), (100, -1)])
def test_an_overlong_punishment_out_of_range_is_refused(limit: int, cache: int) -> None:
    with pytest.raises(InvalidInput, match="must be"):
        soft_overlong(limit, cache)


def test_the_length_penalty_grows_with_every_token_up_to_the_limit() -> None:
    assert LengthPenalty(8)(completion_ids=[[], [1], [1] * 8, [1] * 9]) == [0.0, -0.125, -1.0, -1.0]


def scores(primary: list[float], lengths: list[int]) -> list[float]:
    (row,) = AgpoLength().score(np.array([primary]), np.array([lengths])).tolist()
    return [float(score) for score in row]


def test_the_shorter_of_the_right_answers_get_more() -> None:
    # 0.1 (1 - (200 - 100) / (300 - 100)) = 0.05; the wrong answer's length counts for nothing.
    assert scores([1, 1, 1, 0], [100, 200, 300, 400]) == pytest.approx([0.1, 0.05, 0, 0], abs=1e-8)
    assert scores([1, 1, 1, 0], [100, 200, 300, 1]) == pytest.approx([0.1, 0.05, 0, 0], abs=1e-8)


def test_a_lone_right_answer_gets_the_whole_bonus() -> None:
    assert scores([0, 1, 0], [5, 900, 7]) == [0, 0.1, 0]


@pytest.mark.parametrize("primary", [[1, 1, 1], [0, 0, 0], [NAN, NAN, NAN], [1, NAN, 1]])
def test_a_group_without_a_difference_gets_no_bonus(primary: list[float]) -> None:
    assert scores(primary, [1, 2, 3]) == [0, 0, 0]


def test_an_unscored_completion_neither_gets_nor_sets_the_bonus() -> None:
    assert scores([1, NAN, 0, 1], [200, 1, 5, 300]) == pytest.approx([0.1, 0, 0, 0], abs=1e-8)


def test_right_is_judged_by_the_reward_range() -> None:
    reward = AgpoLength(reward_low=-1.0, reward_high=1.0)
    bonus = reward.score(np.array([[1.0, 0.97, -1.0]]), np.array([[3, 1, 2]]))
    assert bonus.tolist() == [[0.1, 0.0, 0.0]]  # (0.97 + 1) / 2 = 0.985 is below 0.99.
    with pytest.raises(InvalidInput, match="reward_low < reward_high"):
        AgpoLength(reward_low=1.0, reward_high=1.0)


def test_a_group_reward_scores_nothing_when_trl_calls_it() -> None:
    assert AgpoLength()(completions=["a", "b"], completion_ids=[[1], [2]]) == [None, None]


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([], "rewards: must be a list"),
        ({}, "rewards: must be a list"),
        ("box_accuracy", "rewards: must be a list"),
        (["accuracy"], "box_accuracy, exact_match, box_format, think_format, length, overlong"),
        (["length", "length"], "once"),
        ({"length": "1"}, r"rewards\.length: the weight must be a finite number"),
        ({"length": True}, r"rewards\.length"),
        ({"length": float("nan")}, r"rewards\.length"),
    ],
)
def test_names_and_weights_that_mean_nothing_are_refused(rewards: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_names(rewards)


def test_every_name_makes_a_function_of_its_own(tmp_path: Path) -> None:
    functions = composed(list(REWARDS), toys.config(tmp_path))
    assert len({function.__name__ for function in functions}) == len(REWARDS)


def test_a_mapping_gives_the_weights(tmp_path: Path) -> None:
    args = toys.config(tmp_path)
    functions = composed({"box_format": 0.1, "box_accuracy": 1}, args)
    assert [function.__name__ for function in functions] == [
        "box_format_reward",
        "box_accuracy_reward",
    ]
    assert args.reward_weights == [0.1, 1.0]
    with pytest.raises(InvalidInput, match="reward_weights: must be left out"):
        composed({"box_accuracy": 1}, args)


@pytest.mark.parametrize(
    ("rewards", "named", "primary"),
    [
        (["box_format", "box_accuracy"], None, "box_accuracy_reward"),
        (["exact_match", "box_accuracy"], None, "exact_match_reward"),
        (["exact_match", "box_accuracy"], "box_accuracy", "box_accuracy_reward"),
        (["exact_match", "box_format"], "box_format_reward", "box_format_reward"),
        (["box_accuracy"], None, None),
        (["box_format", "length"], None, None),
    ],
)
def test_of_several_rewards_the_accuracy_is_primary_unless_one_is_named(
    tmp_path: Path, rewards: list[str], named: str | None, primary: str | None
) -> None:
    args = toys.config(tmp_path, primary_reward=named)
    composed(rewards, args)
    assert args.primary_reward == primary


def test_a_shaping_reward_that_is_named_is_not_added_once_more(tmp_path: Path) -> None:
    args = toys.config(
        tmp_path, max_completion_length=100, overlong_fraction=0.5, agpo_length_reward=True
    )
    _, overlong, _ = composed(["exact_match", "overlong", "agpo_length"], args)
    assert overlong(completion_ids=[[0] * 75]) == [-0.5]  # (50 - 75) / 50
    assert (args.overlong_fraction, args.agpo_length_reward) == (0.0, False)


def test_the_accuracy_of_a_configuration_is_found(tmp_path: Path) -> None:
    args = toys.config(tmp_path)
    assert accuracy(["box_format", "box_accuracy"], args)[0] == "box_accuracy"
    with pytest.raises(InvalidInput, match="must have one of: box_accuracy, exact_match"):
        accuracy(["length"], args)


def test_rewards_by_groups_need_a_range(tmp_path: Path) -> None:
    args = toys.config(tmp_path, reward_low=None, reward_high=None)
    with pytest.raises(InvalidInput, match="agpo_length"):
        composed(["agpo_length"], args)
