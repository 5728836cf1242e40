"""A run stalls and recovers: from its reports to what a team reads, through the real parts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.prometheus_server import instant_query, running_prometheus
from tests.rules.alertmanager import alerts, documented, running_alertmanager
from tests.rules.rules import DEPLOYED, RULES_FILE
from tests.servers import acr_serve, eventually, short_folder, stock_redis
from tests.service.receiver import Receiver, receiving
from tests.service.reports import MIXED, WRONG

RUN = "stalls"
PAGE = f"https://acr.example.org/#/runs/{RUN}"


def report(url: str, run_id: str, steps: range, *, num_wrong: int) -> None:
    """Reports of these steps, all alike: so many of 8 groups are all-wrong, the others differ."""
    groups = [*[WRONG] * num_wrong, *[MIXED] * (8 - num_wrong)]
    body = [{"step": step, "rewards": groups} for step in steps]
    reply = httpx.post(f"{url}/v1/runs/{run_id}/steps", json=body, trust_env=False)
    assert reply.status_code == 200, reply.text


def hurried(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules, with a second in place of the minutes that alerts on runs take and last."""
    (on_runs,) = [group for group in rules["groups"] if group["name"] == "acr-runs"]
    for rule in on_runs["rules"]:
        rule |= dict.fromkeys({"for", "keep_firing_for"} & set(rule), "1s")
    return rules


def configured(targets: list[str], alertmanager_url: str, folder: Path) -> str:
    """The configuration of `deploy/`, for this machine, every second, and its rules beside it."""
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text(encoding="utf-8"))
    every_second = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
    config["global"] |= every_second | {"external_labels": {"acr_url": "https://acr.example.org"}}
    (scrape,) = config["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(DEPLOYED / "no-token")
    scrape["static_configs"] = [{"targets": targets}]
    place = alertmanager_url.removeprefix("http://")
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [place]}]}]
    rules = folder / "rules" / "acr.yml"
    rules.parent.mkdir()
    rules.write_text(yaml.safe_dump(hurried(yaml.safe_load(RULES_FILE.read_text()))))
    return yaml.safe_dump(config)


@dataclass(frozen=True)
class Stack:
    """Two monitors on one Redis, and what follows from their figures."""

    monitors: tuple[str, str]
    prometheus: str
    alertmanager: str
    receiver: Receiver

    def told(self, path: str) -> list[dict[str, Any]]:
        """What was posted there."""
        posted = [request for request in self.receiver.received if request.path.endswith(path)]
        return [json.loads(request.body) for request in posted]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    (tmp_path / "pager-token").write_text("let me in")
    with (
        short_folder() as folder,
        stock_redis(folder) as redis_url,
        acr_serve(folder / "one", "--redis-url", redis_url) as one,
        acr_serve(folder / "two", "--redis-url", redis_url) as two,
        receiving() as receiver,
    ):
        (tmp_path / "slack-url").write_text(f"{receiver.url}/slack")
        config = documented(tmp_path, f"{receiver.url}/pager")
        config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
        targets = [server.url.removeprefix("http://") for server in (one, two)]
        with (
            running_alertmanager(tmp_path, config) as alertmanager,
            running_prometheus(
                targets[0], tmp_path, configured(targets, alertmanager, tmp_path)
            ) as prometheus,
        ):
            yield Stack((one.url, two.url), prometheus, alertmanager, receiver)


@pytest.mark.e2e
def test_a_team_is_told_once_that_a_run_stalls_and_that_it_is_over(stack: Stack) -> None:
    one, two = stack.monitors
    for run_id in (RUN, "learns"):
        httpx.post(f"{one}/v1/runs", json={"id": run_id}, trust_env=False).raise_for_status()
    report(one, "learns", range(1, 71), num_wrong=0)
    # 4 of 8 groups are all-wrong at each of more than 50 steps, and the reward is flat.
    report(one, RUN, range(1, 71), num_wrong=4)

    eventually(lambda: bool(stack.told("/pager") and stack.told("/slack")), "the team is told")
    pending = 'count_over_time(ALERTS{alertname="AcrStall",alertstate="pending"}[1m])'
    assert instant_query(stack.prometheus, pending)
    (alert,) = alerts(stack.alertmanager)
    labels = {"alertname": "AcrStall", "run": RUN, "rule": "stall", "severity": "warning"}
    assert alert["labels"] == labels
    notes = alert["annotations"]
    assert notes["page"] == PAGE
    # Smoothed over steps that are all alike: 4 / 8.
    assert "Smoothed ACR is 50%" in notes["description"]

    (message,) = stack.told("/pager")[0]["alerts"]
    assert message["annotations"] == notes
    assert {
        request.headers["authorization"]
        for request in stack.receiver.received
        if request.path.endswith("/pager")
    } == {"Bearer let me in"}
    (attachment,) = stack.told("/slack")[0]["attachments"]
    assert attachment["title"] == f"firing: {notes['summary']}. "
    assert PAGE in attachment["text"]

    # Slowly, or the swing itself would be an alarm.
    for num_wrong in (3, 2, 1, 0):
        end = 151 - 20 * num_wrong
        report(two, RUN, range(end - 20, end), num_wrong=num_wrong)
    eventually(lambda: len(stack.told("/pager")) > 1, "the team is told of the end")
    assert [
        (alert["labels"]["alertname"], alert["status"])
        for told in stack.told("/pager")
        for alert in told["alerts"]
    ] == [("AcrStall", "firing"), ("AcrStall", "resolved")]
