"""Where TRL keeps a number, and how to change it there.

TRL gives its temperature to the loss once, when the trainer is built: `add_fused_lm_head` closes
over it, and no attribute of the trainer reaches it afterwards. The variable of that closure is
shared by every wrapper that accelerate, PEFT, DDP or FSDP put around the model later, so it is
looked up once, and written where it is.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch

FAILURES = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError)
"""What reading or writing another library's insides can raise when they are not as expected."""

_FUSED_HEAD = "_fused_forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place that holds a number."""

    read: Callable[[], Any]
    write: Callable[[Any], None]


def attribute(owner: Any, name: str) -> Place:
    """An attribute.

    Raises:
        AttributeError: `owner` has none of that name.
    """
    getattr(owner, name)
    return Place(read=lambda: getattr(owner, name), write=lambda value: setattr(owner, name, value))


def item(mapping: MutableMapping[str, Any], key: str) -> Place:
    """An item of a dictionary that is read each time."""
    return Place(read=lambda: mapping[key], write=lambda value: mapping.__setitem__(key, value))


def head_temperatures(model: torch.nn.Module) -> list[Place]:
    """The temperature of each fused LM head within `model`; empty when there is none."""
    cells = {id(cell): cell for cell in _head_cells(model)}
    return [attribute(cell, "cell_contents") for cell in cells.values()]


def _head_cells(model: torch.nn.Module) -> Iterator[Any]:
    for module in model.modules():
        function = vars(module).get("forward")
        while function is not None:
            function = getattr(function, "__func__", function)
            if isinstance(function, FunctionType):
                code = function.__code__
                if code.co_name == _FUSED_HEAD and "temperature" in code.co_freevars:
                    yield (function.__closure__ or ())[code.co_freevars.index("temperature")]
                    break
            # accelerate, under mixed precision, has wrapped the reference model's by now.
            function = getattr(function, "__wrapped__", None)


class Number:
    """A knob: one number in one or several places, which change together or not at all."""

    def __init__(
        self,
        places: Sequence[Place],
        refuse: Callable[[float], str | None],
        *,
        note: str | None = None,
    ) -> None:
        """Remembers what the places hold now as the trainer's own.

        Args:
            places: none at all for a knob that the trainer does not have.
            refuse: why a value cannot be set; None when it can.
            note: what to know about a value that was set.
        """
        self._places = places
        self._own = [place.read() for place in places]
        self._is_changed = False
        self.refuse = refuse
        self.note = note

    @property
    def value(self) -> float | None:
        """What is in force."""
        return float(self._places[0].read()) if self._places else None

    def holds(self, value: float) -> bool:
        """Whether every place says `value`."""
        return bool(self._places) and all(place.read() == value for place in self._places)

    def set(self, value: float) -> None:
        """Change every place; when one refuses, the others are put back and its error raised."""
        before = [place.read() for place in self._places]
        self._is_changed = True
        try:
            for place in self._places:
                place.write(value)
        except FAILURES:
            self._put(before)
            raise

    def restore(self) -> None:
        """The trainer's own numbers again, if they were ever changed."""
        if self._is_changed:
            self._put(self._own)
            self._is_changed = False

    def _put(self, values: Sequence[Any]) -> None:
        for place, value in zip(self._places, values, strict=True):
            with suppress(*FAILURES):
                place.write(value)
