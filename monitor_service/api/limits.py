"""How much one caller may ask: a bucket of requests that fills again at a steady rate."""

from dataclasses import dataclass, field

MAX_KNOWN = 10_000
"""Callers whose buckets are kept; whoever was silent for longest is forgotten, to full credit."""


@dataclass(slots=True, kw_only=True)
class Buckets:
    """A bucket of `burst` requests for each caller, filled at `per_s`."""

    per_s: float
    burst: int
    _full_at_s: dict[str, float] = field(default_factory=dict)
    """When each bucket that is not full will be; the most recent caller last."""

    def wait_s(self, caller: str, now_s: float) -> float:
        """Take one request out; 0 when there was one, else seconds until there is.

        Args:
            caller: whose bucket.
            now_s: time that only moves on.

        >>> buckets = Buckets(per_s=2, burst=2)
        >>> [buckets.wait_s("ana", 10.0) for _ in range(3)]
        [0.0, 0.0, 0.5]
        >>> buckets.wait_s("ana", 10.5), buckets.wait_s("ben", 10.5)
        (0.0, 0.0)
        """
        full_at_s = max(self._full_at_s.pop(caller, now_s), now_s)
        wait_s = full_at_s + (1 - self.burst) / self.per_s - now_s
        if wait_s <= 0:
            full_at_s += 1 / self.per_s
        self._full_at_s[caller] = full_at_s
        if len(self._full_at_s) > MAX_KNOWN:
            del self._full_at_s[next(iter(self._full_at_s))]
        return max(0.0, wait_s)
