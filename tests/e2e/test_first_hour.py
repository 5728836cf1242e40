"""The script that the tutorial goes through, shortened, against a real monitor."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import AcrServe, acr_serve, short_folder

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def run_of(monitor: AcrServe, run_id: str) -> dict:
    return httpx.get(f"{monitor.url}/v1/runs/{run_id}", trust_env=False).raise_for_status().json()


def test_the_script_of_the_tutorial_trains_watched_and_untouched(tmp_path):
    with short_folder() as folder, acr_serve(folder) as monitor:
        call = f"train('first', {monitor.url!r}, max_steps=3)"
        subprocess.run(
            [sys.executable, "-c", f"from examples.first_hour import train; {call}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=True,
        )
        run = run_of(monitor, "first")
    assert (run["step"], run["ended"]) == (3, "finished")
    assert (run["settings"]["profile"], run["acting_mode"]) == ("observe", "shadow")
    assert run["counters"]["injected_wrong"] == 0
    assert run["last"]["collapse"]["num_groups"] == 16
