"""The built-in page: one HTML file and its assets, which hold nothing of anybody's runs.

Everything it shows it asks of the REST API, with the token that its reader typed in. So the files
themselves are served to whoever asks.
"""

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_HERE = Path(__file__).parent
_HTML = (_HERE / "index.html").read_text(encoding="utf-8")
_ASSETS = "/assets/"
_REVALIDATED = {"cache-control": "no-cache"}
"""A browser keeps the files, and asks each time whether they are still the same."""

SCRIPTS = " ".join(
    f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    for script in re.findall(r"<script[^>]*>([^<]+)</script>", _HTML)
)
"""What a content security policy has to let through beside files: where modules are found."""


def is_page(path: str) -> bool:
    """Whether a path is of the page and its files."""
    return path == "/" or path.startswith(_ASSETS)


def routes() -> list[BaseRoute]:
    """The page at `/` and its files."""
    return [
        Route("/", _index, methods=["GET"]),
        Mount(_ASSETS.rstrip("/"), _Assets(directory=_HERE / "assets")),
    ]


async def _index(_: Request) -> Response:
    return HTMLResponse(_HTML, headers=_REVALIDATED)


class _Assets(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_REVALIDATED)
        return response
