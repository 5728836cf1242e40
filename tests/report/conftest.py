"""The monitor of the tests of the service, and `acr report` as people type it."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.report.parsed import Page
from tests.service.acr import Ended, applied, stuck
from tests.service.conftest import acr, base_url, client
from tests.service.reports import new_run_id

__all__ = ["acr", "base_url", "client"]

STRANGE = '<script>alert(1)</script> & "👩\u200d🚀" \u202eesrever'
"""What people write, and pages must not take for markup."""
AS_TEXT = '<script>alert(1)</script> & "👩\u200d🚀" ?esrever'
"""The same as people read it."""

Written = Callable[..., Page]


@pytest.fixture
def written(acr: Callable[..., Ended], tmp_path: Path) -> Written:
    """The page of `acr report` with these arguments, taken apart."""

    def write(*arguments: object) -> Page:
        target = tmp_path / "report.html"
        ended = acr("report", *map(str, arguments), "--html", str(target))
        assert (ended.status, ended.err) == (0, "")
        assert ended.out == f"{target}: {target.stat().st_size} bytes\n"
        return Page(target.read_text())

    return write


@pytest.fixture
def refused(acr: Callable[..., Ended], tmp_path: Path) -> Callable[..., str]:
    """What `acr report` says that writes nothing, with its exit status before it."""

    def refuse(*arguments: object) -> str:
        target = tmp_path / "refused.html"
        ended = acr("report", *map(str, arguments), "--html", str(target))
        assert not target.exists()
        # The frame that errors of usage stand in breaks lines anywhere.
        return f"{ended.status}: {' '.join(ended.err.replace('│', ' ').split())}"

    return refuse


@pytest.fixture
def reported(client: httpx.Client) -> Callable[..., str]:
    """A run with these reports; the id of it."""

    def report(run_id: str, reports: list[dict[str, object]], **created: object) -> str:
        assert client.post("/v1/runs", json={"id": run_id, **created}).status_code == 201
        for start in range(0, len(reports), 256):
            some = reports[start : start + 256]
            assert client.post(f"/v1/runs/{run_id}/steps", json=some).status_code == 200
        return run_id

    return report


@pytest.fixture
def story(client: httpx.Client, reported: Callable[..., str]) -> str:
    """60 steps of a stuck run that a person steers, with a result; steps 6 to 10 are injected."""
    run_id = new_run_id()
    path = f"/v1/runs/{run_id}"
    injected: dict[str, float] = {"injected_wrong": 3, "injected_correct": 1, "num_virtual": 5}
    injected |= {"advantage_abs_max": 0.75, "virtual_mass_fraction": 0.25, "effective_acr": 0.5}
    reports = stuck(60, scalars={"entropy": 0.5, "kl": 0.01, "grad_norm": 1.0})
    for step, one in enumerate(reports, start=1):
        knobs = {"epsilon_high": {"status": "ignored", "reason": STRANGE}} if step > 30 else {}
        one["applied"] = applied(step, **(injected if 6 <= step <= 10 else {}), knobs=knobs)
    reported(run_id, reports[:30], config={"beta": 0.1}, tags={"team": "rl"})
    change = {"threshold": 0.3, "epsilon_high": 0.28, "reason": STRANGE, "actor": "ana"}
    assert client.patch(f"{path}/settings", json=change).status_code == 200
    assert client.patch(path, json={"notes": f"{STRANGE}\nsecond line"}).status_code == 200
    for start in range(30, 60):
        assert client.post(f"{path}/steps", json=reports[start]).status_code == 200
    result = {"accuracy": 0.412, "benchmark": "MATH-500"}
    assert client.post(f"{path}/result", json=result).status_code == 200
    ended = {"attempt": 1, "how": "finished"}
    assert client.post(f"{path}/end", json=ended).status_code == 200
    return run_id
