"""The sinks that a configuration names."""

from collections.abc import Callable, Sequence

import httpx

from monitor_service.alerts.config import AlertConfig
from monitor_service.alerts.log import LogSink
from monitor_service.alerts.post import PostSink
from monitor_service.alerts.sink import Sink
from monitor_service.alerts.slack import slack
from monitor_service.alerts.webhook import webhook


def sinks(
    config: AlertConfig,
    client: httpx.AsyncClient,
    *,
    timeout_s: float,
    clock: Callable[[], float],
) -> Sequence[Sink]:
    """Every sink, named by its kind and, from the second of a kind on, by its number."""
    kinds = (
        ("webhook", config.webhook_urls, webhook(config.webhook_secret, clock)),
        ("slack", config.slack_urls, slack),
    )
    return [
        *([LogSink()] if config.log else []),
        *(
            PostSink(
                kind if number == 1 else f"{kind}-{number}",
                url,
                encode,
                client,
                timeout_s=timeout_s,
                clock=clock,
            )
            for kind, urls, encode in kinds
            for number, url in enumerate(urls, 1)
        ),
    ]
