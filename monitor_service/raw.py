"""The raw rewards of a step as they are kept: the smallest form that loses nothing.

A byte each where all of them are whole numbers from 0 to 254, as verifiers give them (255: NaN);
else float32 where that is exact; else float64. Little-endian, behind a header of ten bytes: bytes
per reward, bytes per primary reward (0: there are none), groups, completions of the largest.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import Matrix

_HEADER = struct.Struct("<BBII")
_DTYPES = {1: "u1", 4: "<f4", 8: "<f8"}
_UNSCORED = 255


def packed(rewards: Matrix, primary: Matrix | None = None) -> bytes:
    """Rewards `[N, G]`, and the primary ones of the same shape where there are any."""
    width, data = _smallest(rewards)
    primary_width, primary_data = (0, b"") if primary is None else _smallest(primary)
    return _HEADER.pack(width, primary_width, *rewards.shape) + data + primary_data


def unpacked(payload: bytes) -> tuple[Matrix, Matrix | None]:
    """The rewards and the primary ones, float64; raises ValueError when it is something else."""
    if len(payload) < _HEADER.size:
        raise ValueError(f"{len(payload)} bytes are no rewards")
    width, primary_width, *shape = _HEADER.unpack_from(payload)
    if width not in _DTYPES or primary_width not in (0, *_DTYPES):
        raise ValueError(f"rewards of {width} and {primary_width} bytes each are unknown")
    count = shape[0] * shape[1]
    if len(payload) != _HEADER.size + count * (width + primary_width):
        raise ValueError(f"{len(payload)} bytes are not {count} rewards")
    rewards = _values(payload, _HEADER.size, width, count).reshape(shape)
    if not primary_width:
        return rewards, None
    primary = _values(payload, _HEADER.size + count * width, primary_width, count)
    return rewards, primary.reshape(shape)


def _smallest(values: Matrix) -> tuple[int, bytes]:
    """Bytes per value, and all values in them."""
    # As nearly always; a NaN is in no range.
    if values.min(initial=0) >= 0 and values.max(initial=0) < _UNSCORED:
        codes = values.astype(_DTYPES[1])
        if (codes == values).all():
            return 1, codes.tobytes()
    with np.errstate(invalid="ignore", over="ignore"):
        codes = values.astype(_DTYPES[1])
        missing = np.isnan(values)
        codes[missing] = _UNSCORED
        if np.array_equal(codes == _UNSCORED, missing) and ((codes == values) | missing).all():
            return 1, codes.tobytes()
        floats = values.astype(_DTYPES[4])
    if ((floats == values) | missing).all():
        return 4, floats.tobytes()
    return 8, np.ascontiguousarray(values, dtype=_DTYPES[8]).tobytes()


def _values(payload: bytes, offset: int, width: int, count: int) -> Matrix:
    found: npt.NDArray[Any] = np.frombuffer(payload, _DTYPES[width], count, offset)
    values: Matrix = found.astype(np.float64)
    if width == 1:
        values[found == _UNSCORED] = np.nan
    return values
