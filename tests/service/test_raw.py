"""Raw rewards as they are kept: small, and exactly what was reported."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from monitor_service.raw import packed, unpacked

HEADER_BYTES = 10

shapes = array_shapes(min_dims=2, max_dims=2, max_side=6)
values = st.sampled_from(
    [0.0, 1.0, 0.5, 0.1, 253.0, 254.0, 255.0, 256.0, -1.0, 2.0**24 + 1, 1e300]
) | st.floats(allow_nan=True, allow_infinity=True)


@given(data=st.data(), shape=shapes)
def test_what_is_kept_is_what_was_reported(data, shape):
    rewards, primary = (data.draw(arrays(np.float64, shape, elements=values)) for _ in range(2))
    for kept in (None, primary):
        found, found_primary = unpacked(packed(rewards, kept))
        assert np.array_equal(found, rewards, equal_nan=True)
        assert (found_primary is None) == (kept is None)
        if found_primary is not None:
            assert np.array_equal(found_primary, primary, equal_nan=True)


@pytest.mark.parametrize(
    ("reward", "size"),
    # 255 stands for "not scored"; 0.5 is a float32, 0.1 is not.
    [(0, 1), (1, 1), (254, 1), (np.nan, 1), (255, 4), (-1, 4), (0.5, 4), (0.1, 8), (1e300, 8)],
)
def test_a_reward_takes_as_few_bytes_as_it_needs(reward, size):
    rewards = np.array([[1.0, 0.0, np.nan], [1.0, 1.0, reward]])
    assert len(packed(rewards)) == HEADER_BYTES + 6 * size
    # Beside it, six primary rewards of a byte each.
    assert len(packed(rewards, np.ones((2, 3)))) == HEADER_BYTES + 6 * (size + 1)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:5]])
def test_a_damaged_value_is_refused(damage):
    with pytest.raises(ValueError, match="bytes are"):
        unpacked(damage(packed(np.ones((2, 3)))))


def test_an_unknown_width_is_refused():
    with pytest.raises(ValueError, match="rewards of 2 and 0 bytes each are unknown"):
        unpacked(b"\x02" + packed(np.ones((2, 3)))[1:])
