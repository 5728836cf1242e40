"""What a reward function may return, checked before TRL makes a tensor of it."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from reprlib import Repr
from typing import Any

import numpy as np
import torch
from torch import nn
from trl.trainer.utils import get_callable_name, is_async_callable

from trainer.rewards.group import GroupReward

ALLOWED = "allowed are a number, None or NaN"

_short = Repr()


class RewardError(ValueError):
    """A reward function raised, or returned what cannot be a reward."""


def guarded(func: Any) -> Any:
    """The same reward function, that fails with its name, the row and the value.

    A returned list, tuple, or one-dimensional array or tensor becomes a list of floats and None.
    Any real number passes, bools and scalars of numpy and torch included; None and NaN mean "not
    scored"; infinities are passed on.

    Args:
        func: what TRL takes for a reward: a function, sync or async, or any other callable. Models,
            ids of models and group rewards are returned as they are.

    Returns:
        A callable of the same `__name__`, async where `func` is. It takes the number of rows from
        the argument `completions`, which TRL gives by name.

    Raises:
        RewardError: (a ValueError) `func` is not callable. The result raises it where `func`
            raised (chained), returned no list, a list of another length, or one that holds
            anything else than a real number or None.
    """
    if isinstance(func, str | nn.Module | GroupReward):
        return func
    if not callable(func):
        raise RewardError(f"a reward function must be callable; got {_short.repr(func)}")
    name = get_callable_name(func)
    wrapped = _wrap_async(func, name) if is_async_callable(func) else _wrap(func, name)
    wrapped.__name__ = name
    return wrapped


def _wrap(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> list[float | None]:
        with _failing_by_name(name):
            rewards = func(*args, **kwargs)
        return _checked(rewards, name, _num_rows(args, kwargs))

    return call


def _wrap_async(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(func)
    async def call(*args: Any, **kwargs: Any) -> list[float | None]:
        with _failing_by_name(name):
            rewards = await func(*args, **kwargs)
        return _checked(rewards, name, _num_rows(args, kwargs))

    return call


@contextmanager
def _failing_by_name(name: str) -> Iterator[None]:
    try:
        yield
    except RewardError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise RewardError(f"reward function {name!r} raised {kind}: {error}") from error


def _num_rows(args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    return len(kwargs["completions"] if "completions" in kwargs else args[0])


def _checked(rewards: Any, name: str, num_rows: int) -> list[float | None]:
    if isinstance(rewards, np.ndarray | torch.Tensor) and rewards.ndim == 1:
        rewards = rewards.tolist()
    if not isinstance(rewards, list | tuple):
        raise RewardError(
            f"reward function {name!r} returned {_shown(rewards)}; allowed is a list with one "
            "reward per completion"
        )
    if len(rewards) != num_rows:
        raise RewardError(
            f"reward function {name!r} returned {len(rewards)} rewards for {num_rows} completions"
        )
    return [_number(reward, name, row) for row, reward in enumerate(rewards)]


def _number(reward: Any, name: str, row: int) -> float | None:
    value = reward
    if isinstance(value, np.generic | np.ndarray | torch.Tensor) and value.ndim == 0:
        value = value.item()
    if value is None:
        return None
    if isinstance(value, Real):
        try:
            return float(value)
        except OverflowError as error:
            raise _unusable(reward, name, row) from error
    raise _unusable(reward, name, row)


def _unusable(reward: Any, name: str, row: int) -> RewardError:
    return RewardError(f"reward function {name!r}, row {row}: returned {_shown(reward)}; {ALLOWED}")


def _shown(value: Any) -> str:
    return f"{_short.repr(value)} ({type(value).__name__})"
