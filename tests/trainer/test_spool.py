"""Reports on disk: what survives what, in which order, and what is left alone."""

import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from monitor_service.wire import Component, Scalars, StepReport, pack
from trainer.spool import MIN_SPOOL_BYTES, SUFFIX, Spool, SpoolUnusable, left_behind

EVERYTHING = 10**6
"""As `after_step`: nothing is trained again."""


def report(step: int, num_groups: int = 2) -> StepReport:
    rewards = np.random.default_rng(step).random((num_groups, 2))
    return StepReport(
        step=step,
        rewards=pack(rewards),
        components={"exact": Component(mean=0.5, std=0.25)},
        scalars=Scalars(entropy=0.1 * step, non_finite=["kl"]),
    )


@contextmanager
def opened(
    folder: Path, after_step: int = EVERYTHING, max_bytes: int = MIN_SPOOL_BYTES
) -> Iterator[Spool]:
    spool = Spool(folder, "r", after_step=after_step, max_bytes=max_bytes)
    try:
        yield spool
    finally:
        spool.close()


def filled(folder: Path, steps: range, num_groups: int = 2) -> list[Path]:
    with opened(folder) as spool:
        for step in steps:
            spool.append(report(step, num_groups))
    return files(folder)


def files(folder: Path, run_id: str = "r") -> list[Path]:
    return sorted(folder.glob(f"{run_id}/*{SUFFIX}"))


def drained(spool: Spool) -> list[StepReport]:
    """All reports, taken as the sender takes them."""
    found: list[StepReport] = []
    while spool:
        batch = spool.head(32)
        found += batch
        spool.forget(len(batch))
    return found


def test_reports_come_back_whole_and_in_order_and_leave_nothing_behind(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 51))
    with opened(tmp_path) as spool:
        assert (len(spool), spool.first_step, spool.last_step) == (50, 1, 50)
        spool.append(report(51))
        assert drained(spool) == [report(step) for step in range(1, 52)]
        assert not files(tmp_path)
    assert left_behind(tmp_path) == []


def test_what_was_delivered_in_part_goes_on_where_it_was(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 41))
    with opened(tmp_path) as spool:
        spool.forget(1)
        assert [one.step for one in spool.head(3)] == [2, 3, 4]
        spool.append(report(41))
        assert [one.step for one in drained(spool)] == list(range(2, 42))


WRITER = """
import sys
import tracemalloc
from pathlib import Path
from tests.trainer.test_spool import report
from trainer.spool import Spool
spool = Spool(Path(sys.argv[1]), "r", after_step=0)
for step in range(1, 10**6):
    spool.append(report(step))
    print(step, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 100:
                break
        writer.kill()
        last_said = [int(line) for line in writer.stdout.read().split("\n")[:-1]][-1:] or [100]
    with opened(tmp_path) as spool:
        steps = [one.step for one in drained(spool)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) in (last_said[0], last_said[0] + 1)


def test_a_torn_last_report_is_cut_off_wherever_it_was_torn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as spool:
        for step in (1, 2):
            spool.append(report(step))
        (file,) = files(tmp_path)
        size_of_two = file.stat().st_size
        spool.append(report(3))
    whole = file.read_bytes()
    for size in range(size_of_two + 1, len(whole), 5):
        file.write_bytes(whole[:size])
        with opened(tmp_path) as spool:
            assert [one.step for one in spool.head(32)] == [1, 2]
        torn = size - size_of_two
        assert caplog.messages[-1].startswith(f"the last {torn} bytes of {file} are torn")


def test_a_damaged_file_keeps_what_comes_before_and_the_files_after_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, _second = filled(tmp_path, range(1, 41))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    with opened(tmp_path) as spool:
        steps = [one.step for one in drained(spool)]
    good = steps[: steps.index(33)]
    assert good == list(range(1, len(good) + 1))
    assert 10 < len(good) < 20
    assert steps == [*good, *range(33, 41)]
    assert f"{first} are torn or damaged; {len(good)} reports before them" in caplog.text


def test_a_file_damaged_from_its_start_is_gone_but_not_the_others(tmp_path: Path) -> None:
    first, _second = filled(tmp_path, range(1, 41))
    first.write_bytes(os.urandom(500))
    with opened(tmp_path) as spool:
        assert [one.step for one in drained(spool)] == list(range(33, 41))


def test_steps_that_are_trained_again_are_deleted_for_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, range(1, 101))
    with opened(tmp_path, after_step=40) as spool:
        assert (len(spool), spool.last_step) == (40, 40)
    assert caplog.messages == [
        f"60 undelivered reports in {tmp_path}/r are deleted: steps after 40 are trained again"
    ]
    with opened(tmp_path) as spool:
        spool.append(report(41, num_groups=3))
        assert drained(spool)[-1] == report(41, num_groups=3)


def test_a_full_spool_drops_its_oldest_and_keeps_to_its_bound(tmp_path: Path) -> None:
    dropped: list[int] = []
    with opened(tmp_path) as spool:
        # 1,000 groups of 2 are 16 kB: a MiB holds about 65.
        for step in range(1, 201):
            dropped += spool.append(report(step, num_groups=1000))
            held = sum(path.stat().st_size for path in files(tmp_path))
            assert held <= MIN_SPOOL_BYTES
        assert len(spool) > 50
        assert dropped == list(range(1, 201 - len(spool)))
        assert [one.step for one in drained(spool)] == list(range(len(dropped) + 1, 201))


def test_a_report_larger_than_the_spool_is_dropped_itself(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        assert spool.append(report(1, num_groups=100_000)) == [1]
        assert not spool
        spool.append(report(2))
        assert spool.first_step == 2


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Writes beyond this fail, as on a full disk (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_costs_only_what_it_did_not_take(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.append(report(1))
        with largest_file(1000):
            with pytest.raises(OSError, match="File too large"):
                spool.append(report(2, num_groups=1000))
            with pytest.raises(OSError, match="File too large"):
                spool.append(report(2, num_groups=1000))
        assert len(files(tmp_path)) == 1
        spool.append(report(2, num_groups=1000))
        assert [one.step for one in drained(spool)] == [1, 2]


HOLDER = """
import os, sys, time
from pathlib import Path
from trainer.spool import Spool
spool = Spool(Path(sys.argv[1]), "r", after_step=0)
worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep(600)
"""


def test_two_processes_cannot_hold_one_spool_and_a_forked_worker_holds_none(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(SpoolUnusable, match=r"/r: another process holds it"):
                Spool(tmp_path, "r", after_step=0)
            holder.kill()
            holder.wait()
            with opened(tmp_path):
                os.kill(worker, 0)  # It lives on.
        finally:
            holder.kill()
            os.kill(worker, 9)


def test_two_clients_of_one_process_cannot_hold_one_spool(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SpoolUnusable, match="another client of this process"):
        Spool(tmp_path, "r", after_step=0)
    with opened(tmp_path) as again:
        again.append(report(1))


def test_the_spool_of_another_run_is_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 3))
    (tmp_path / "r").rename(tmp_path / "other")
    before = {path: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    with pytest.raises(SpoolUnusable, match="of run 'r'; it is left alone"):
        Spool(tmp_path, "other", after_step=0)
    assert {path: path.read_bytes() for path in (tmp_path / "other").iterdir()} == before
    with opened(tmp_path) as spool:  # Another run may have its own beside it.
        assert not spool
    assert left_behind(tmp_path) == ["other"]


@pytest.mark.parametrize("change", [{"format": 2}, {"schema": 0}])
def test_a_spool_of_another_version_is_left_alone(
    tmp_path: Path, change: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in change.items():
        monkeypatch.setattr(f"trainer.spool.{name.upper()}", value)
    (file,) = filled(tmp_path, range(1, 3))
    monkeypatch.undo()
    before = file.read_bytes()
    with pytest.raises(SpoolUnusable, match=r"of another version \(format .*left alone"):
        Spool(tmp_path, "r", after_step=0)
    assert file.read_bytes() == before
    monkeypatch.setattr("trainer.spool.FORMAT", change.get("format", 1))
    monkeypatch.setattr("trainer.spool.SCHEMA", change.get("schema", 1))
    with opened(tmp_path) as spool:  # The version that wrote it still can.
        assert [one.step for one in drained(spool)] == [1, 2]


def test_a_report_with_fields_nobody_knows_here_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(StepReport, frozen=True, kw_only=True):
        mood: str = ""

    monkeypatch.setattr("trainer.spool.StepReport", Later)
    with opened(tmp_path) as spool:
        spool.append(Later(step=1, rewards=[[1.0]], mood="calm"))
    monkeypatch.undo()
    with pytest.raises(SpoolUnusable, match=r"not of this version .*mood.*left alone"):
        Spool(tmp_path, "r", after_step=0)
    assert len(files(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_or_written_names_itself_and_the_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").write_text("a file")
    for folder, reason in [
        (tmp_path / "taken", "Not a directory"),
        (Path("/proc/acr"), "No such file or directory"),
    ]:
        with pytest.raises(SpoolUnusable, match=f"{folder}/r: {reason}"):
            Spool(folder, "r", after_step=0)


def test_files_that_vanish_are_noticed_when_they_are_read(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for step in range(1, 41):
            spool.append(report(step))
        files(tmp_path)[0].unlink()
        with pytest.raises(SpoolUnusable, match="No such file"):
            spool.head(32)
        assert spool.drop_oldest() == list(range(1, 33))
        assert [one.step for one in drained(spool)] == list(range(33, 41))


def test_of_a_thousand_reports_on_disk_hardly_anything_is_in_memory(tmp_path: Path) -> None:
    def run() -> int:
        with opened(tmp_path, max_bytes=64 * MIN_SPOOL_BYTES) as spool:
            assert len(spool) == 1000
            spool.head(32)
            return tracemalloc.get_traced_memory()[1]

    with opened(tmp_path, max_bytes=64 * MIN_SPOOL_BYTES) as spool:
        for step in range(1, 1001):
            spool.append(report(step, num_groups=1000))
    assert sum(path.stat().st_size for path in files(tmp_path)) > 16_000_000
    tracemalloc.start()
    try:
        # One file of at most a MiB at a time, as bytes, as frames and as reports.
        assert run() < 4 * 2**20
    finally:
        tracemalloc.stop()
