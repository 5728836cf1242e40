"""Says what is wrong with a body: msgspec names the path and the types, people want the value."""

import re
from typing import Any

import msgspec

from monitor_service.errors import InvalidInput

_MESSAGE = re.compile(
    r"^(?P<text>.*?)(?: - at (?P<is_key>`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL
)
# msgspec writes [...] where a dict is entered; the value shown is then the dict.
_PATH_PART = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[(\.\.\.)\]")


def explained(error: msgspec.ValidationError, raw: Any, pattern_words: str) -> InvalidInput:
    """The error with the value at fault.

    Args:
        error: of decoding into a type.
        raw: the same body, decoded without one.
        pattern_words: what the one pattern of the contract allows, for people.
    """
    found = _MESSAGE.match(str(error))
    text, path = (found["text"], found["path"] or "$") if found else (str(error), "$")
    if found and found["is_key"]:
        text = f"every name in it: {text}"
    if named := re.search(r"(unknown|missing required) field `(.*?)`", text):
        path = f"{path}.{named[2]}"
        text = "is not a field of this version" if named[1] == "unknown" else "is required"
    elif "matching regex" in text:
        text = f"must be {pattern_words}"
    value = raw
    for key, index, is_any_key in _PATH_PART.findall(path):
        if is_any_key:
            break
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and index and int(index) < len(value):
            value = value[int(index)]
    field = path.removeprefix("$").removeprefix(".") or "body"
    return InvalidInput(field, value, text[:1].lower() + text[1:])
