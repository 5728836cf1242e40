"""Numbers as people read them."""

ROUNDING = 1e-12
"""What is smaller is what a sum of rates leaves where nothing is left."""


def number(value: float) -> str:
    """A number as people read it.

    >>> number(0.273), number(1846.0), number(2753312.0), number(0.0004), number(-3e-17)
    ('0.273', '1846', '2.75e+06', '0.0004', '0')
    """
    if abs(value) < ROUNDING:
        return "0"
    if abs(value) >= 100_000 or abs(value) < 0.0001:
        return f"{value:.3g}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
