r"""The math reward on a corpus of tricky answers, and what it does off the main thread.

Each line of math_answers.jsonl has a gold answer, a completion and whether it is `right`, as a
person would judge. Where the reward says otherwise, the line says why it `stays_wrong`; these are
listed in docs/data.md.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.rewards.answers import MAX_CHARS, MAX_DEPTH, is_readable, normalised
from trainer.rewards.math import box_accuracy_reward

HERE = Path(__file__)
FILLER = "{filler}"
"""Stands for more text than is read, before or after the box."""

CORPUS = [
    json.loads(line)
    for line in HERE.with_name("math_answers.jsonl").read_text(encoding="utf-8").splitlines()
]


def score(completion: str, gold: str) -> float | None:
    (reward,) = box_accuracy_reward([completion], [gold])
    return reward


@pytest.mark.parametrize(
    "case", CORPUS, ids=[f"{case['topic']}-{number}" for number, case in enumerate(CORPUS, 1)]
)
def test_a_tricky_answer_gets_the_verdict_of_a_person_unless_it_is_known_to_stay_wrong(
    case: dict[str, Any],
) -> None:
    completion = case["completion"].replace(FILLER, "x" * 3_000)
    is_right = case["right"] != ("stays_wrong" in case)
    assert score(completion, case["gold"]) == float(is_right), case


def test_every_answer_that_stays_wrong_is_listed_in_the_documentation() -> None:
    reasons = {case["stays_wrong"] for case in CORPUS if "stays_wrong" in case}
    page = " ".join((HERE.parents[2] / "docs" / "data.md").read_text(encoding="utf-8").split())
    assert [reason for reason in sorted(reasons) if reason not in page] == []


def in_a_thread(call: Callable[[], Any]) -> Any:
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(timeout=120)
    return results[0]


def test_off_the_main_thread_the_verdicts_are_the_same_and_the_limits_hold() -> None:
    completions = [r"\boxed{1/2}", r"\boxed{9^{9^9}}", r"\boxed{\sqrt{12}}", "\ud800", "no box"]
    golds = ["0.5", "42", r"2\sqrt{3}", "1", None]
    expected = [1.0, 0.0, 1.0, 0.0, None]
    assert in_a_thread(lambda: box_accuracy_reward(completions, golds)) == expected
    assert box_accuracy_reward(completions, golds) == expected


def test_a_child_that_fails_scores_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with caplog.at_level(logging.WARNING):
        assert in_a_thread(lambda: box_accuracy_reward([r"\boxed{1}"], ["1"])) == [None]
    assert "no completion of this batch was scored" in caplog.text


def test_an_answer_is_read_up_to_a_length_and_a_depth() -> None:
    assert is_readable("1" * MAX_CHARS)
    assert not is_readable("1" * (MAX_CHARS + 1))
    assert is_readable("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH)
    assert not is_readable("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1))


@pytest.mark.parametrize("answer", ["42", r"\frac{1}{2}", "x^2 + 1", r"\text{Evelyn}", "(1, 2]"])
def test_plain_latex_is_left_alone(answer: str) -> None:
    assert normalised(answer) == answer


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=30))
def test_no_digit_of_another_script_is_left(answer: str) -> None:
    found = normalised(answer)
    assert not any(c.isdecimal() and not c.isascii() for c in found)


def test_a_repeating_decimal_is_its_fraction() -> None:
    assert normalised(r"0.\overline{3}") == r"\frac{3}{9}"
    assert normalised(r"-0.1\overline{6}") == r"-\frac{15}{90}"
    assert normalised(r"2.5\bar{0}") == r"\frac{225}{90}"
