"""Which problems to train on."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from trainer.data.templates import num_tokens
from trainer.difficulty.levels import LEVELS, level_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What stays.

    Attributes:
        name: the option that asks for it, with its value.
        keeps: whether a row, column -> value, stays.
    """

    name: str
    keeps: Callable[[Mapping[str, Any]], bool]


def by_level(levels: Collection[int], column: str) -> Filter:
    """Problems of these difficulty levels.

    Args:
        levels: of `trainer.difficulty.levels`, at least one.
        column: with the pass rates, in [0, 1]; null, "not known", is left out.

    Raises:
        ValueError: no level, or one that does not exist.
    """
    name = f"difficulty_levels {sorted(levels)}"
    if not levels or not set(levels) <= set(range(len(LEVELS))):
        raise ValueError(f"{name}: allowed are levels from 0 to {len(LEVELS) - 1}, at least one")
    wanted = frozenset(levels)

    def keeps(row: Mapping[str, Any]) -> bool:
        return row[column] is not None and level_of(row[column]) in wanted

    return Filter(name=name, keeps=keeps)


def by_prompt_length(
    limit: int, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None
) -> Filter:
    """Problems whose prompt has at most `limit` tokens.

    Raises:
        ValueError: `limit` is below 1.
    """
    name = f"max_prompt_length {limit}"
    if limit < 1:
        raise ValueError(f"{name}: must be at least 1 token")

    def keeps(row: Mapping[str, Any]) -> bool:
        return num_tokens(row["prompt"], tokenizer, chat_template_kwargs or {}) <= limit

    return Filter(name=name, keeps=keeps)


def filtered(dataset: Dataset, filters: Sequence[Filter], *, source: str) -> Dataset:
    """The rows that every filter keeps, in order.

    Raises:
        ValueError: none is left; says which filter took how many rows of `source`.
    """
    num_rows = len(dataset)
    taken = []
    for one in filters:
        kept = [index for index, row in enumerate(dataset) if one.keeps(row)]
        taken.append(f"{one.name} took {len(dataset) - len(kept)}")
        dataset = dataset.select(kept)
    if not len(dataset):
        why = ": " + ", ".join(taken) if taken else ""
        raise ValueError(f"no problem is left of the {num_rows} in {source}{why}")
    if taken:
        logger.info("%s: %d of %d problems; %s", source, len(dataset), num_rows, ", ".join(taken))
    return dataset
