"""Everything this project raises on purpose. No error here knows HTTP.

AcrError
├── InvalidInput          the caller's data is wrong: field, value, what is allowed   (ValueError)
│   ├── UnreadableInput   not even parseable as the format it claims to be
│   └── UnknownFormat     a format we do not read
├── InputTooLarge         more than a configured limit allows
├── RunNotFound           no run has this id
├── Conflict              valid, but contradicts what is recorded
│   ├── StepConflict      the step is recorded with other content
│   ├── AttemptConflict   the report belongs to an attempt that is no longer the newest
│   └── RevisionConflict  the settings were changed by someone else in between
├── Contention            the run moved under every retry; nothing was written, try again
├── StoreUnavailable      Redis does not answer; nothing is half-written
├── StoreCorrupt          Redis holds something this version cannot read
└── StartupError          the service cannot start as configured
"""

from reprlib import Repr
from typing import Any

MAX_FIELD_CHARS = 200
"""A field may be a key of the caller's, and is repeated to them."""


class AcrError(Exception):
    """Base of the hierarchy."""


class InvalidInput(AcrError, ValueError):
    """One field of the caller's data is wrong.

    Args:
        field: path of the field, such as `threshold` or `rewards[3]`; shown shortened.
        value: the value found; shown shortened.
        allowed: what would have been accepted, in words.
    """

    def __init__(self, field: str, value: Any, allowed: str) -> None:
        is_short = len(field) <= MAX_FIELD_CHARS
        self.field = field if is_short else field[:MAX_FIELD_CHARS] + "..."
        self.value = _shorten(value)
        self.allowed = allowed
        super().__init__(f"{self.field}: {allowed}; got {self.value}")


class UnreadableInput(InvalidInput):
    """The body is not what its content type says."""


class UnknownFormat(InvalidInput):
    """The body is in a format we do not read."""


class InputTooLarge(AcrError):
    """The body or a count in it exceeds a limit."""


class RunNotFound(AcrError):
    """No run has this id; it has to be created first."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run {run_id!r}; create it first")


class Conflict(AcrError):
    """Valid in itself, but in contradiction to what is recorded."""


class StepConflict(Conflict):
    """The step is recorded already, with other content."""


class AttemptConflict(Conflict):
    """The report comes from an attempt that a resume has replaced."""


class RevisionConflict(Conflict):
    """The settings have another revision than the caller saw.

    Args:
        message: who changed what in between.
        settings: the settings as they are now.
    """

    def __init__(self, message: str, *, settings: Any) -> None:
        self.settings = settings
        super().__init__(message)


class Contention(AcrError):
    """Too many writers moved the run at once; nothing was written."""


class StoreUnavailable(AcrError):
    """Redis does not answer.

    What was asked happened whole or not at all; after a time-out nobody can say which, so repeat
    it: a report that is repeated changes nothing.
    """


class StoreCorrupt(AcrError):
    """Redis holds a value this version cannot read."""


class StartupError(AcrError):
    """The service cannot start as configured."""


class _Short(Repr):
    """A repr of bounded cost and depth: bodies can be large, or nested to the limit."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxlong = self.maxother = 80


def _shorten(value: Any) -> str:
    text = _Short().repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
