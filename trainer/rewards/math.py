r"""Reward 1 for the right value in the last \boxed{...}, compared as mathematics.

The gold answer and the boxed text are read the same way, as LaTeX, by math-verify: "1/2", "0.5"
and "\frac{2}{4}" are one value, units in "5 \text{ cm}" are dropped, and a comma separates the
members of a list unless three digits follow ("0,5" is {0, 5}, "1,234" a number). A completion
without a closed box is wrong, whatever else it says.
"""

import logging
import re
import threading
from collections.abc import Sequence
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from math_verify.errors import TimeoutException

from trainer.rewards.exact import Completion, completion_text

MAX_CHARS = 2_000
"""Characters read from the end of a completion; the answer stands there and parsing is slow."""

TIMEOUT_S = 2
"""Limit for each of parsing and comparing. A usual answer takes 5 ms, `9^{9^9}` never ends."""

_BOX_OPENING = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_EXTRACTION = (LatexExtractionConfig(boxed_match_priority=0),)

logger = logging.getLogger(__name__)


def box_accuracy_reward(
    completions: Sequence[Completion], answer: Sequence[str | None], **kwargs: Any
) -> list[float | None]:
    r"""1.0 where the last box of a completion holds the value of its answer, else 0.0.

    Never raises on any text. Call it on the main thread: the time limits are alarms, which exist
    nowhere else, so that elsewhere a hostile expression runs without limit.

    Args:
        completions: one per row, text or conversation.
        answer: one per row, LaTeX or a number, bare or in a box at the end of a solution.
        kwargs: other columns of the batch, unused.

    Returns:
        One of 0.0, 1.0 or None per row, in order. None, "not scored", where the answer is None or
        cannot be read.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    timeout_s = TIMEOUT_S if on_main_thread else None
    return [
        None if gold is None else _score(completion_text(completion), gold, timeout_s)
        for completion, gold in zip(completions, answer, strict=True)
    ]


def last_box(text: str) -> str | None:
    r"""Content of the last \boxed{...} in `text`; None without a box or with the last one open.

    >>> last_box(r"\boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    openings = list(_BOX_OPENING.finditer(text))
    if not openings:
        return None
    start = openings[-1].end()
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : brace.start()]
    return None


def _score(text: str, gold: str, timeout_s: int | None) -> float | None:
    boxed = last_box(text[-MAX_CHARS:])
    reward = None
    try:
        gold_values = _parse(last_box(gold) or gold, timeout_s)
        if gold_values:
            reward = 0.0
            if boxed is not None:
                values = _parse(boxed, timeout_s)
                reward = float(verify(gold_values, values, timeout_seconds=timeout_s))
    # Untrusted text reaches a LaTeX grammar and a computer algebra system, which may fail in any
    # way; one odd completion must not end a training run. An alarm that fires between two of
    # their own handlers surfaces as a TimeoutException, a BaseException.
    except (Exception, TimeoutException):
        logger.debug("math-verify failed on gold %r", gold, exc_info=True)
    return reward


def _parse(latex: str, timeout_s: int | None) -> list[Any]:
    values: list[Any] = parse(
        rf"\boxed{{{latex}}}",
        extraction_config=_EXTRACTION,
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=timeout_s,
    )
    return values
