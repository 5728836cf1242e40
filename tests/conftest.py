"""Fixtures for every test: folders and servers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import short_folder, stock_redis

# Other work shares the machine: a slow example says nothing about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

# Before anything loads torch, here or in a subprocess: the toy gains nothing from a second thread,
# and processes that compete for cores spend minutes spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder with a path short enough for sockets."""
    with short_folder() as path:
        yield path


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A stock Redis shared by all tests; they keep apart by the ids of their runs."""
    with short_folder() as path, stock_redis(path) as url:
        yield url
