"""Small arithmetic word problems, and what an answer to one of them is worth.

The model is shown two solved problems before each, so that it answers in one line: without them
SmolLM2-135M writes paragraphs that are cut off before they come to a number.
"""

import random
import re
from typing import Any

from datasets import Dataset

NAMES = ("Ann", "Ben", "Eva", "Tom")
THINGS = ("apples", "books", "coins", "pens")
SOLVED = (
    (
        "Sam has 5 pears and buys 3 more. How many pears now?",
        "5 + 3 = 8. Answer: 8",
    ),
    (
        "Lea has 14 cards and gives away 6. How many cards now?",
        "14 - 6 = 8. Answer: 8",
    ),
)

_NUMBER = r"-?\d+(?:\.\d+)?"
_STATED = re.compile(rf"answer:\s*\$?({_NUMBER})\.?\s*$", re.IGNORECASE)
_LAST = re.compile(rf"({_NUMBER})\D*$")

Message = dict[str, str]


def make_problems(num_problems: int, *, seed: int, largest: int = 20) -> Dataset:
    """Problems of one addition or subtraction, no two alike.

    Args:
        num_problems: how many; raises ValueError when there are not so many different ones.
        seed: the same problems in the same order.
        largest: operand, at least 2.

    Returns:
        Columns `prompt` (a conversation) and `answer` (a whole number as text, not negative).
    """
    every = [
        (sign, name, thing, first, second)
        for sign in "+-"
        for name in NAMES
        for thing in THINGS
        for first in range(2, largest + 1)
        for second in range(2, largest + 1)
        if sign == "+" or second <= first
    ]
    if num_problems > len(every):
        raise ValueError(f"num_problems: at most {len(every)}; got {num_problems}")
    return Dataset.from_list(
        [_row(*one) for one in random.Random(seed).sample(every, num_problems)]
    )


def _row(sign: str, name: str, thing: str, first: int, second: int) -> dict[str, Any]:
    did = f"buys {second} more" if sign == "+" else f"gives away {second}"
    question = f"{name} has {first} {thing} and {did}. How many {thing} now?"
    messages: list[Message] = []
    for asked, answered in (*SOLVED, (question, "")):
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered})
    answer = first + second if sign == "+" else first - second
    return {"prompt": messages[:-1], "answer": str(answer)}


def accuracy(completions: list[list[Message]], answer: list[str], **columns: Any) -> list[float]:
    """1 where the last number of the completion is the answer, else 0."""
    return [
        float(_is_right(completion[-1]["content"], expected))
        for completion, expected in zip(completions, answer, strict=True)
    ]


def _is_right(text: str, expected: str) -> bool:
    found = _LAST.search(text)
    return found is not None and float(found[1]) == float(expected)


def form(completions: list[list[Message]], **columns: Any) -> list[float]:
    """1 where the completion ends with "Answer: " and a number, as in the solved problems."""
    return [float(bool(_STATED.search(one[-1]["content"]))) for one in completions]
