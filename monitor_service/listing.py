"""Which runs a page of the list shows, and which `/metrics`; and how all of them stand."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from monitor_service.errors import InvalidInput
from monitor_service.store.roster import Entry, Standing

STANDINGS: tuple[Standing, ...] = get_args(Standing)
MOST = 1000
"""Runs that `/metrics` shows at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of the list.

    Attributes:
        limit: most runs on the page.
        after: where the page before ended, as it said; None: begin with the newest.
        state: only runs of which this is true; None: all that are not deleted.
        tags: only runs with all of these.
        text: only runs with this in their id, in capitals or not.
        allows: whether whoever asks may see a run of this id.
    """

    limit: int = 100
    after: str | None = None
    state: Standing | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    allows: Callable[[str], bool] = lambda run_id: True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What it shows; `total` is of all pages."""

    run_ids: list[str]
    total: int
    next_after: str | None


def listed(entries: Sequence[Entry], wanted: Wanted, now_s: float) -> Page:
    """A page of the entries, which are newest first; raises InvalidInput."""
    found = [entry for entry in entries if _is_wanted(entry, wanted, now_s)]
    found.sort(key=_place, reverse=True)
    rest = found
    if wanted.after is not None:
        ended = _read(wanted.after)
        rest = [entry for entry in found if _place(entry) < ended]
    page = rest[: wanted.limit]
    return Page(
        run_ids=[entry.run_id for entry in page],
        total=len(found),
        next_after=_written(page[-1]) if len(rest) > len(page) else None,
    )


def reporting(entries: Sequence[Entry], *, idle_s: float, now_s: float) -> list[str]:
    """Runs that gave a sign of life in the last `idle_s` seconds, or the newest `MOST` of them."""
    alive = [
        entry for entry in entries if not entry.is_deleted and entry.newest_at_s >= now_s - idle_s
    ]
    return [entry.run_id for entry in sorted(alive, key=_newest_at_s, reverse=True)[:MOST]]


def standings(entries: Sequence[Entry], now_s: float) -> dict[Standing, int]:
    """How many runs stand how."""
    counts = Counter(entry.standing(now_s) for entry in entries)
    return {standing: counts[standing] for standing in STANDINGS}


def _newest_at_s(entry: Entry) -> float:
    return entry.newest_at_s


def _is_wanted(entry: Entry, wanted: Wanted, now_s: float) -> bool:
    if wanted.state is None:
        if entry.is_deleted:
            return False
    elif entry.standing(now_s) != wanted.state:
        return False
    return (
        wanted.text.lower() in entry.run_id.lower()
        and all(entry.tags.get(name) == text for name, text in wanted.tags.items())
        and wanted.allows(entry.run_id)
    )


def _place(entry: Entry) -> tuple[float, str]:
    return entry.created_at_s, entry.run_id


def _written(entry: Entry) -> str:
    """Where a page ends: it stays a place when that run is purged."""
    return f"{entry.created_at_s!r}:{entry.run_id}"


def _read(text: str) -> tuple[float, str]:
    created, _, run_id = text.partition(":")
    try:
        return float(created), run_id
    except ValueError as error:
        raise InvalidInput("after", text, "must be the next_after of a page") from error
