"""Runs of very many steps, whose history is written into the store as it would be found there."""

import httpx
import msgspec
import numpy as np
from redis import Redis

from benchmarks.reports import Reports
from monitor_service.series import COLUMNS
from monitor_service.store.keys import RunKeys
from monitor_service.wire import MAX_REPORTS, MSGPACK, StepReport
from tests.servers import AcrServe
from tests.web.runs import create

GROUPS, COMPLETIONS = 16, 8
REPORTED = 300
"""The newest steps are reported like any, so that records, verdicts and components are there."""


def lengthened(server: AcrServe, run_id: str, num_steps: int) -> None:
    """A new run of so many steps, more than `REPORTED`: KL is step / `num_steps`."""
    create(server.url, run_id, config={"beta": 0.1})
    first = num_steps - REPORTED + 1
    reports = Reports(GROUPS, COMPLETIONS)
    deliver(server.url, run_id, [reports.of(first)])
    with Redis.from_url(server.redis_url) as redis:
        key = RunKeys(run_id).series
        redis.set(key, _rows(num_steps)[: first - 1].astype("<f8").tobytes() + redis.get(key))
    deliver(server.url, run_id, [reports.of(step) for step in range(first + 1, num_steps + 1)])


def deliver(url: str, run_id: str, reports: list[StepReport]) -> None:
    """Report these steps."""
    for start in range(0, len(reports), MAX_REPORTS):
        reply = httpx.post(
            f"{url}/v1/runs/{run_id}/steps",
            content=msgspec.msgpack.encode(reports[start : start + MAX_REPORTS]),
            headers={"content-type": MSGPACK},
            trust_env=False,
            timeout=60,
        )
        assert reply.is_success, reply.text


def _rows(num_steps: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    columns = np.full((num_steps, len(COLUMNS)), np.nan)
    step = np.arange(1, num_steps + 1)
    share = step / num_steps
    wrong = rng.binomial(GROUPS, 0.5 - 0.3 * share)
    correct = rng.binomial(GROUPS - wrong, 0.3 * share + 0.1)
    collapsed = wrong + correct
    noise = rng.random((num_steps, 4))
    found = {
        "step": step,
        "attempt": 1,
        "at_s": 1.7e9 + step,
        "acr": collapsed / GROUPS,
        "acr_wrong": wrong / GROUPS,
        "acr_correct": correct / GROUPS,
        "acr_other": 0,
        "acr_smoothed": 0.6 - 0.1 * share,
        "acr_effective": collapsed / GROUPS,
        "threshold": 0.5,
        "threshold_next": 0.5,
        "reward_mean": 0.3 + 0.4 * share + 0.1 * noise[:, 0],
        "entropy": 1.5 - share + 0.1 * noise[:, 1],
        "kl": share,
        "grad_norm": 0.3 + 0.2 * noise[:, 2],
        "completion_length_mean": 200 + 100 * share + 20 * noise[:, 3],
        "completion_length_max": 1024,
        "truncated_fraction": 0.05,
        "num_groups": GROUPS,
        "mixed": GROUPS - collapsed,
        "all_correct": correct,
        "all_wrong": wrong,
        **dict.fromkeys(("uniform_other", "unscored", "injected_wrong", "injected_correct"), 0),
        "settings_version": step + 1,
        "applied_version": step,
    }
    for name, values in found.items():
        columns[:, COLUMNS.index(name)] = values
    return columns
