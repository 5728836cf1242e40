"""The command a stranger types first."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

STEPS = 12
MAY_DIFFER = {"lag_ms", "settings_from"}
"""Time, and which of two messengers was first."""


COMMAND = [sys.executable, "-m", "monitor_service", "demo"]


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--steps", str(STEPS), *options]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    found = []
    for name in ("a", "b"):
        path = tmp_path_factory.mktemp("demo") / f"{name}.json"
        done = demo("--seed", "1", "--json", str(path))
        assert done.returncode == 0, done.stderr[-3000:]
        found.append({**json.loads(path.read_text()), "printed": done.stdout})
    return found


def test_one_seed_gives_one_path(twice: list[dict[str, Any]]) -> None:
    first, second = (
        {name: value for name, value in one.items() if name not in MAY_DIFFER | {"printed"}}
        for one in twice
    )
    assert first == second
    assert len(first["acr_path"]) == len(first["threshold_path"]) == STEPS


def test_every_step_applied_the_settings_that_follow_from_the_step_before(
    twice: list[dict[str, Any]],
) -> None:
    for one in twice:
        assert one["applied_versions"] == list(range(1, STEPS + 1))
        assert one["lag_steps"] == [0] * STEPS
        assert one["applied_thresholds"] == one["threshold_path"]
        assert one["reports"] == {"recorded": STEPS}
        # Each version is held once; the first of the two ways to deliver it counts.
        assert sum(one["settings_from"].values()) == STEPS + 1
        assert one["settings_from"]["redis"] > 0


def test_the_table_says_what_happened(twice: list[dict[str, Any]]) -> None:
    printed = twice[0]["printed"]
    for words in ("ACR", "all wrong", "all correct", "effective", "threshold", "injected"):
        assert words in printed
    for words in ("settings applied", "loop lag", "accuracy, greedy", "entropy, nats"):
        assert words in printed
    assert f"{STEPS} steps, as the monitor recorded them" in printed
    assert not [line for line in printed.splitlines() if line != line.rstrip()]
    assert f"of {STEPS + 1} received, first by" in printed


def test_half_of_the_lags_are_at_most_the_median_and_nearly_all_at_most_p99(
    twice: list[dict[str, Any]],
) -> None:
    for one in twice:
        assert one["lag_ms"]["p50"] <= one["lag_ms"]["p99"]


def test_a_profile_that_does_not_exist_is_refused_by_name() -> None:
    done = demo("--profile", "papper")
    assert (done.returncode, done.stdout) == (2, "")
    assert "papper" in done.stderr
    assert "paper, guarded, observe" in done.stderr
    assert "Monitor at" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [("--json", "/nowhere/a.json"), ("--json", "/"), ("--data-dir", "/dev/null/kept")],
)
def test_what_could_not_be_kept_is_refused_before_anything_starts(options: tuple[str, str]) -> None:
    done = demo(*options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"acr: {' '.join(options)}: ")
    assert done.stderr.count("\n") == 1


def test_a_monitor_that_does_not_start_is_said_in_one_line() -> None:
    done = demo("--port", "70000")
    assert done.returncode == 1
    assert done.stderr.startswith("acr: the monitor did not start: port: must be in")


@pytest.mark.parametrize(
    ("sent", "status", "last"),
    [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "interrupted\n")],
)
def test_a_signal_ends_it_and_leaves_nothing(
    tmp_path: Path, sent: signal.Signals, status: int, last: str
) -> None:
    environ = {**os.environ, "COLUMNS": "200", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[2].rstrip(".")
        process.stderr.readline()
        process.send_signal(sent)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == status, rest[-3000:]
    assert rest.endswith(last)
    assert "Traceback" not in rest
    assert not list(tmp_path.glob("acr-demo-*"))
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_figures_can_go_to_standard_output_alone(tmp_path: Path) -> None:
    done = demo("--profile", "grpo", "--json", "-", "--data-dir", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert figures["profile"] == "grpo"
    assert figures["injected_steps"] == 0
    assert figures["early"]["acr_effective"] == figures["early"]["acr"]
    assert (tmp_path / "kept" / "monitor.json").exists()
