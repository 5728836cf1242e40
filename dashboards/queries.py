"""Every query of a dashboard's JSON as plain PromQL, ready to be run against a Prometheus.

Reads the JSON and not the code that made it: what is checked is what Grafana will load.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_LABEL_VALUES = re.compile(r"label_values\(\s*(?P<metric>.+?)\s*,\s*(?P<label>\w+)\s*\)")
_VARIABLE = re.compile(r"\$\{?(?P<name>\w+)\}?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression and where in the dashboard it stands."""

    panel: str
    """Title of the panel, or `variable NAME`, or `annotation NAME`."""
    ref_id: str
    expr: str
    legend: str = ""
    """How Grafana calls its series, with `{{label}}` for the value of a label."""
    is_instant: bool = False
    """Asked at the end of the time range only, and not at each point of a graph."""


def queries(document: Mapping[str, Any], variables: Mapping[str, str]) -> list[Query]:
    """All queries of panels, variables and annotations, with the variables filled in.

    Args:
        document: A dashboard as Grafana stores it.
        variables: Values by name without the dollar sign, Grafana's own (`__rate_interval`,
            `__range`, `__interval`) included.

    Raises:
        KeyError: An expression uses a variable that was not given.
        ValueError: A variable's query is of a kind this function cannot run.
    """
    return [
        Query(
            panel=place,
            ref_id=target["refId"],
            expr=_VARIABLE.sub(lambda match: variables[match["name"]], target["expr"]),
            legend=target.get("legendFormat", ""),
            is_instant=target.get("instant", False),
        )
        for place, target in _targets(document)
    ]


def _targets(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            expr = _values_as_promql(variable["query"])
            yield (
                f"variable {variable['name']}",
                {"refId": "query", "expr": expr, "instant": True},
            )
    for annotation in document["annotations"]["list"]:
        # Those that Grafana keeps itself are found by tags.
        if "expr" in annotation["target"]:
            yield f"annotation {annotation['name']}", annotation["target"]
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


def _values_as_promql(query: str) -> str:
    match = _LABEL_VALUES.fullmatch(query)
    if match is None:
        raise ValueError(f"cannot run the variable query {query!r}")
    return f"group by ({match['label']}) ({match['metric']})"
