"""The three shapes of expression the dashboard is made of.

Every replica of the monitor answers for every run, so one series may be scraped more than once:
expressions take the maximum over replicas and never their sum.
"""


def gauge(metric: str, *labels: str) -> str:
    """The figure of the chosen run, one series per combination of `labels`."""
    return f'{_max_by(labels)}({metric}{{run="$run"}})'


def rate(counter: str, *labels: str, where: str = "") -> str:
    """Increase per second over the rate interval; steps between two scrapes are not lost."""
    matchers = ", ".join(['run="$run"', *([where] if where else [])])
    return f"{_max_by(labels)}(rate({counter}{{{matchers}}}[$__rate_interval]))"


def ratio(numerator: str, denominator: str) -> str:
    """The quotient where the denominator moved; without a step there is no point, not a zero."""
    return f"{numerator} / on () group_left () ({denominator} > 0)"


def or_none(figure: str, label: str) -> str:
    """The series, or while there is none at all a 0 whose `label` says so."""
    return f'{figure} or on () label_replace(vector(0), "{label}", "none", "", "")'


def _max_by(labels: tuple[str, ...]) -> str:
    return f"max by ({', '.join(labels)}) " if labels else "max"
