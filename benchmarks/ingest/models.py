"""Pydantic models with the fields, types and bounds of msgspec Structs, for the baseline.

What one would write by hand is derived here, so that the baseline takes and refuses what the
contract says, whatever becomes of that. A model does not know how it came about: it costs the same.
"""

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, structs
from pydantic import BaseModel, ConfigDict, Field, create_model

BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


class Model(BaseModel):
    """Nothing unknown, nothing converted, nothing infinite."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        from_attributes=True,
        validate_by_name=True,
        # The other one has no lookahead, which the pattern of run ids uses.
        regex_engine="python-re",
    )


@cache
def model_of(struct: type[Struct]) -> Any:
    """The model of a Struct: a class that the type checker cannot know."""
    return model(struct, {})


def model(struct: type[Struct], types: Mapping[str, Any]) -> Any:
    """The same with other types for some fields."""
    hints = {**get_type_hints(struct, include_extras=True), **types}
    fields: dict[str, Any] = {}
    for one in structs.fields(struct):
        given: dict[str, Any] = {}
        if isinstance(one.default, Struct):
            given["default_factory"] = model_of(type(one.default))
        elif one.default is not NODEFAULT:
            given["default"] = one.default
        elif one.default_factory is not NODEFAULT:
            given["default_factory"] = one.default_factory
        # Pydantic has methods of its own, such as `schema`.
        name = f"{one.name}_" if hasattr(BaseModel, one.name) else one.name
        fields[name] = (_translated(hints[one.name]), Field(alias=one.name, **given))
    return create_model(struct.__name__, __base__=Model, **fields)


def _translated(hint: Any) -> Any:
    """A type with models for Structs and pydantic's bounds for those of msgspec."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return model_of(hint)
    if origin is Annotated:
        kind, *metas = parts
        bounds = {
            name: getattr(meta, name)
            for meta in metas
            if isinstance(meta, Meta)
            for name in BOUNDS
            if getattr(meta, name) is not None
        }
        return Annotated[_translated(kind), Field(**bounds)]
    if origin in (Union, UnionType):
        return Union[tuple(map(_translated, parts))]  # noqa: UP007 - made of a tuple
    if origin in (list, tuple, dict):
        return origin[tuple(_translated(part) for part in parts)]
    return hint
