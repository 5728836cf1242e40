r"""Answers as people and models write them, brought to the LaTeX that math-verify reads.

Only notation changes, never a value: "½", "1.2e3", "0.\overline{3}", "1\,234", "18." and "yes" are
read by nobody's LaTeX grammar, and mean one thing. What is ambiguous stays as it is: a comma
between digits separates thousands or the members of a list, it is no decimal point.
"""

import re
import unicodedata
from collections.abc import Callable

MAX_CHARS = 400
"""Longer answers are not read: the longest in MATH has about 150 characters, and the time to parse
grows faster than the length."""

MAX_DEPTH = 20
"""Brackets inside brackets; from about 100 on the parser takes seconds."""

_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}

_SYMBOLS = {
    **dict.fromkeys("−–‐‑", "-"),  # noqa: RUF001
    **dict.fromkeys("\u00a0\u2009\u202f", " "),
    **dict.fromkeys("£€¥₹", ""),  # math-verify drops the dollar, too.
    "×": r"\times ",  # noqa: RUF001
    "·": r"\cdot ",
    "÷": "/",
    "°": r"^\circ ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "∞": r"\infty ",
    "∪": r"\cup ",  # noqa: RUF001
    "∩": r"\cap ",
    "∅": r"\emptyset ",
}

_SPACE = r"(?:\\[,;:! ]|~|\s)"
_TEXT = r"\\(?:text|textbf|mathrm|mbox)\s*\{"
_NUMBER_IN_UNIT = re.compile(rf"\S\s*{_TEXT}(?:[^{{}}]*\s)?\d[^{{}}]*\}}\s*$")


def is_readable(answer: str) -> bool:
    r"""Whether an answer is worth handing to the parser.

    Not if it is longer than `MAX_CHARS` or nested deeper than `MAX_DEPTH`, or if a number stands in
    text behind it: math-verify drops such text as a unit, so that "5\text{, no, 6}" would be 5.
    """
    depth = deepest = 0
    for character in answer:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return len(answer) <= MAX_CHARS and deepest <= MAX_DEPTH and not _NUMBER_IN_UNIT.search(answer)


def normalised(answer: str) -> str:
    r"""The same answer in plain LaTeX.

    >>> normalised("3½"), normalised("1.2e3"), normalised(r"1\,234."), normalised(r"\text{Yes}")
    ('3\\frac{1}{2}', '1.2\\times 10^{3}', '1234', '\\text{yes}')
    """
    text = "".join(_ascii(character) for character in answer).strip()
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    plain = unicodedata.normalize("NFKC", character)
    numerator, slash, denominator = plain.partition("\u2044")
    if slash and numerator and denominator:
        return rf"\frac{{{numerator}}}{{{denominator}}}"
    if unicodedata.decomposition(character).startswith("<super>"):
        return f"^{{{plain}}}"
    return character


def _repeating(match: re.Match[str]) -> str:
    """A repeating decimal as a fraction: 0.1(6) is (16 - 1) / 90."""
    sign, whole, fixed, repeated = match.groups()
    numerator = int(whole + fixed + repeated) - int(whole + fixed)
    return rf"{sign}\frac{{{numerator}}}{{{'9' * len(repeated)}{'0' * len(fixed)}}}"


def _magnitude(match: re.Match[str]) -> str:
    return rf"\times 10^{{{_MAGNITUDES[match.group(1).lower()]}}}"


def _digits(match: re.Match[str]) -> str:
    return re.sub(_SPACE, "", match.group())


def _word(match: re.Match[str]) -> str:
    return rf"\text{{{match.group(1).lower()}}}"


_REWRITES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"(?<!\.)\.$", ""),
        (rf"^(?:{_TEXT}\s*)?(true|false|yes|no)(?:\s*\}})?$", _word),
        (rf"{_TEXT}\s*\\?\$\s*\}}", ""),
        (r"\\varnothing", r"\\emptyset "),
        (r"√\s*(\d+|[a-z])", r"\\sqrt{\1}"),
        (r"√", r"\\sqrt "),
        (rf"^[+-]?\d{{1,3}}(?:{_SPACE}+\d{{3}})+(?!\d)", _digits),
        (r"^([+-]?\d+)\s+(\d+)/(\d+)$", r"\1\\frac{\2}{\3}"),
        (r"^([+-]?\d+(?:\.\d+)?)e\+?(-?\d+)$", r"\1\\times 10^{\2}"),
        (r"^([+-]?)(\d+)\.(\d*)\\(?:overline|bar)\s*\{(\d+)\}$", _repeating),
        (rf"(?<=[\d}}])\s*(?:{_TEXT})?\s*\b({'|'.join(_MAGNITUDES)})s?\b\s*\}}?", _magnitude),
        (r"(?<=\d)\s*(?:dollar|euro)s?$", ""),
    )
]
