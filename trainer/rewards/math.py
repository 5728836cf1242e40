r"""Reward 1 for the right value in the last \boxed{...}, compared as mathematics.

The gold answer and the boxed text are read the same way: brought to plain LaTeX by
`trainer.rewards.answers`, then read by math-verify. "1/2", "0.5" and "\frac{2}{4}" are one value,
units in "5 \text{ cm}" are dropped, and a comma separates the members of a list unless three digits
follow ("0,5" is {0, 5}, "1,234" a number). A completion without a closed box is wrong, whatever
else it says.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

from trainer.rewards.answers import is_readable, normalised
from trainer.rewards.exact import Completion, completion_text

MAX_CHARS = 2_000
"""Characters read from the end of a completion; the answer stands there and parsing is slow."""

TIMEOUT_S = 2
"""Limit for each of parsing and comparing. A usual answer takes 5 ms, `9^{9^9}` never ends."""

REMINDER_S = 0.5
"""The limit is enforced again so often: an exception that is raised while the interpreter collects
garbage is dropped, and an alarm that rings once would be lost with it."""

CHILD_START_S = 60
"""Allowance for a child process to import the computer algebra, which takes about 2 s."""

DECIMALS = 12
"""Decimal places in which a decimal number must agree with the other value. math-verify's own 6
would take 0.50000001 for 1/2."""

_BOX_OPENING = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_EXTRACTION = (LatexExtractionConfig(boxed_match_priority=0),)

logger = logging.getLogger(__name__)


def box_accuracy_reward(
    completions: Sequence[Completion], answer: Sequence[str | None], **kwargs: Any
) -> list[float | None]:
    r"""1.0 where the last box of a completion holds the value of its answer, else 0.0.

    Never raises on any text. The limits on time are alarms, which exist on the main thread only. On
    another thread the whole batch is scored by a child process, which takes some 2 s to start; the
    verdicts are the same.

    Args:
        completions: one per row, text or conversation.
        answer: one per row, LaTeX or a number, bare or in a box at the end of a solution.
        kwargs: other columns of the batch, unused.

    Returns:
        One of 0.0, 1.0 or None per row, in order. None, "not scored", where the answer is None or
        cannot be read, and everywhere if the child process fails.
    """
    rows = [
        (completion_text(completion)[-MAX_CHARS:], gold)
        for completion, gold in zip(completions, answer, strict=True)
    ]
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and hasattr(signal, "setitimer"):
        return [_score(text, gold) for text, gold in rows]
    return _score_in_child(rows)


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


def _score(text: str, gold: str | None) -> float | None:
    if gold is None:
        return None
    reward = None
    try:
        gold_values = _parse(last_box(gold) or gold)
        if gold_values:
            reward = 0.0
            boxed = last_box(text)
            if boxed is not None:
                values = _parse(boxed)
                with _limited(TIMEOUT_S):
                    reward = float(
                        verify(gold_values, values, float_rounding=DECIMALS, timeout_seconds=None)
                    )
    # Untrusted text reaches a LaTeX grammar and a computer algebra system, which may fail in any
    # way; one odd completion must not end a training run.
    except (Exception, _TooLongError):
        logger.debug("math-verify failed on gold %r", gold, exc_info=True)
    return reward


def _parse(latex: str) -> list[Any]:
    if not is_readable(latex):
        return []
    with _limited(TIMEOUT_S):
        values: list[Any] = parse(
            rf"\boxed{{{normalised(latex)}}}",
            extraction_config=_EXTRACTION,
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
        )
    return values


class _TooLongError(BaseException):
    """Not an `Exception`: nobody on the way may take it for a failure of his own."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises _TooLongError here when the block takes longer; on the main thread only."""
    is_over = False

    def ring(signum: int, frame: Any) -> None:
        if not is_over:
            raise _TooLongError

    def report(lost: Any) -> None:
        if lost.exc_type is not _TooLongError:
            hook(lost)

    hook = sys.unraisablehook
    sys.unraisablehook = report
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, REMINDER_S)
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook


def _score_in_child(rows: list[tuple[str, str | None]]) -> list[float | None]:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "trainer.rewards.math"],
            input=json.dumps(rows),
            capture_output=True,
            check=True,
            text=True,
            timeout=CHILD_START_S + 3 * TIMEOUT_S * len(rows),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("no completion of this batch was scored: %s", error)
        return [None] * len(rows)
    rewards: list[float | None] = json.loads(child.stdout)
    return rewards


if __name__ == "__main__":
    json.dump([_score(text, gold) for text, gold in json.load(sys.stdin)], sys.stdout)
