"""Prometheus, configured as in `deploy/`, scrapes a monitor with tokens and one without."""

from pathlib import Path

import pytest
import redis

from tests.prometheus_server import instant_query, running_prometheus
from tests.service.guarded import guarded, issued

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"


def configured(token_file: Path) -> str:
    """Its configuration, which is for containers, on this machine."""
    text = (DEPLOYED / "prometheus.yml").read_text()
    for ours, theirs in (("monitor:8400", "{target}"), ("/etc/prometheus-token", str(token_file))):
        assert text.count(ours) == 1
        text = text.replace(ours, theirs)
    return text


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["with a token", "without tokens"])
def test_prometheus_scrapes_with_the_file_it_is_given(
    redis_url: str, tmp_path: Path, kind: str
) -> None:
    url, token_file = f"{redis_url}?db=15", DEPLOYED / "no-token"
    if kind == "with a token":
        token_file = tmp_path / "token"
        token_file.write_text(issued(url, "read") + "\n")
    with guarded(url) as base_url:
        target = base_url.removeprefix("http://")
        with running_prometheus(target, tmp_path, configured(token_file)) as prometheus:
            assert instant_query(prometheus, "acr_build_info")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
