"""DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), as TRL computes it.

    L <= L_max - c : 0         L <= L_max : ((L_max - c) - L) / c         else : -1

L is the number of tokens of a completion, L_max the limit and c the cache before it, both in
tokens. The paper has L_max = 20480 and c = 4096. With c = 0 only the last line remains of the
slope: 0 up to the limit, -1 beyond.
"""

from typing import Any

from trl.rewards import get_soft_overlong_punishment

from monitor_service.errors import InvalidInput


def soft_overlong(max_completion_length: int, cache: int) -> Any:
    """The reward function `soft_overlong_punishment_reward`, in [-1, 0].

    Args:
        max_completion_length: L_max, tokens. A completion that was cut there gets -1.
        cache: c, tokens in [0, L_max], over which the punishment grows.

    Raises:
        InvalidInput: (a ValueError) a value outside its range.
    """
    if max_completion_length < 1:
        raise InvalidInput("max_completion_length", max_completion_length, "must be at least 1")
    if not 0 <= cache <= max_completion_length:
        allowed = f"must be in [0, {max_completion_length}], the limit on the completion"
        raise InvalidInput("cache", cache, allowed)
    return get_soft_overlong_punishment(max_completion_length, cache)
