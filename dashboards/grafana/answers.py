"""What Grafana answers, as far as it is read."""

from typing import Any

from msgspec import Struct


class Health(Struct, frozen=True):
    """Of the server."""

    database: str
    version: str = ""
    """Empty where it is hidden from strangers."""


class Folder(Struct, frozen=True):
    """A folder of dashboards."""

    uid: str
    title: str


class Datasource(Struct, frozen=True):
    """Where panels get their figures."""

    uid: str
    name: str
    type: str


class Meta(Struct, frozen=True, rename="camel"):
    """What Grafana knows of a dashboard beside its content."""

    url: str
    folder_uid: str = ""
    provisioned: bool = False


class Dashboard(Struct, frozen=True):
    """A dashboard that is there; its content is not read, since versions of Grafana rewrite it."""

    meta: Meta


class Version(Struct, frozen=True, rename="camel"):
    """One entry of a dashboard's history."""

    version: int
    created: str = ""
    created_by: str = ""
    message: str = ""


class Versions(Struct, frozen=True):
    """A page of a dashboard's history, the newest first."""

    versions: list[Version]


HISTORY: Any = list[Version] | Versions
"""A page since Grafana 11.6, and only what is on it before that."""


class Saved(Struct, frozen=True):
    """A dashboard that was just saved."""

    url: str


class Annotation(Struct, frozen=True, rename="camel"):
    """A moment or a region on the time axis."""

    id: int
    tags: list[str] | None
    time_end: int


class Created(Struct, frozen=True):
    """What was just created."""

    id: int


class Done(Struct, frozen=True):
    """What Grafana says about a request."""

    message: str
