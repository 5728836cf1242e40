"""Alerts as JSON, signed, for programs.

The signature covers the time, so that what was overheard cannot be sent again later:
`t=<Unix time>,v1=<hex of HMAC-SHA256(secret, "<t>.<body>")>`.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

import msgspec

from monitor_service.alert import Alert
from monitor_service.alerts.post import Encode

SIGNATURE = "acr-signature"


def webhook(secret: str | None, clock: Callable[[], float]) -> Encode:
    """Bodies for a webhook; without a secret they are not signed."""

    def encode(alert: Alert) -> tuple[bytes, Mapping[str, str]]:
        body = msgspec.json.encode(alert)
        headers = {"content-type": "application/json", "idempotency-key": alert.id}
        if secret is not None:
            headers[SIGNATURE] = signature(body, secret, int(clock()))
        return body, headers

    return encode


def signature(body: bytes, secret: str, at_s: int) -> str:
    """The header's value for a body sent at this Unix time."""
    signed = hmac.new(secret.encode(), b"%d.%b" % (at_s, body), hashlib.sha256)
    return f"t={at_s},v1={signed.hexdigest()}"
