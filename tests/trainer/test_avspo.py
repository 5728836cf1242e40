import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.plan import plan
from monitor_service.engine.settings import Settings
from trainer import avspo

ALWAYS = Settings(threshold=0.0, min_groups_per_unit=1)


def test_rewards_are_summed_in_float64_with_their_weights() -> None:
    rewards = torch.tensor([[1.0, 0.5], [0.0, torch.nan]])
    total = avspo.total_rewards(rewards, torch.tensor([1.0, 0.1]), num_generations=2)
    # 1*1 + 0.5*0.1; the function that did not score adds nothing.
    assert total == pytest.approx(np.array([[1.05, 0.0]]))
    assert total.dtype == np.float64


def test_a_completion_that_no_function_scored_stays_unscored() -> None:
    rewards = torch.tensor([[torch.nan, torch.nan], [1.0, torch.nan]])
    total = avspo.total_rewards(rewards, torch.ones(2), num_generations=2)
    assert np.isnan(total[0, 0])
    assert total[0, 1] == 1


def test_collapsed_groups_get_the_plan_and_unscored_completions_zero() -> None:
    rewards = np.array([[1, 1, 1, np.nan], [0, 1, 0, 1]], dtype=float)
    decided = plan(rewards, ALWAYS, step=1)
    before = torch.tensor([9.0, 9.0, 9.0, 9.0, -1.0, 1.0, -1.0, 1.0])
    after = avspo.apply(decided, rewards, before, 0)
    value = decided.advantages[0]
    assert value > 0
    assert after[:4].tolist() == pytest.approx([value, value, value, 0.0])
    assert torch.equal(after[4:], before[4:])


def test_an_infinite_reward_counts_as_unscored() -> None:
    rewards = np.array([[1, 1, 1, np.inf]], dtype=float)
    decided = plan(rewards, ALWAYS, step=1)
    after = avspo.apply(decided, rewards, torch.full((4,), 9.0), 0)
    assert after.tolist() == pytest.approx([decided.advantages[0]] * 3 + [0.0])


@given(
    groups=st.lists(st.sampled_from(["right", "wrong", "mixed"]), min_size=1, max_size=6),
    width=st.integers(2, 5),
    cut=st.integers(0, 30),
)
def test_rows_of_a_rank_are_the_same_wherever_the_batch_is_cut(
    groups: list[str], width: int, cut: int
) -> None:
    patterns = {"right": [1.0] * width, "wrong": [0.0] * width}
    rewards = np.array([patterns.get(kind, [0.0, *[1.0] * (width - 1)]) for kind in groups])
    decided = plan(rewards, ALWAYS, step=1)
    before = torch.randn(rewards.size)
    cut = min(cut, rewards.size)
    whole = avspo.apply(decided, rewards, before, 0)
    parts = [
        avspo.apply(decided, rewards, before[:cut], 0),
        avspo.apply(decided, rewards, before[cut:], cut),
    ]
    assert torch.equal(torch.cat(parts), whole)
    healthy = np.repeat([kind == "mixed" for kind in groups], width)
    assert torch.equal(whole[healthy], before[healthy])
