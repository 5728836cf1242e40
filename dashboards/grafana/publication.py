"""Dashboards into a folder of Grafana, so that publishing twice is publishing once.

What was published is known by the message of the dashboard's newest version: it names a digest of
what was sent. The content itself is not compared, since versions of Grafana rewrite what they save.
A newest version without such a message is somebody else's work, and is left alone.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from dashboards.grafana.answers import Datasource, Folder, Version
from dashboards.grafana.connection import Grafana, GrafanaFailed
from monitor_service.__about__ import __version__
from monitor_service.errors import InvalidInput

JSON_DIR = Path(__file__).parents[1] / "json"
MESSAGE = re.compile(r"acr-monitor \S+, content ([0-9a-f]{16})")
MAX_UID_CHARS = 40
REFUSALS = frozenset({400, 409, 412})
"""Statuses of answers about one dashboard, which say nothing about the next."""

Outcome = Literal["created", "updated", "unchanged", "refused"]


class Published(Struct, frozen=True, kw_only=True):
    """What became of a dashboard, or would."""

    uid: str
    title: str
    outcome: Outcome
    url: str | None
    """Where it is; None where it is not yet."""
    why: str = ""
    """Of a refusal, and what to do about it."""


class Publication(Struct, frozen=True, kw_only=True):
    """What became of all of them."""

    folder: str
    """Its uid."""
    is_new_folder: bool
    datasource: str
    """Its uid."""
    dashboards: list[Published]


def publish(
    grafana: Grafana,
    *,
    folder: str,
    datasource_uid: str | None = None,
    monitor_url: str | None = None,
    is_overwriting: bool = False,
    is_dry: bool = False,
) -> Publication:
    """Bring the dashboards of this version into a folder, each where it is missing or another.

    Args:
        grafana: where to.
        folder: title of the folder; created at the top where there is none.
        datasource_uid: the Prometheus that panels ask; None: the only one there is.
        monitor_url: where links to the built-in page lead; None: as the dashboards have it.
        is_overwriting: replace what somebody else saved, too.
        is_dry: look, and change nothing.

    Raises:
        GrafanaFailed: nothing more can be done.
        InvalidInput: no such folder or data source, or more than one.
    """
    grafana.check()
    datasource = _datasource(grafana.datasources(), datasource_uid)
    place, is_new = _folder(grafana, folder)
    if is_new and not is_dry:
        is_new = grafana.create_folder(place.uid, place.title)
    found = [
        _published(
            grafana, filled(document, datasource, monitor_url), place, is_overwriting, is_dry
        )
        for document in documents()
    ]
    return Publication(
        folder=place.uid, is_new_folder=is_new, datasource=datasource.uid, dashboards=found
    )


def documents() -> list[dict[str, Any]]:
    """The dashboards as they are checked in."""
    return [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(JSON_DIR.glob("*.json"))
    ]


def filled(
    document: dict[str, Any], datasource: Datasource, monitor_url: str | None
) -> dict[str, Any]:
    """A dashboard with its variables set."""
    own = deepcopy(document)
    for variable in own["templating"]["list"]:
        if variable["name"] == "datasource":
            variable["current"] = {"text": datasource.name, "value": datasource.uid}
        elif variable["name"] == "monitor_url" and monitor_url is not None:
            address = {"text": monitor_url, "value": monitor_url}
            variable |= {"query": monitor_url, "current": address, "options": [address]}
    return own


def _published(
    grafana: Grafana, document: dict[str, Any], folder: Folder, is_overwriting: bool, is_dry: bool
) -> Published:
    uid, digest = document["uid"], _digest(document)

    def result(outcome: Outcome, why: str = "") -> Published:
        url = None if there is None else there.meta.url
        return Published(uid=uid, title=document["title"], outcome=outcome, url=url, why=why)

    there, over = grafana.dashboard(uid), None
    if there is not None:
        if there.meta.provisioned:
            return result("refused", "Grafana has it from a file, and takes it from nowhere else")
        newest = grafana.newest_version(uid)
        ours = MESSAGE.fullmatch(newest.message)
        if ours and ours[1] == digest and there.meta.folder_uid == folder.uid:
            return result("unchanged")
        if not ours and not is_overwriting:
            return result("refused", _others(newest))
        over = newest.version
    outcome: Outcome = "created" if there is None else "updated"
    if is_dry:
        return result(outcome)
    message = f"acr-monitor {__version__}, content {digest}"
    try:
        saved = grafana.save(document, folder_uid=folder.uid, message=message, over=over)
    except GrafanaFailed as error:
        if error.status not in REFUSALS:
            raise
        return result("refused", f"{error}; look at it there, then publish again")
    return Published(uid=uid, title=document["title"], outcome=outcome, url=saved.url)


def _digest(found: Any) -> str:
    text = json.dumps(found, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _others(newest: Version) -> str:
    words = f" ({newest.message})" if newest.message else ""
    return (
        f"version {newest.version} is not of acr: {newest.created_by or 'somebody'} saved it "
        f"{newest.created}{words}; --overwrite replaces it, and Grafana keeps it in the history"
    )


def _datasource(there: Iterable[Datasource], uid: str | None) -> Datasource:
    known = [one for one in there if one.type == "prometheus"]
    if not known:
        raise GrafanaFailed(
            "Grafana has no Prometheus among its data sources: add the one that scrapes the monitor"
        )
    wanted = [one for one in known if uid in (None, one.uid)]
    if len(wanted) != 1:
        names = ", ".join(f"{one.uid} ({one.name})" for one in known)
        raise InvalidInput("--datasource-uid", uid, f"must be one of {names}")
    return wanted[0]


def _folder(grafana: Grafana, title: str) -> tuple[Folder, bool]:
    """The folder, and whether it is yet to be created; by its uid, whatever it is called now."""
    uid, there = _uid(title), grafana.folders()
    ours = [folder for folder in there if folder.uid == uid]
    found = ours or [folder for folder in there if folder.title == title]
    if len(found) > 1:
        uids = ", ".join(folder.uid for folder in found)
        raise InvalidInput("--folder", title, f"must be the title of one folder, not of {uids}")
    return (found[0], False) if found else (Folder(uid=uid, title=title), True)


def _uid(title: str) -> str:
    """A uid that follows from a title."""
    if not title.strip():
        raise InvalidInput("--folder", title, "must not be empty")
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:MAX_UID_CHARS]
    # Letters that a uid cannot have would make one of different titles.
    return words if words and title.isascii() else f"acr-{_digest(title)}"
