"""The comparison with other loggers: the same step for all, counted when it is kept."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.peers.__main__ import main
from benchmarks.peers.logged import WARM_UP_STEPS, logged
from benchmarks.peers.peer import PEERS, Peer
from benchmarks.peers.step import steps


def named(name: str) -> Peer:
    (found,) = (one for one in PEERS if one.name == name)
    return found


def test_a_step_is_the_same_for_all() -> None:
    first, second = steps(2)
    assert len(first.figures) == 12
    assert first.rewards.shape == (16, 8)
    assert first.report.step == first.number == 1
    assert len(first.group_means) == 16
    assert np.mean(list(first.group_means.values())) == pytest.approx(first.rewards.mean())
    assert first.figures != second.figures


def test_every_step_of_the_floor_is_in_its_file(tmp_path: Path) -> None:
    with named("a JSON line in a file").opened(tmp_path) as logger:
        found = logged(logger, 20, 3)
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, WARM_UP_STEPS + 3 + 20 + 1))
    assert len(found.blocking_us) == 3
    assert found.per_s > 0


def test_our_steps_are_recorded_when_it_has_finished(tmp_path: Path) -> None:
    with named("ours").opened(tmp_path) as logger:
        found = logged(logger, 40, 3)
        endpoint = json.loads((tmp_path / "monitor" / "monitor.json").read_text())
        run = httpx.get(f"{endpoint['url']}/v1/runs/bench", trust_env=False).json()
    assert run["counters"]["steps"] == WARM_UP_STEPS + 3 + 40
    assert found.flush_s < 40 / found.per_s


def test_a_peer_that_is_not_installed_says_how_to_install_it() -> None:
    def peer(package: str = "", binary: str = "") -> Peer:
        return Peer(name="", opens="", package=package, binary=binary, keeps="", lacks="")

    assert peer("no_such_package").missing == "pip install no_such_package"
    assert peer(binary="no-such-binary").missing == "apt-get install no-such-binary"
    assert peer("msgspec", "sh").missing == ""


@pytest.mark.e2e
def test_the_command_prints_what_is_there_and_names_what_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    options = ["--rounds", "2", "--steps", "20", "--paced", "2", "--only", "ours", "a JSON"]
    main([*options, "--json", str(file)])
    found = json.loads(file.read_text())
    ours, floor = found["peers"]
    assert (ours["name"], floor["name"]) == ("ours", "a JSON line in a file")
    assert 0 < ours["per_s"]["value"] < floor["per_s"]["value"]
    assert ours["blocking_p50_us"]["value"] <= ours["blocking_p99_us"]["value"]
    assert found["skipped"] == []
    assert "in the call, us" in capsys.readouterr().out
