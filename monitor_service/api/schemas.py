"""The schemas of all that is sent and answered: the wire types, and what they leave to the engine.

Some fields are typed as anything, so that the engine refuses them in its own words. What it allows
is said here, for those who read the document.
"""

from typing import Any

import msgspec

from monitor_service import alert, requests, resources, tokens, wire
from monitor_service.api.examples import examples
from monitor_service.control import MAX_ACTOR_CHARS
from monitor_service.engine.fields import FIELDS, Field
from monitor_service.engine.orders import MAX_OVERRIDE_S, MAX_OVERRIDE_STEPS
from monitor_service.engine.settings import Settings
from monitor_service.lifecycle import MAX_NOTES_CHARS

REF = "#/components/schemas/{name}"
SETTINGS_CHANGE, TUNABLES, OVERRIDABLES = "SettingsChange", "Tunables", "Overridables"
"""Names of schemas that have no type of their own."""

_REASON = {"type": "string", "minLength": 1, "maxLength": wire.MAX_REASON_CHARS, "pattern": r"\S"}
_ACTOR = {"type": "string", "minLength": 1, "maxLength": MAX_ACTOR_CHARS, "pattern": r"\S"}
_MAY_BE_EMPTY = {"type": ["string", "null"]}
_ACTOR_OR_NONE = {"anyOf": [_ACTOR, {"type": "null"}]}
_FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("OverrideRequest", "reason"): _REASON,
    ("OverrideRequest", "expires_in_steps"): {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_OVERRIDE_STEPS,
    },
    ("OverrideRequest", "expires_in_s"): {
        "type": "number",
        "minimum": 1,
        "maximum": MAX_OVERRIDE_S,
    },
    ("OverrideRequest", "settings"): {"$ref": REF.format(name=OVERRIDABLES)},
    ("CreateRun", "settings"): {"$ref": REF.format(name=TUNABLES)},
    ("DefaultsRequest", "settings"): {"$ref": REF.format(name=OVERRIDABLES)},
    ("DefaultsRequest", "reason"): _REASON,
    ("Description", "notes"): {"type": ["string", "null"], "maxLength": MAX_NOTES_CHARS},
}
_REQUIRED = {
    "OverrideRequest": ["settings", "reason", "expires_in_steps", "expires_in_s"],
    "DefaultsRequest": ["reason"],
}


def of(kind: Any) -> dict[str, Any]:
    """A reference to the schema of a type; anything but a type stands for a change of settings."""
    if not isinstance(kind, type):
        return {"$ref": REF.format(name=SETTINGS_CHANGE)}
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=REF)
    return schema


def components() -> dict[str, Any]:
    """Every schema by its name, with an example where there is one."""
    modules = (alert, tokens, wire, requests, resources)
    named = {name: kind for module in modules for name, kind in vars(module).items()}
    kinds = [named.get(name) for name in examples()]
    known = [kind for kind in (*kinds, resources.Problem) if kind is not None]
    _, found = msgspec.json.schema_components(known, ref_template=REF)
    for one in FIELDS:
        in_force = {**_allowed(one), "default": one.default}
        found[Settings.__name__]["properties"][one.name] = in_force
    found |= _changes()
    for (name, field), schema in _FIELDS.items():
        found[name]["properties"][field] = schema
    for name, fields in _REQUIRED.items():
        found[name]["required"] = fields
    for schema in found.values():
        for field, allowed in (("reason", _MAY_BE_EMPTY), ("actor", _ACTOR_OR_NONE)):
            if schema.get("properties", {}).get(field, {}).keys() == {"default"}:
                schema["properties"][field] = allowed
    _at_least_one(found["StepReport"]["properties"])
    for name, example in examples().items():
        found[name]["examples"] = [example]
    return found


def _allowed(field: Field) -> dict[str, Any]:
    """What a setting may be, without its default: what a change leaves out stays."""
    types = [field.kind] if field.kind != "choice" else ["string"]
    types += ["null"] if field.is_nullable else []
    found: dict[str, Any] = {"type": types if field.is_nullable else types[0]}
    if field.choices:
        found["enum"] = list(field.choices)
    if field.low is not None:
        found["minimum" if field.is_low_allowed else "exclusiveMinimum"] = field.low
        found["maximum"] = field.high
    return {**found, "description": field.about}


def _changes() -> dict[str, Any]:
    """What people may change, alone and with who wants it and why."""
    fields = {field.name: _allowed(field) for field in FIELDS}
    overridable = {field.name: fields[field.name] for field in FIELDS if field.is_overridable}
    change = {**fields, "reason": _REASON, "actor": _ACTOR_OR_NONE}
    return {
        TUNABLES: _closed("Settings that people may change.", fields),
        OVERRIDABLES: _closed("Settings that may change for a while.", overridable),
        SETTINGS_CHANGE: {
            **_closed("Other values for settings, and who wants them and why.", change),
            "required": ["reason"],
            "minProperties": 2,
        },
    }


def _closed(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }


def _at_least_one(report: dict[str, Any]) -> None:
    """A report has a group, and a group a completion."""
    for field in ("rewards", "primary"):
        groups = report[field]["anyOf"][0]
        groups["minItems"] = groups["items"]["minItems"] = 1
