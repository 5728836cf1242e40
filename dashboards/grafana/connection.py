"""One Grafana, asked over HTTP: typed answers, or an error whose text says what to do."""

import os
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from dashboards.grafana.answers import (
    HISTORY,
    Annotation,
    Created,
    Dashboard,
    Datasource,
    Done,
    Folder,
    Health,
    Saved,
    Version,
    Versions,
)
from monitor_service.__about__ import __version__
from monitor_service.client.http import checked_token
from monitor_service.errors import InvalidInput
from monitor_service.urls import HTTP_SCHEMES, checked, without_password

INSTALL = "acr grafana needs grafana-client: pip install 'acr-monitor[grafana]'"
TIMEOUT_S = 10.0
FIRST_WITH_UIDS = 9
"""The version since which all that is asked for here goes by uid."""
PAGE = 1000
"""Things of a list that are asked for at once."""
TAKEN = frozenset({409, 412})
"""The one is documented, the other is what newer versions answer."""
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY_REQUESTS, SERVER_ERROR = 401, 403, 404, 429, 500

T = TypeVar("T")


class GrafanaFailed(Exception):
    """Grafana refuses, fails, or cannot be reached.

    Args:
        text: what went wrong, and what to do about it.
        status: of the answer; None without one.
        is_passing: whether the same may work later. What was to be changed may have been.
    """

    def __init__(self, text: str, *, status: int | None = None, is_passing: bool = False) -> None:
        self.status = status
        self.is_passing = is_passing
        super().__init__(text)


class Grafana:
    """A Grafana; every call raises GrafanaFailed. Use it as a context."""

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Connects to nothing yet.

        Args:
            url: such as `https://example.org/grafana`.
            token: of a service account.
            timeout_s: longest wait for a connection, and between two pieces of an answer.

        Raises:
            GrafanaFailed: the library that asks it is not installed.
            InvalidInput: what can be no address or no token, or an address with a password in it.
        """
        parts = urlsplit(checked("--grafana-url", url, HTTP_SCHEMES))
        if "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable():
            allowed = "must be an address alone; the token comes from the environment"
            raise InvalidInput("--grafana-url", without_password(url), allowed)
        self.url = url.rstrip("/")
        try:
            # Slow, and only of use here.
            from grafana_client import GrafanaApi
        except ImportError as error:
            raise GrafanaFailed(INSTALL) from error
        # Not by `from_url`: it loses the brackets of an IPv6 address and the end of a path.
        protocol, _, place = self.url.partition("://")
        self._api: Any = GrafanaApi(
            checked_token(token),
            protocol=protocol,
            host=place,
            # The variable of all other commands; `requests` knows others.
            verify=os.environ.get("SSL_CERT_FILE") or True,
            timeout=timeout_s,
            user_agent=f"acr/{__version__}",
        )
        # A redirect would lose what is sent.
        self._api.client.s.max_redirects = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.client.s.close()

    def check(self) -> None:
        """That it is a Grafana, and not too old."""
        try:
            health = self._asked(Health, "tell how it is", "no permission", self._api.health.check)
        except GrafanaFailed as error:
            if error.status != NOT_FOUND:
                raise
            text = f"what answers at {self.url} is not a Grafana, or its address has a path that is"
            raise GrafanaFailed(f"{text} missing here (404)", status=NOT_FOUND) from error
        major = health.version.partition(".")[0]
        if major.isdecimal() and int(major) < FIRST_WITH_UIDS:
            raise GrafanaFailed(
                f"the Grafana at {self.url} is {health.version}: {FIRST_WITH_UIDS}.0 is the first "
                "that finds dashboards and their versions by uid"
            )

    def folders(self) -> list[Folder]:
        """All that the token may see, wherever they are.

        Not by uid: of one that is not there Grafana tells an editor that he may not see it.
        """
        what, needs, found = "list the folders", "folders:read", list[Folder]()
        while True:
            path = f"/search?type=dash-folder&limit={PAGE}&page={len(found) // PAGE + 1}"
            more = self._asked(list[Folder], what, needs, self._api.client.GET, path)
            found += more
            if len(more) < PAGE:
                return found

    def create_folder(self, uid: str, title: str) -> bool:
        """Create it, at the top; False: the uid is taken, so it is there."""
        ask = self._api.folder.create_folder
        try:
            self._asked(Folder, "create a folder", "folders:create", ask, title, uid)
        except GrafanaFailed as error:
            if error.status in TAKEN:
                return False
            raise
        return True

    def datasources(self) -> list[Datasource]:
        """All there are."""
        what, ask = "list the data sources", self._api.datasource.list_datasources
        return self._asked(list[Datasource], what, "datasources:read", ask)

    def dashboard(self, uid: str) -> Dashboard | None:
        """The dashboard; None: there is none."""
        what, ask = "show a dashboard", self._api.dashboard.get_dashboard
        try:
            return self._asked(Dashboard, what, "dashboards:read", ask, quote(uid, safe=""))
        except GrafanaFailed as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def newest_version(self, uid: str) -> Version:
        """The version of a dashboard that counts."""
        what, ask = "show the versions of a dashboard", self._api.client.GET
        # The library's own method sends the limit as a body, where Grafana does not look.
        path = f"/dashboards/uid/{quote(uid, safe='')}/versions?limit=1"
        found = self._asked(HISTORY, what, "dashboards:write", ask, path)
        versions = found.versions if isinstance(found, Versions) else found
        if not versions:
            raise GrafanaFailed(f"Grafana has the dashboard {uid} without any version of it")
        return versions[0]

    def save(
        self, document: dict[str, Any], *, folder_uid: str, message: str, over: int | None
    ) -> Saved:
        """Save a dashboard over a version of it, or as a new one; fails when there is a newer."""
        content = document if over is None else {**document, "version": over}
        body = {"dashboard": content, "folderUid": folder_uid, "message": message}
        what, needs = f"save the dashboard {document['uid']}", "dashboards:create, dashboards:write"
        ask = self._api.dashboard.update_dashboard
        return self._asked(Saved, what, needs, ask, {**body, "overwrite": False})

    def annotations(self, *tags: str) -> list[Annotation]:
        """Those that have all these tags."""
        what, needs, limit = "list annotations", "annotations:read", PAGE
        ask, quoted = self._api.annotations.get_annotation, [quote(tag, safe="") for tag in tags]
        while True:
            named = {"tags": quoted, "ann_type": "annotation", "limit": limit}
            found = self._asked(list[Annotation], what, needs, ask, **named)
            if len(found) < limit:
                # Some databases compare without regard to case.
                return [one for one in found if {*tags} <= {*(one.tags or ())}]
            # There is no page after the first: ask for more.
            limit *= 4

    def annotate(
        self, *, start_ms: int, end_ms: int, tags: list[str], text: str, dashboard_uid: str | None
    ) -> Annotation:
        """Write an annotation; `text` is HTML; without a dashboard it is the organisation's."""
        what, ask = "write an annotation", self._api.annotations.add_annotation
        body = {"time_from": start_ms, "time_to": end_ms, "dashboard_uid": dashboard_uid}
        created = self._asked(
            Created, what, "annotations:create", ask, tags=tags, text=text, **body
        )
        return Annotation(id=created.id, tags=tags, time_end=end_ms)

    def end(self, annotation: Annotation, end_ms: int, text: str | None) -> Annotation | None:
        """Make it a region that ends there; without a text it keeps its own. None: it is gone."""
        what, ask = "change an annotation", self._api.annotations.partial_update_annotation
        # None is what stays; by default the library would take the tags away.
        changed = {"time_to": end_ms, "text": text, "tags": None}
        try:
            self._asked(Done, what, "annotations:write", ask, annotation.id, **changed)
        except GrafanaFailed as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return msgspec.structs.replace(annotation, time_end=end_ms)

    def _asked(
        self, kind: type[T], what: str, needs: str, ask: Callable[..., Any], *args: Any, **more: Any
    ) -> T:
        """The answer, as a `kind`; `what` is asked of Grafana, `needs` the permission for it."""
        from grafana_client.client import GrafanaException
        from requests import JSONDecodeError, TooManyRedirects

        try:
            return msgspec.convert(ask(*args, **more), kind)
        except GrafanaException as error:
            raise self._refusal(error.status_code, error.response, what, needs) from error
        except TooManyRedirects as error:
            reply: Any = error.response
            place = reply.headers["location"]
            text = f"{self.url} redirects to {place}: give the address of Grafana itself"
            raise GrafanaFailed(text, status=reply.status_code) from error
        except (JSONDecodeError, msgspec.ValidationError) as error:
            text = f"what answers at {self.url} is not a Grafana, or not one that is understood"
            raise GrafanaFailed(f"{text}: {error}") from error
        except (OSError, ValueError) as error:  # The latter of a host that is no name.
            text = f"no Grafana answers at {self.url}, as --grafana-url has it: {_root(error)}"
            raise GrafanaFailed(text, is_passing=True) from error

    def _refusal(self, status: int, answer: Any, what: str, needs: str) -> GrafanaFailed:
        is_failure = status >= SERVER_ERROR
        words = answer.get("message", answer) if isinstance(answer, dict) else answer
        said = f"{' '.join(str(words).split())[:300]} ({status})".lstrip()
        text = f"Grafana at {self.url} {'failed' if is_failure else 'refuses'} to {what}: {said}"
        if status == UNAUTHORIZED:
            text += "; is the token that of a service account there, and has it expired?"
        elif status == FORBIDDEN:
            text += f"; the token's service account needs {needs}, as the role Editor has"
        is_passing = is_failure or status == TOO_MANY_REQUESTS
        return GrafanaFailed(text, status=status, is_passing=is_passing)


def _root(error: BaseException) -> str:
    """What the network said, which the layers above it have wrapped."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
