"""`/metrics` under many scrapes: one rendering for all who ask at about the same time."""

import asyncio

import pytest

from monitor_service.api import scrape
from monitor_service.api.scrape import Scrape
from monitor_service.errors import StoreUnavailable
from monitor_service.monitor import Monitor
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun
from tests.servers import stock_redis
from tests.service.reports import new_run_id, recorded, report


@pytest.fixture
async def run_id(monitor: Monitor) -> str:
    found, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, found.id, report(1))
    return found.id


def step(text: bytes, run_id: str) -> str:
    (line,) = [
        one for one in text.decode().splitlines() if one.startswith(f'acr_step{{run="{run_id}"}}')
    ]
    return line.rpartition(" ")[2]


async def test_a_storm_of_scrapes_is_one_rendering(monitor, run_id):
    shared = Scrape(monitor)
    texts = await asyncio.gather(*(shared.text() for _ in range(100)))
    assert all(text is texts[0] for text in texts)
    assert await shared.text() is texts[0]
    assert step(texts[0], run_id) == "1"


async def test_after_a_second_the_text_is_made_anew(monitor, run_id, monkeypatch):
    shared = Scrape(monitor)
    first = await shared.text()
    await recorded(monitor, run_id, report(2))
    assert step(await shared.text(), run_id) == "1"
    monkeypatch.setattr(scrape, "FRESH_S", 0.0)
    second = await shared.text()
    assert (step(first, run_id), step(second, run_id)) == ("1", "2")


async def test_one_who_leaves_spoils_it_for_nobody(monitor, run_id):
    shared = Scrape(monitor)
    leaving, staying = (asyncio.create_task(shared.text()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert step(await staying, run_id) == "1"


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(folder, clock):
    with stock_redis(folder) as url:
        store = RedisStore(url)
        monitor = Monitor(store, clock)
    shared = Scrape(monitor)
    failed = await asyncio.gather(*(shared.text() for _ in range(5)), return_exceptions=True)
    assert {type(error) for error in failed} == {StoreUnavailable}
    with stock_redis(folder):
        assert b"acr_build_info" in await shared.text()
        monitor.close()
        await store.close()
