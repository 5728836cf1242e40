"""`python -m monitor_service.ready`: exit 0 when the monitor on this machine takes reports.

For container health checks, which run it every few seconds: the standard library only, and
http.client, which never asks a proxy for loopback.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 3.0


def is_ready(port: int) -> bool:
    """Whether a monitor listens on this port and its store answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ.get("ACR_PORT", "8400"))))
