import socket

from monitor_service.ready import is_ready
from tests.servers import api_server, short_folder, stock_redis


def test_a_monitor_is_ready_while_its_store_answers():
    with short_folder() as folder:
        with stock_redis(folder) as redis_url, api_server(redis_url) as url:
            assert is_ready(int(url.rpartition(":")[2]))
        with api_server(redis_url) as url:
            assert not is_ready(int(url.rpartition(":")[2]))


def test_where_nothing_listens_nothing_is_ready():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert not is_ready(port)
