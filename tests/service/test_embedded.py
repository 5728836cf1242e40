"""The embedded Valkey: its data outlive every way to end, and it never outlives its owner."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
import redis

from monitor_service.errors import StartupError
from monitor_service.store.embedded import EmbeddedValkey
from tests.servers import answers, embedded_valkey, eventually, is_running

OWNER = """
import sys, threading
from pathlib import Path
from monitor_service.store.embedded import EmbeddedValkey
with EmbeddedValkey(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    threading.Event().wait()
"""


@contextmanager
def owner(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Another process that holds an embedded server, and the server's URL; killed in the end."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


def server_pid(url: str) -> int:
    with client(url) as connection:
        pid: int = connection.info("server")["process_id"]
        return pid


def test_data_are_there_after_a_stop_and_a_start(folder):
    with embedded_valkey(folder) as url, client(url) as connection:
        connection.set("step", 7)
    assert not answers(url)
    with embedded_valkey(folder) as url, client(url) as connection:
        assert connection.get("step") == b"7"


def test_a_missing_data_directory_is_made_for_its_owner_only(folder):
    with embedded_valkey(folder / "runs" / "acr") as url:
        assert answers(url)
    assert (folder / "runs" / "acr").stat().st_mode & 0o777 == 0o700


def test_the_server_ends_when_its_owner_is_killed(folder):
    with owner(folder) as (process, url):
        pid = server_pid(url)
        process.kill()
        process.wait()
        eventually(lambda: not is_running(pid), "the server is gone")


def test_nothing_acknowledged_is_lost_when_the_owner_is_killed(folder):
    with owner(folder) as (process, url):
        with client(url) as connection:
            for step in range(1, 201):
                connection.set("step", step)
        process.kill()
        process.wait()
        # At once, while the old server may still be writing its file.
        with embedded_valkey(folder) as url, client(url) as connection:
            assert connection.get("step") == b"200"


def test_a_second_monitor_on_the_same_data_is_refused_and_the_first_goes_on(folder):
    with owner(folder) as (_, url):
        with (
            pytest.raises(StartupError, match=r"in use by another monitor.*--data-dir"),
            EmbeddedValkey(folder, lock_timeout_s=0.05),
        ):
            pass
        assert answers(url)


def test_while_the_server_of_a_killed_owner_still_ends_nobody_else_starts(folder):
    with owner(folder) as (process, url):
        pid = server_pid(url)
        os.kill(pid, SIGSTOP)  # As slow as can be.
        process.kill()
        process.wait()
    try:
        with pytest.raises(StartupError), EmbeddedValkey(folder, lock_timeout_s=0.05):
            pass
    finally:
        os.kill(pid, SIGCONT)
    with embedded_valkey(folder) as url:
        assert answers(url)


def test_a_data_directory_too_long_for_a_socket_works_and_leaves_nothing_behind(folder):
    deep = folder / ("a" * 60) / ("b" * 60)
    with embedded_valkey(deep) as url, client(url) as connection:
        connection.set("step", 7)
        # unix:// and at most 100 bytes, of the 108 that Linux allows.
        socket = Path(url.removeprefix("unix://"))
        assert len(str(socket)) <= 100
    assert not socket.parent.exists()
    with embedded_valkey(deep) as url, client(url) as connection:
        assert connection.get("step") == b"7"


@pytest.mark.parametrize("name", ["with space", "per%20cent", "what?", "#1", "Läufe"])
def test_a_data_directory_may_have_any_name(folder, name):
    with embedded_valkey(folder / name) as url:
        assert answers(url)
        assert (folder / name / "valkey.sock").is_socket()


def test_a_killed_server_is_revived_with_its_data(folder):
    with embedded_valkey(folder) as url:
        for life in range(2):
            pid = server_pid(url)
            with client(url) as connection:
                connection.set("life", life)
            os.kill(pid, SIGKILL)
            eventually(lambda: not is_running(pid) and answers(url), "another server answers")  # noqa: B023 - called at once
            with client(url) as connection:
                assert connection.get("life") == str(life).encode()


def test_a_server_killed_while_its_owner_stops_is_not_revived(folder):
    with embedded_valkey(folder) as url:
        os.kill(server_pid(url), SIGKILL)
    assert not answers(url)
    # The lock is free: no server of the first owner is left.
    with EmbeddedValkey(folder, lock_timeout_s=0.0) as server:
        assert answers(server.url)


def test_a_data_directory_that_cannot_be_made_is_refused_by_name(folder):
    (folder / "file").write_text("not a folder")
    with (
        pytest.raises(StartupError, match=f"data directory {folder}/file/data"),
        embedded_valkey(folder / "file" / "data"),
    ):
        pass


def test_a_server_that_does_not_start_is_reported_in_its_own_words(folder):
    with embedded_valkey(folder):
        pass
    (manifest,) = (folder / "appendonlydir").glob("*.manifest")
    manifest.write_text("junk\n")
    with pytest.raises(StartupError, match="manifest"), embedded_valkey(folder):
        pass
    # And the lock is free again.
    manifest.unlink()
    with EmbeddedValkey(folder, lock_timeout_s=0.0) as server:
        assert answers(server.url)
