"""A report for machines: the JSON of `acr diagnose --json`; finite numbers only."""

from collections.abc import Sequence
from typing import Any

from monitor_service.diagnose.replay import Episode, Replay
from monitor_service.diagnose.report import Diagnosis, Skipped

VERSION = 1
"""Of the JSON; grows when a field changes its meaning or goes."""


def document(judged: Sequence[Diagnosis], skipped: Sequence[Skipped]) -> dict[str, Any]:
    """All files."""
    files = [as_json(one) for one in judged] + [skipped_as_json(one) for one in skipped]
    return {"version": VERSION, "files": files}


def as_json(one: Diagnosis) -> dict[str, Any]:
    """A judged file for machines; finite numbers only."""
    replayed, log = one.replay, one.log
    steps = replayed.series.steps
    totals = replayed.totals
    return {
        "path": one.path,
        "status": "judged",
        "headline": one.headline,
        "worst": one.worst,
        "verdicts": [_verdict(episode) for episode in one.standing],
        "resolved": [_verdict(episode) for episode in one.resolved],
        "figures": {
            name: {
                "key": replayed.series.keys.get(name),
                "count": found.count,
                "first": found.first,
                "last": found.last,
                "min": found.low,
                "min_step": found.low_step,
                "max": found.high,
                "max_step": found.high_step,
            }
            for name, found in one.ranges.items()
        },
        "non_finite": [
            {"step": step, "figures": list(names)}
            for step, names in sorted(replayed.series.non_finite.items())
        ],
        "groups": None
        if totals is None
        else {
            "count": totals.num_groups,
            "completions": totals.num_completions,
            "sizes": sorted(totals.sizes),
            **totals.outcomes,
        },
        "reward_range": None
        if replayed.reward_range is None
        else {
            "low": replayed.reward_range.low,
            "high": replayed.reward_range.high,
            "guessed": replayed.range_is_guess,
        },
        "forecast": _forecast(replayed),
        "not_judged": list(one.not_judged),
        "caveats": list(one.caveats),
        "problems": [
            {"text": found.text, "count": found.count, "places": [str(at) for at in found.places]}
            for found in one.problems
        ],
        "read": {
            "format": log.format,
            "rows": log.num_rows,
            "evaluation_rows": log.num_evaluation_rows,
            "steps": len(steps),
            "first_step": steps[0],
            "last_step": steps[-1],
            "step_key": log.step_key,
            "group_key": log.group_key,
            "reward_key": log.reward_key,
            "keys": dict(replayed.series.keys),
            "unused_keys": list(log.unknown),
        },
    }


def skipped_as_json(one: Skipped) -> dict[str, Any]:
    """A file without a diagnosis, for machines."""
    return {
        "path": one.path,
        "status": one.status,
        "reason": one.reason,
        "line": one.line,
        "column": one.column,
    }


def _verdict(episode: Episode) -> dict[str, Any]:
    verdict = episode.verdict
    return {
        "rule": verdict.rule,
        "severity": verdict.severity,
        "worst": episode.worst,
        "since_step": verdict.since_step,
        "raised_step": episode.raised,
        "resolved_step": episode.resolved,
        "cause": verdict.cause,
        "evidence": verdict.evidence,
        "advice": verdict.advice,
    }


def _forecast(replayed: Replay) -> dict[str, Any] | None:
    found = replayed.forecast
    if found is None:
        return None
    return {
        "ready": found.ready,
        "steps_seen": found.steps_seen,
        "acr_100": found.acr_100,
        "expected": found.expected,
        "low": found.low,
        "high": found.high,
        "benchmark": found.benchmark,
        "scope": found.scope,
        "caveat": found.caveat,
    }
