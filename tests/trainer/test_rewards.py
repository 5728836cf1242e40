"""The rewards on the answers that models really give."""

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.rewards import math as boxed
from trainer.rewards.exact import exact_match_reward
from trainer.rewards.math import MAX_CHARS, box_accuracy_reward, last_box

# The first parse of a process builds the grammar, far beyond hypothesis's 200 ms deadline.
no_deadline = settings(deadline=None, max_examples=60)


def score(completion, gold):
    (reward,) = box_accuracy_reward([completion], [gold])
    return reward


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{\dfrac{2}{4}}", r"\frac{1}{2}"),
        (r"\boxed{3\frac12}", "7/2"),
        (r"\boxed{5 \text{ cm}}", "5"),
        (r"\boxed{\$1,234}", "1234"),
        (r"\boxed{1{,}234}", "1,234"),
        (r"\boxed{50\%}", "0.5"),
        (r"\boxed{x=5}", "5"),
        (r"\boxed{2,1}", "1,2"),
        (r"\boxed{\{1, 2\}}", r"\{2, 1\}"),
        (r"\boxed{0,5}", "0,5"),
        (r"\boxed {18}", "18"),
        ("\\boxed{\n18\n}", "$18$"),
        (r"\boxed{\boxed{18}}", "18"),
        (r"\boxed{18}", r"Add them up: $9 + 9 = \boxed{18}$"),
    ],
)
def test_the_right_value_counts_however_it_is_written(completion, gold):
    assert score(completion, gold) == 1.0


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("", "42"),
        ("42", "42"),
        (r"\boxed{}", "42"),
        (r"\boxed{43}", "42"),
        (r"\boxed{42", "42"),
        (r"\boxed{\frac{4}{2}", "2"),
        (r"\boxed 42", "42"),
        (r"\boxed{42} \boxed{4", "42"),
        # A comma separates the members of a list unless three digits follow.
        (r"\boxed{0,5}", "0.5"),
        (r"\boxed{41, 42}", "42"),
        (r"\boxed{9^{9^9}}", "42"),
        (r"\boxed{\frac}", "42"),
        (r"\boxed{1/0}", "42"),
    ],
)
def test_anything_else_does_not_count(completion, gold):
    assert score(completion, gold) == 0.0


def test_the_last_of_two_boxes_counts():
    assert score(r"\boxed{41}, no: \boxed{42}", "42") == 1.0
    assert score(r"\boxed{42}, no: \boxed{41}", "42") == 0.0


@pytest.mark.parametrize("gold", [None, "", "?!", r"\frac{", r"\boxed{}"])
def test_a_gold_answer_that_cannot_be_read_is_not_scored(gold):
    assert score(r"\boxed{42}", gold) is None


def test_only_the_end_of_a_completion_is_read():
    filler = "x" * 100_000
    assert score(filler + r"\boxed{42}", "42") == 1.0
    assert score(r"\boxed{42}" + filler, "42") == 0.0
    # "\boxed{42}" has 10 characters: it just fits with MAX_CHARS - 10 behind it.
    assert score(r"\boxed{42}" + "x" * (MAX_CHARS - 10), "42") == 1.0
    assert score(r"\boxed{42}" + "x" * (MAX_CHARS - 9), "42") == 0.0


def test_braces_are_matched_through_nesting_and_escapes():
    assert last_box(r"\boxed{\frac{1}{x_{2}}} }") == r"\frac{1}{x_{2}}"
    assert last_box(r"\boxed{\{1\}}") == r"\{1\}"
    assert last_box(r"\boxed{1\}") is None
    assert last_box("no box") is None


@pytest.mark.parametrize("reward", [box_accuracy_reward, exact_match_reward])
def test_a_conversation_is_scored_by_its_last_message(reward):
    right, wrong = (
        [{"role": "assistant", "content": "42" if reward is exact_match_reward else r"\boxed{42}"}],
        [{"role": "assistant", "content": "41" if reward is exact_match_reward else r"\boxed{41}"}],
    )
    completions = [right, wrong, [*right, *wrong], [], [{"role": "assistant", "content": None}]]
    assert reward(completions, ["42"] * 5) == [1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("reward", [box_accuracy_reward, exact_match_reward])
def test_every_completion_needs_its_answer(reward):
    with pytest.raises(ValueError, match="zip"):
        reward(["42"], ["42", "43"])


@no_deadline
@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_makes_the_math_reward_raise(completion, gold):
    assert score(completion, gold) in (0.0, 1.0, None)


@no_deadline
@given(st.text(alphabet=r"\{}()[]^_$%&,.!/=<>|+-*0123459xfracsqtboednilm ", max_size=30))
def test_nothing_inside_the_box_makes_the_math_reward_raise(boxed):
    assert score(rf"\boxed{{{boxed}}}", "42") in (0.0, 1.0)
    assert score(r"\boxed{42}", boxed) in (0.0, 1.0, None)


def test_an_exact_match_ignores_white_space_around_it_only():
    completions = ["19", " 19\n", "1 9", "19.", ""]
    assert exact_match_reward(completions, ["19"] * 5) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_an_exact_match_with_a_missing_answer_is_not_scored():
    assert exact_match_reward(["19", ""], [None, ""], prompt=["", ""]) == [None, 1.0]


class _Slow:
    was_cut = True

    def __del__(self) -> None:
        time.sleep(0.3)
        _Slow.was_cut = False


def test_a_limit_that_rings_in_a_destructor_rings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxed, "REMINDER_S", 0.1)
    hook = sys.unraisablehook
    with pytest.raises(boxed._TooLongError):
        _dawdle()
    assert _Slow.was_cut
    assert sys.unraisablehook is hook


def _dawdle() -> None:
    with boxed._limited(0.1):
        slow = _Slow()
        del slow
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            pass
