"""The alert rules, judged by promtool: when each fires, and that it is silent otherwise."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor_service.engine.health import rules as health
from monitor_service.engine.health.alarms import SILENCE_RULE
from monitor_service.exposition import METRIC_NAMES
from tests.rules.rules import ALERTS, DEPLOYED, RECORDS, ROOT, RULES, RULES_FILE, metrics, queries

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.yml"))
EXPECTED = [
    expected
    for path in FILES
    for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    for expected in test.get("alert_rule_test", [])
]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def says_yes(*arguments: str | Path) -> str:
    """What promtool says, having found nothing wrong."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    says_yes("check", "rules", "--lint=all", "--lint-fatal", RULES_FILE)


def test_promtool_finds_nothing_wrong_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "rules").symlink_to(RULES_FILE.parent)
    text = (DEPLOYED / "prometheus.yml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus-token", str(DEPLOYED / "no-token")))
    assert f"{len(RULES)} rules found" in says_yes("check", "config", config)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_alerts_do_what_they_should(path: Path) -> None:
    says_yes("test", "rules", path)


def test_the_silence_of_the_healthy_run_is_no_accident(tmp_path: Path) -> None:
    text = (HERE / "healthy.yml").read_text(encoding="utf-8")
    # What it was told of were infos; had they been warnings, it would not be silent.
    worse = text.replace('severity="info"', 'severity="warning"')
    worse = re.sub(r"eval_time: \d+s", "eval_time: 5m", worse)
    sick = tmp_path / "sick.yml"
    sick.write_text(worse.replace("../../deploy/prometheus/rules/acr.yml", str(RULES_FILE)))
    done = promtool("test", "rules", sick)
    assert done.returncode == 1
    assert 'alertname="AcrAlarm", alertstate="firing"' in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_before_it_fires_while_it_does_and_after(alert: str) -> None:
    fires = [bool(one["exp_alerts"]) for one in EXPECTED if one["alertname"] == alert]
    assert any(fires[at : at + 3] == [False, True, False] for at in range(len(fires)))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_is_wrong_and_leads_to_its_section(alert: str) -> None:
    notes = ALERTS[alert]["annotations"]
    assert set(notes) >= {"summary", "description"}
    assert notes["runbook"] == f"docs/runbook.md#{alert.lower()}"


def test_alerts_on_runs_lead_to_the_page_and_no_others_do() -> None:
    fired = [found for one in EXPECTED for found in one["exp_alerts"]]
    assert fired
    for found in fired:
        assert ("run" in found["exp_labels"]) == ("page" in found["exp_annotations"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_reads_what_the_monitor_exposes(rule: dict[str, Any]) -> None:
    assert metrics(rule) - set(RECORDS) - {"up"} <= METRIC_NAMES


@pytest.mark.parametrize("alert", ALERTS)
def test_no_query_of_a_text_is_overlooked(alert: str) -> None:
    texts = " ".join(ALERTS[alert]["annotations"].values())
    assert len(queries(ALERTS[alert])) == texts.count("query")


def test_every_alarm_above_info_becomes_one_alert(tmp_path: Path) -> None:
    told = [(rule.name, level) for rule in health.RULES for level in ("critical", "warning")]
    told.append((SILENCE_RULE, "critical"))
    raised = [*told, *((rule.name, "info") for rule in health.RULES)]
    series = {
        f'acr_alarm_active{{run="a",rule="{name}",severity="{severity}"}}': "1x20"
        for name, severity in raised
    }
    series['acr_last_report_timestamp_seconds{run="a"}'] = "0+15x20"
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (rule, severity) (ALERTS{run="a",alertstate="firing"})',
                "eval_time": "5m",
                "exp_samples": [
                    {"labels": f'{{rule="{name}",severity="{severity}"}}', "value": 1}
                    for name, severity in told
                ],
            }
        ],
    }
    path = tmp_path / "every.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES_FILE)], "tests": [test]}))
    says_yes("test", "rules", path)


def test_the_runbook_has_a_section_for_every_alert_and_no_other() -> None:
    assert set(SECTIONS) == set(ALERTS)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_answers_the_same_questions(section: str) -> None:
    questions = re.findall(r"^\*\*(.+?)\.?\*\*", SECTIONS[section], re.MULTILINE)
    asked = ["What it means", "How it looks", "What to check", "What to do", "When to ignore it"]
    assert questions == asked


@pytest.mark.parametrize("name", [*(rule.name for rule in health.RULES), SILENCE_RULE])
def test_the_runbook_names_every_health_rule(name: str) -> None:
    assert f"`{name}`" in RUNBOOK
