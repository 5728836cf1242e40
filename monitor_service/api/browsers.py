"""Web pages: what every reply tells the browser, and which pages may ask a monitor without tokens.

There is no CORS: no reply allows another origin anything.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType

from starlette.types import Message, Scope, Send

from monitor_service.errors import HostNotServed
from monitor_service.web.page import SCRIPTS

_PAGE = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_NOTHING = f"default-src 'none'; {_PAGE}".encode()
_POLICIES: Mapping[str, bytes] = MappingProxyType(
    {
        "/": f"default-src 'self'; script-src 'self' {SCRIPTS}; {_PAGE}".encode(),
        # Its script is written into the page, in which there is nothing that anybody sent us.
        "/docs": (
            "default-src 'none'; connect-src 'self'; img-src data: https://fastapi.tiangolo.com; "
            "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
            f"style-src 'unsafe-inline' https://cdn.jsdelivr.net; {_PAGE}"
        ).encode(),
    }
)
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OVER_TLS = (b"strict-transport-security", b"max-age=31536000")


@lru_cache
def _headers(policy: bytes, scheme: str) -> Sequence[tuple[bytes, bytes]]:
    found = (*_ALWAYS, (b"content-security-policy", policy))
    return (*found, _OVER_TLS) if scheme == "https" else found


def marked(scope: Scope, send: Send) -> Send:
    """The same, with the headers that every reply has."""
    more = _headers(_POLICIES.get(scope["path"], _NOTHING), scope["scheme"])

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *more]
        await send(message)

    return send_marked


class Names:
    """The names that a monitor goes by where no token keeps strangers out.

    A page reaches what its reader reaches, so all that is open on this machine. One that gave its
    own name our address is known by the host it asks for, one that sends blindly by its origin.
    """

    def __init__(self, allowed: tuple[str, ...], *, are_all_known: bool) -> None:
        """`allowed` are names beside `localhost` and addresses, in lower case.

        `are_all_known` says that no other is possible; else only origins are checked.
        """
        self._allowed = frozenset((*allowed, "localhost"))
        self._are_all_known = are_all_known
        self._is_ours = lru_cache(256)(self._look_up)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises HostNotServed for a page of somebody else."""
        host = headers.get(b"host", b"")
        if self._are_all_known and not self._is_ours(host):
            raise HostNotServed(
                f"{host.decode('latin-1')!r} is not a name of this monitor: use an address or "
                "localhost, or name it in ACR_ALLOWED_HOSTS"
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise HostNotServed(f"pages of {origin.decode('latin-1')!r} may not ask this monitor")

    def _look_up(self, host: bytes) -> bool:
        name = host.decode("latin-1").lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        # Nobody can give an address another meaning, as the owner of a name can.
        return name in self._allowed or is_address(name)


def is_address(text: str) -> bool:
    """Whether this is an address of IPv4 or IPv6."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
