"""Bodies that a broken or malicious trainer may send: valid ones, and what chance makes of them.

Each is a function of a seeded `Random` alone, so an input is known by its number.
"""

import math
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from monitor_service.wire import JSON, MSGPACK

DEEP = 2000
LONG = 50_000
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 255, 2**31, 2**53, 2**53 + 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.0, -0.0, 0.5, 1.5, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf),
    *("", "x", "\0", "‮", "é" * 200, "<script>alert(1)</script>", "a\r\nb: c", "active", "<f8"),
    *([], {}, [[]], [[None]], [{}], {"": 0}, b"", b"\0" * 7, "x" * LONG, [0] * LONG, {"data": b""}),
)
HEADERS = (
    *(b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xde\xff\xff"),
    *(b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc9\x7f\xff\xff\xff\x01", b"\xc1"),
    *(b"\xd6\xff\xff\xff\xff\xff", b"\xc7\x0c\xff" + b"\xff" * 12, b"\x91" * DEEP),
    *(b"\x81\xa1a" * DEEP, b"\x94" * 30, b"\xcb\x7f\xf8\0\0\0\0\0\x01"),
)
"""msgpack: lengths that nothing follows, extensions, timestamps, depth."""
WORDS = (
    *(b"[" * DEEP, b'{"a":' * DEEP, b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"-0", b"01"),
    *(b"9" * 5000, b"0." + b"3" * 5000, b"1e" + b"9" * 400, rb'"\ud800"', rb'"\u0000"', b'"\xff"'),
    *(b"\xef\xbb\xbf", b"\0", b"//", b",", b'"', b"null", b"[[[0]]]", b'{"step":1,"step":2}'),
)
"""The same for JSON."""
SCALARS = ("entropy", "kl", "grad_norm", "loss", "learning_rate", "step_s", "clip_fraction")


def made(random: Random) -> tuple[bytes, str]:
    """A body and its media type."""
    media_type = random.choice((JSON, MSGPACK, MSGPACK))
    content: Any = _content(random)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        content = _changed(content, random)
    body = (
        msgspec.msgpack.encode(content) if media_type == MSGPACK else msgspec.json.encode(content)
    )
    for _ in range(random.choice((0, 0, 0, 1, 1, 3))):
        body = random.choice(DAMAGES)(body, media_type, random)
    return body, media_type


def _content(random: Random) -> Any:
    if random.random() < 0.2:
        return [_report(random, step) for step in range(1, random.randint(2, 5))]
    return _report(random, random.choice((1, 2, 3, 100, 2**53)))


def _report(random: Random, step: int) -> dict[str, Any]:
    """A valid report, of few or many fields."""
    groups, width = random.randint(1, 6), random.randint(1, 6)
    content: dict[str, Any] = {"step": step, "rewards": _rewards(random, groups, width)}
    if random.random() < 0.3:
        content["primary"] = _rewards(random, groups, width)
    if random.random() < 0.3:
        content["scalars"] = {name: random.uniform(0, 2) for name in random.sample(SCALARS, 3)}
    if random.random() < 0.2:
        content["scalars"] = {"non_finite": ["kl"]}
    if random.random() < 0.2:
        content["components"] = {"format": {"mean": random.random(), "std": None}}
    if random.random() < 0.5:
        content["applied"] = _applied(random, groups)
    return content


def _rewards(random: Random, groups: int, width: int) -> Any:
    values = [[random.choice((0.0, 1.0, 0.5, None)) for _ in range(width)] for _ in range(groups)]
    if random.random() < 0.5:
        return values
    dtype = random.choice(("<f8", "<f4"))
    size = groups * width
    if random.random() < 0.3:  # Any bits are a number: payloads of NaN, denormals, infinities.
        data = random.randbytes(size * int(dtype[-1]))
    else:
        flat = [math.nan if one is None else one for group in values for one in group]
        data = struct.pack(f"<{size}{'d' if dtype == '<f8' else 'f'}", *flat)
    return {"shape": [groups, width], "dtype": dtype, "data": data}


def _applied(random: Random, groups: int) -> dict[str, Any]:
    content: dict[str, Any] = {
        "settings_version": random.randint(0, 5),
        "through_step": random.randint(0, 5),
        "mode": random.choice(("off", "shadow", "active", "locked")),
        "threshold": random.random(),
        "triggered": random.random() < 0.5,
        "injected_wrong": random.randint(0, groups),
        "decisions": {"injected": random.randint(0, 4)},
        "knobs": {"beta": {"status": "ignored", "value": 0.1, "reason": "no"}},
    }
    more: dict[str, Any] = {
        "shadow": {"injected_correct": 1, "mass_scale": 0.5},
        "sampling": {"tries": 1, "sampled": groups, "kept": 1},
        "command": random.randint(0, 3),
        "killed_after_rearms": random.randint(0, 3),
        "kill": {"actor": "a", "reason": "r", "step": 1, "at_s": 1.0},
        "note": "stale",
        "acr": random.random(),
        "effective_acr": random.random(),
    }
    return content | {name: more[name] for name in random.sample(sorted(more), 3)}


def _changed(content: Any, random: Random) -> Any:
    """The same with one value, somewhere in it, changed."""
    if isinstance(content, dict) and content and random.random() < 0.85:
        name = random.choice(list(content))
        changed = {**content, name: _changed(content[name], random)}
        if random.random() < 0.1:
            changed[random.choice(("x", "", "schema", "step", "é" * 300))] = random.choice(STRANGE)
        if random.random() < 0.1:
            del changed[name]
        return changed
    if isinstance(content, list) and content and random.random() < 0.85:
        at = random.randrange(len(content))
        return [*content[:at], _changed(content[at], random), *content[at + 1 :]]
    if random.random() < 0.02:
        return _nested(random.randint(1, 900))
    return random.choice(STRANGE)


def _nested(depth: int) -> Any:
    inner: Any = 0
    for _ in range(depth):
        inner = [inner] if depth % 2 else {"rewards": inner}
    return inner


def _truncated(body: bytes, media_type: str, random: Random) -> bytes:
    return body[: random.randint(0, len(body))]


def _flipped(body: bytes, media_type: str, random: Random) -> bytes:
    damaged = bytearray(body)
    for _ in range(random.randint(1, 8)):
        if damaged:
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _with_token(body: bytes, media_type: str, random: Random) -> bytes:
    """Something that the format gives a meaning, put in or put over."""
    token = random.choice(HEADERS if media_type == MSGPACK else WORDS)
    at = random.randint(0, len(body))
    return body[:at] + token + body[at + random.choice((0, 0, 1, len(token))) :]


def _repeated(body: bytes, media_type: str, random: Random) -> bytes:
    start = random.randint(0, len(body))
    part = body[start : start + random.randint(1, 64)]
    return body[:start] + part * random.choice((2, 3, 500)) + body[start:]


def _with_key_twice(body: bytes, media_type: str, random: Random) -> bytes:
    """One more pair in the outermost map, of a key that it has already."""
    value = random.choice((0, 1, 7, None, "x", [[1.0, 0.0]]))
    if media_type == JSON:
        return body.rstrip(b"}") + b',"step":' + msgspec.json.encode(value) + b"}"
    if body and 0x80 <= body[0] < 0x8F:
        return bytes([body[0] + 1]) + body[1:] + b"\xa4step" + msgspec.msgpack.encode(value)
    return body + body


DAMAGES: tuple[Callable[[bytes, str, Random], bytes], ...] = (
    _truncated,
    _flipped,
    _with_token,
    _with_token,
    _repeated,
    _with_key_twice,
)
