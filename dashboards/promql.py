"""The shapes of expression the dashboards are made of.

Every replica of the monitor answers for every run, so one series may be scraped more than once:
expressions take the maximum over replicas and never their sum.
"""

THIS_RUN = 'run="$run"'

_RANKED = ("info", "warning", "critical")


def gauge(metric: str, *labels: str, where: str = THIS_RUN, ago: str = "") -> str:
    """The figure, one series for each combination of `labels`; by default of the chosen run."""
    offset = f" offset {ago}" if ago else ""
    return f"{_max_by(labels)}({_selector(metric, where)}{offset})"


def each_run(metric: str, *labels: str) -> str:
    """The figure of every run, one series for each run and combination of `labels`."""
    return gauge(metric, "run", *labels, where="")


def rate(counter: str, *labels: str, where: str = THIS_RUN) -> str:
    """Increase per second over the rate interval; steps between two scrapes are not lost."""
    return f"{_max_by(labels)}(rate({_selector(counter, where)}[$__rate_interval]))"


def ratio(numerator: str, denominator: str) -> str:
    """The quotient where the denominator moved; without a step there is no point, not a zero."""
    return f"{numerator} / on () group_left () ({denominator} > 0)"


def grown(counter: str, *labels: str, where: str) -> str:
    """By how much the counter grew in the time shown, in total; 0 while there is none.

    `increase` would not see the first count of a series, which is how a rare mishap comes.
    """
    now = gauge(counter, *labels, where=where)
    before = gauge(counter, *labels, where=where, ago="$__range")
    return f"sum({now} - ({before} or 0 * {now})) or vector(0)"


def ranks(where: str = THIS_RUN) -> str:
    """A series for each alarm of a run: 1 for info, 2 for a warning, 3 for critical."""
    more = f", {where}" if where else ""
    by_severity = (
        f'{rank} * acr_alarm_active{{severity="{severity}"{more}}}'
        for rank, severity in enumerate(_RANKED, start=1)
    )
    return f"max by (run, rule) ({' or '.join(by_severity)})"


def worst(where: str = THIS_RUN) -> str:
    """The most severe alarm of each run, ranked; 0 with the rule `none` where there is none."""
    runs = gauge("acr_run_info", "run", where=where)
    none = f'0 * label_replace({runs}, "rule", "none", "", "")'
    return one_for_each_run(f"{ranks(where)} or {none}")


def or_none(series: str, **labels: str) -> str:
    """The series, and where there is none of them a 0 with these labels, which say so."""
    none = "vector(0)"
    for label, value in labels.items():
        none = f'label_replace({none}, "{label}", "{value}", "", "")'
    return f"{series} or on () {none}"


def one_for_each_run(series: str) -> str:
    """One series of each run: two replicas may be scraped before and after a change."""
    return f"topk by (run) (1, {series})"


def changed(metric: str, *labels: str) -> str:
    """Points of the graph at which the figure of the chosen run is not that of the point before."""
    return f"{gauge(metric, *labels)} != {gauge(metric, *labels, ago='$__interval')}"


def begun(metric: str, *labels: str) -> str:
    """Points of the graph at which the chosen run has a series that the point before had not."""
    return f"{gauge(metric, *labels)} unless {gauge(metric, *labels, ago='$__interval')}"


def _selector(metric: str, where: str) -> str:
    return f"{metric}{{{where}}}" if where else metric


def _max_by(labels: tuple[str, ...]) -> str:
    return f"max by ({', '.join(labels)}) " if labels else "max "
