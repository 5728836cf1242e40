"""Fixtures for every test: folders and servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import short_folder, stock_redis

# Other work shares the machine: a slow example says nothing about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


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
