"""The alert rules as they are shipped: where they are, and what they ask of the monitor."""

import re
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy" / "prometheus"
RULES_FILE = DEPLOYED / "rules" / "acr.yml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}


def queries(rule: dict[str, Any]) -> list[str]:
    """What the texts of an alert ask Prometheus for, of some run."""
    texts = " ".join(rule.get("annotations", {}).values())
    found = re.findall(r'printf "([^"]+)" \$labels\.run \| query', texts)
    return [expr.replace("%q", '"some-run"') for expr in found]


def metrics(rule: dict[str, Any]) -> set[str]:
    """Names of all that the rule reads, its texts included."""
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.add(node.name)
        return True

    for expr in (rule["expr"], *queries(rule)):
        promql_parser.walk(promql_parser.parse(expr), visit)
    return names


METRICS = {name for rule in RULES for name in metrics(rule)} - set(RECORDS)
"""What the rules read of what was scraped; `up` is Prometheus's own."""
