"""Who is told: the configuration of the Alertmanager, and the receivers that the docs show."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.rules.alertmanager import CONFIG, alerts, documented, running_alertmanager
from tests.servers import eventually


def is_valid(folder: Path, config: object) -> bool:
    path = folder / "checked.yml"
    path.write_text(yaml.safe_dump(config))
    command = ["amtool", "check-config", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with running_alertmanager(folder, CONFIG) as found:
        yield found


def fire(url: str, *labels: str) -> None:
    """Tell it of alerts, each by its labels: `AcrStall run=a`."""
    told = []
    for text in labels:
        name, *others = text.split()
        pairs = dict(pair.split("=") for pair in others)
        told.append({"labels": {"alertname": name, **pairs}})
    httpx.post(f"{url}/api/v2/alerts", json=told, trust_env=False).raise_for_status()


def states(url: str) -> dict[str, str]:
    """Name, run and severity of the alerts -> `active` or `suppressed`."""
    return {
        " ".join(one["labels"].get(name, "-") for name in ("alertname", "run", "severity")): one[
            "status"
        ]["state"]
        for one in alerts(url)
    }


def test_amtool_accepts_what_is_shipped_and_what_the_docs_add(folder: Path) -> None:
    assert is_valid(folder, CONFIG)
    assert is_valid(folder, documented(folder, "http://127.0.0.1/"))
    assert not is_valid(folder, CONFIG | {"receivers": []})


def test_out_of_the_box_nobody_is_told(url: str) -> None:
    assert CONFIG["receivers"] == [{"name": "nobody"}]
    fire(url, "AcrStall run=a rule=stall severity=warning")
    eventually(lambda: states(url) == {"AcrStall a warning": "active"}, "it is in the UI")
    assert alerts(url)[0]["receivers"] == [{"name": "nobody"}]


def test_a_monitor_that_is_down_mutes_what_is_said_of_runs(url: str) -> None:
    fire(
        url,
        "AcrMonitorDown job=acr-monitor severity=critical",
        "AcrStall run=a rule=stall severity=warning",
        "AcrKlExplosion run=b rule=kl_explosion severity=critical",
        "SomebodyElses severity=critical",
    )
    expected = {
        "AcrMonitorDown - critical": "active",
        "AcrStall a warning": "suppressed",
        "AcrKlExplosion b critical": "suppressed",
        "SomebodyElses - critical": "active",
    }
    eventually(lambda: states(url) == expected, "runs are muted")


def test_a_critical_alarm_mutes_the_warning_it_was_and_nothing_else(url: str) -> None:
    fire(
        url,
        "AcrEntropyCollapse run=a rule=entropy_collapse severity=critical",
        "AcrEntropyCollapse run=a rule=entropy_collapse severity=warning",
        "AcrEntropyCollapse run=b rule=entropy_collapse severity=warning",
        "AcrStall run=a rule=stall severity=warning",
    )
    expected = {
        "AcrEntropyCollapse a critical": "active",
        "AcrEntropyCollapse a warning": "suppressed",
        "AcrEntropyCollapse b warning": "active",
        "AcrStall a warning": "active",
    }
    eventually(lambda: states(url) == expected, "the warning it was is muted")
