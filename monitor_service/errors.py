"""Everything this project raises on purpose. No error here knows HTTP.

AcrError
├── InvalidInput          the caller's data is wrong: field, value, what is allowed   (ValueError)
│   ├── UnreadableInput   not even parseable as the format it claims to be
│   └── UnknownFormat     a format we do not read
├── InputTooLarge         more than a configured limit allows
├── Unauthorized          no token, or not a valid one
├── Forbidden             a token that is not for this
│   └── TooManyRuns       there may be no further run
├── HostNotServed         asked under a name that this monitor does not go by
├── TooManyRequests       more in a short time than a limit allows
├── Overloaded            more at once than a limit allows
│   └── TooManyStreams    as many watch as may
├── RunNotFound           no run has this id
├── StepNotKept           of this step, what was asked for was never reported or has been dropped
├── RunDeleted            the run was deleted, and can be restored
├── Conflict              valid, but contradicts what is recorded
│   ├── RunConflict       a run of this id exists, and is another
│   ├── StepConflict      the step is recorded with other content
│   ├── AttemptConflict   the report belongs to an attempt that is no longer the newest
│   ├── RunNotDeleted     only a deleted run can be purged
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

    def within(self, place: str) -> "InvalidInput":
        """The same mistake, in this place of something larger."""
        found = type(self)(f"{place}, {self.field}", None, self.allowed)
        found.value = self.value
        found.args = (f"{found.field}: {found.allowed}; got {found.value}",)
        return found


class UnreadableInput(InvalidInput):
    """The body is not what its content type says."""


class UnknownFormat(InvalidInput):
    """The body is in a format we do not read."""


class InputTooLarge(AcrError):
    """The body or a count in it exceeds a limit."""


class Unauthorized(AcrError):
    """A token is needed, and none was given that is valid."""


class Forbidden(AcrError):
    """Whoever asks is known, and may not have this."""


class TooManyRuns(Forbidden):
    """There are as many runs as there may be."""


class HostNotServed(AcrError):
    """The request names a host, or comes from a page, that is not this monitor's.

    That is how a web page looks that was led to a monitor on its reader's machine.
    """


class TooManyRequests(AcrError):
    """More requests in a short time than one caller may send.

    Args:
        message: what the limit is.
        retry_after_s: seconds until there is room again.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Overloaded(AcrError):
    """More requests are under way than may be."""


class TooManyStreams(Overloaded):
    """As many clients watch as may; come again later, or ask another replica."""


class RunNotFound(AcrError):
    """No run has this id; it has to be created first."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run {run_id!r}; create it first")


class StepNotKept(AcrError):
    """What was asked for of a step is not there.

    Args:
        what: such as "record".
        step: the step.
        kept: (first, last) step of which it is kept; the first is above the last if there is none.
    """

    def __init__(self, what: str, step: int, kept: tuple[int, int]) -> None:
        first, last = kept
        if first > last:
            why = "none are kept"
        elif first <= step <= last:
            why = "it was not reported"
        else:
            why = f"kept are those of steps {first} to {last}"
        super().__init__(f"no {what} of step {step}: {why}")


class RunDeleted(AcrError):
    """The run was deleted: it takes and shows nothing until somebody restores it."""


class Conflict(AcrError):
    """Valid in itself, but in contradiction to what is recorded."""


class RunConflict(Conflict):
    """A run of this id exists, and it is not the one that was to be taken in."""


class StepConflict(Conflict):
    """The step is recorded already, with other content."""


class AttemptConflict(Conflict):
    """The report comes from an attempt that a resume has replaced."""


class RunNotDeleted(Conflict):
    """Only a run that was deleted can be purged: purging cannot be undone."""


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
