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


def queries(document: Mapping[str, Any], variables: Mapping[str, str]) -> list[Query]:
    """All queries of panels, variables and annotations, with the variables filled in.

    Args:
        document: A dashboard as Grafana stores it.
        variables: Values by name without the dollar sign, Grafana's own (`__rate_interval`,
            `__range`) included.

    Raises:
        KeyError: An expression uses a variable that was not given.
        ValueError: A variable's query is of a kind this function cannot run.
    """

    def filled(expr: str) -> str:
        return _VARIABLE.sub(lambda match: variables[match["name"]], expr)

    return [
        Query(panel=panel, ref_id=ref_id, expr=filled(expr))
        for panel, ref_id, expr in _expressions(document)
    ]


def _expressions(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            name = f"variable {variable['name']}"
            yield name, "query", _values_as_promql(variable["query"])
    for annotation in document["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", "expr", annotation["expr"]
    yield from _panel_expressions(document["panels"])


def _panel_expressions(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for panel in panels:
        for target in panel.get("targets", []):
            yield panel["title"], target["refId"], target["expr"]
        yield from _panel_expressions(panel.get("panels", []))


def _values_as_promql(query: str) -> str:
    match = _LABEL_VALUES.fullmatch(query)
    if match is None:
        raise ValueError(f"cannot run the variable query {query!r}")
    return f"group by ({match['label']}) ({match['metric']})"
