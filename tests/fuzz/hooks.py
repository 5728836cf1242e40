"""What schemathesis has to know of this API: its formats, and a run that exists.

Loaded by schemathesis itself, through `SCHEMATHESIS_HOOKS`.
"""

import json
from typing import Any

import msgspec
import schemathesis

from monitor_service.wire import MSGPACK

KNOWN_RUN = "known"
LINES = "application/x-ndjson"


@schemathesis.serializer(MSGPACK)
def to_msgpack(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """The value as msgpack; what is bytes already was made so on purpose."""
    if isinstance(value, bytes):
        return value
    try:
        return msgspec.msgpack.encode(value, enc_hook=str)
    except OverflowError:  # No such number can be said: a damaged body stands for it.
        return json.dumps(value, default=str).encode()


@schemathesis.serializer(LINES)
def to_lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """A file is a text; anything else stands for a damaged one."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.hook
def map_path_parameters(
    context: schemathesis.HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Half of all valid ids name a run that exists: refusals alone say little."""
    run_id = (path_parameters or {}).get("run_id")
    if path_parameters and isinstance(run_id, str) and run_id[:1].isalnum() and len(run_id) % 2:
        return {**path_parameters, "run_id": KNOWN_RUN}
    return path_parameters
