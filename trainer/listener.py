"""Settings from Redis: subscribe, read what is there, then take every publication.

Runs in a thread of the client's and outlives any outage: it connects again, and the key holds
what was published meanwhile.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis

from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.urls import REDIS_SCHEMES, checked, without_password
from monitor_service.wire import decode_settings, settings_channel, settings_key

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
CONNECT_TIMEOUT_S = 5.0
HEALTH_S = 30
"""A connection silent for this long is tried, so that one cut off in silence is noticed."""
POLL_S = 0.5
"""How long to wait for a message before looking whether to end."""

log = logging.getLogger(__name__)


def connection(redis_url: str) -> redis.Redis:
    """A client that connects when it is first used.

    Raises:
        InvalidInput: a URL or an option in it that redis-py does not know.
    """
    checked("monitor_redis_url", redis_url, REDIS_SCHEMES)
    try:
        client = redis.Redis.from_url(
            redis_url, socket_connect_timeout=CONNECT_TIMEOUT_S, health_check_interval=HEALTH_S
        )
        client.connection_pool.make_connection()
    except (ValueError, TypeError) as error:
        shown = without_password(redis_url)
        raise InvalidInput("monitor_redis_url", shown, f"not for redis-py: {error}") from error
    return client


def listen(
    client: redis.Redis,
    run_id: str,
    take: Callable[[Settings], None],
    cannot_read: Callable[[InvalidInput], None],
    closing: threading.Event,
) -> None:
    """Hand every version of a run's settings to `take`, until `closing` is set.

    What this version cannot read goes to `cannot_read`.
    """
    retry_s = FIRST_RETRY_S
    while not closing.is_set():
        try:
            with client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
                subscription.subscribe(settings_channel(run_id))
                # After the subscription, so that nothing falls between the two.
                _receive(client.get(settings_key(run_id)), take, cannot_read)
                retry_s = FIRST_RETRY_S
                while not closing.is_set():
                    message = subscription.get_message(timeout=POLL_S)
                    if message:
                        _receive(message["data"], take, cannot_read)
        except (redis.RedisError, OSError) as error:
            log.debug("no settings from Redis: %s", error)
            closing.wait(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)
    client.close()


def _receive(
    payload: Any,
    take: Callable[[Settings], None],
    cannot_read: Callable[[InvalidInput], None],
) -> None:
    if payload is None:
        return
    try:
        take(decode_settings(payload))
    except InvalidInput as error:
        cannot_read(error)
