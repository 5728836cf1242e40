"""What one setting may be: the values it takes, and the words for them."""

from typing import Any, Literal

from msgspec import Struct

Kind = Literal["number", "integer", "boolean", "choice"]


class Allowed(Struct, frozen=True, kw_only=True):
    """The values of one setting.

    Attributes:
        kind: of what.
        low, high: bounds of a number or an integer; None for the other kinds.
        is_low_allowed: whether `low` itself is; `high` always is.
        choices: the names of a choice; empty for the other kinds.
        is_nullable: whether null is allowed too.
    """

    kind: Kind
    low: int | float | None = None
    high: int | float | None = None
    is_low_allowed: bool = True
    choices: tuple[str, ...] = ()
    is_nullable: bool = False

    def takes(self, value: Any) -> bool:
        """Whether the value is one of them."""
        if value is None:
            return self.is_nullable
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "choice":
            return isinstance(value, str) and value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind == "integer" and not isinstance(value, int):
            return False
        assert self.low is not None, "numbers have bounds"
        assert self.high is not None, "numbers have bounds"
        # NaN compares false, and an integer too large for a float still compares.
        is_above = self.low <= value if self.is_low_allowed else self.low < value
        return is_above and value <= self.high

    @property
    def words(self) -> str:
        """For people.

        >>> number(0, 1, is_low_allowed=False).words, integer(1, 9, is_nullable=True).words
        ('must be a number in (0, 1]', 'must be an integer in [1, 9], or null')
        >>> choice("off", "active").words
        'one of off, active'
        """
        if self.kind == "boolean":
            text = "must be true or false"
        elif self.kind == "choice":
            text = f"one of {', '.join(self.choices)}"
        else:
            what, spec = ("an integer", "d") if self.kind == "integer" else ("a number", "g")
            opening = "[" if self.is_low_allowed else "("
            text = f"must be {what} in {opening}{self.low:{spec}}, {self.high:{spec}}]"
        return f"{text}, or null" if self.is_nullable else text


def number(
    low: float, high: float, *, is_low_allowed: bool = True, is_nullable: bool = False
) -> Allowed:
    """A finite number between two bounds."""
    return Allowed(
        kind="number", low=low, high=high, is_low_allowed=is_low_allowed, is_nullable=is_nullable
    )


def integer(low: int, high: int, *, is_nullable: bool = False) -> Allowed:
    """A whole number between two bounds."""
    return Allowed(kind="integer", low=low, high=high, is_nullable=is_nullable)


def choice(*names: str) -> Allowed:
    """One of a few names."""
    return Allowed(kind="choice", choices=names)


def boolean(*, is_nullable: bool = False) -> Allowed:
    """True or false."""
    return Allowed(kind="boolean", is_nullable=is_nullable)
