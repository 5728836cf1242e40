"""What a colour means, the same on every panel of both dashboards.

The hues are those of Okabe and Ito, which people who see colours differently can tell apart. What
is wrong is vermilion, what is correct is blue; severities share the hues.
"""

CORRECT = "#0072B2"
WRONG = "#D55E00"
MIXED = "#009E73"
OTHER = "#CC79A7"
QUIET = "#999999"
"""What was not scored, and what is there for orientation."""

INFO = CORRECT
WARNING = "#E69F00"
CRITICAL = WRONG
GOOD = MIXED

MAIN = "text"
"""The figure a panel is about: the theme's own ink."""
THRESHOLD = WARNING
INJECTED = "#56B4E9"
"""What injection does, and what is left after it."""

OUTCOMES = {
    "mixed": MIXED,
    "all_correct": CORRECT,
    "all_wrong": WRONG,
    "uniform_other": OTHER,
    "unscored": QUIET,
}
SEVERITIES = {
    "0": ("none", GOOD),
    "1": ("info", INFO),
    "2": ("warning", WARNING),
    "3": ("critical", CRITICAL),
}
"""Rank, as `promql.ranks` gives it -> what it is called, and its colour."""
