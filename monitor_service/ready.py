"""`python -m monitor_service.ready`: exit 0 when the monitor on this machine takes reports.

For container health checks, which run it every few seconds: the standard library only, and
http.client, which never asks a proxy for loopback. It needs no token, and takes any certificate:
that names the address others use.
"""

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

TIMEOUT_S = 3.0


def is_ready(port: int, *, over_tls: bool = False) -> bool:
    """Whether a monitor listens on this port and its store answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    if over_tls:
        any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        any_certificate.check_hostname = False
        any_certificate.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=any_certificate)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    has_certificate = bool(os.environ.get("ACR_TLS_CERT"))
    sys.exit(not is_ready(int(os.environ.get("ACR_PORT") or "8400"), over_tls=has_certificate))
