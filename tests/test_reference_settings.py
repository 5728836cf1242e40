"""The table of settings in the reference says what the service says of them."""

import json
import re
from pathlib import Path

import pytest

from monitor_service.engine.allowed import Allowed, boolean, choice
from monitor_service.engine.fields import FIELDS, Field

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference.md").read_text()
TABLE = REFERENCE.partition("## Settings\n")[2].partition("### Profiles")[0]
ROWS = {
    name: (takes, default)
    for name, takes, default in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", TABLE, re.MULTILINE)
}
NULL = ", or null"


def bound(text: str) -> float:
    """A number as people write it: with a minus sign, or as a power less something."""
    text = text.replace("\N{MINUS SIGN}", "-")
    if power := re.fullmatch(r"(\d+)\^(\d+) - (\d+)", text):
        base, exponent, less = map(int, power.groups())
        return int(base**exponent - less)
    return float(text)


def allowed(cell: str) -> Allowed:
    """What a cell of the second column says; what it says of other settings is left out."""
    if found := re.match(r"(number|integer) in ([\[(])(.+?), (.+?)\]", cell):
        return Allowed(
            kind="number" if found[1] == "number" else "integer",
            low=bound(found[3]),
            high=bound(found[4]),
            is_low_allowed=found[2] == "[",
            is_nullable=cell.endswith(NULL),
        )
    if cell.startswith("true"):
        return boolean(is_nullable={"true or false": False, "true, false or null": True}[cell])
    return choice(*re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_takes_what_the_reference_says(field: Field) -> None:
    takes, default = ROWS[field.name]
    names = Allowed.__struct_fields__
    assert allowed(takes) == Allowed(**{name: getattr(field, name) for name in names})
    assert default.strip("`") == json.dumps(field.default).strip('"')


def test_the_reference_has_no_other_settings() -> None:
    assert ROWS.keys() == {field.name for field in FIELDS}


@pytest.mark.parametrize(
    ("cell", "other"),
    [
        ("number in [0, 1]", "number in (0, 1]"),
        ("number in [0, 1]", "number in [0, 2]"),
        ("number in [0, 1]", "number in [0, 1], or null"),
        ("integer in [0, 2^63 - 1]", "integer in [0, 2^62 - 1]"),
        ("`off`, `shadow`", "`off`, `active`"),
        ("true or false", "true, false or null"),
    ],
)
def test_cells_that_differ_say_different_things(cell: str, other: str) -> None:
    assert allowed(cell) != allowed(other)
