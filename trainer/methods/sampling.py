"""Dynamic sampling: a batch of groups that differ, others are sampled anew (DAPO, 2503.14476).

    while fewer than N groups differ: sample more prompts, G times each, keep those that differ

Which groups differ is judged by the primary reward, the accuracy: a shaped reward differs in groups
that are all wrong. Tries and tokens are bounded. Where the budget ends first, the batch is made
full with collapsed groups, of which nothing is learnt; groups that differ are never given up for
that, and nothing is raised. What a step costs is about 1 / (1 - ACR) of the generation of a plain
one.

The first try is the batch that the sampler of the data made. Further prompts come from a `Reserve`,
a permutation of the same data without an end; a prompt is sampled once for a batch. Each further
try is as large as the share of groups that differed so far asks for, and at most one batch.

Every try is generated and scored through TRL. Then the groups of the batch are dealt to the ranks
again, as lists of tokens, and TRL makes its tensors of them: reference and old probabilities are
computed once, for what is trained on.

B = completions of a batch over all ranks, n = those of this rank, N = groups, G = completions per
group; row r of a try over all ranks is row r % m of rank r // m, with m rows on each rank.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from monitor_service.engine.collapse import Outcome, judge
from monitor_service.wire import Sampling
from trainer.heard import Heard, prompt_number
from trainer.methods.registry import METHODS, no_sampling

NOTICE = "dynamic_sampling leaves no collapsed group to inject into"
"""Why nothing is injected into a batch that was sampled so."""

log = logging.getLogger(__name__)

Row = dict[str, Any]
Generation = tuple[Any, ...]
"""What TRL's `_generate` returns."""


def refusal(trainer: Any) -> str | None:
    """Why batches of `trainer` cannot be sampled so; None when they can."""
    if METHODS[trainer.args.method].objective:
        return no_sampling(trainer.args.method)
    if getattr(trainer, "tools", None) or getattr(trainer, "environment_factories", None):
        return "tools and environments keep a state of their own for every completion"
    if trainer.rollout_func is not None:
        return "rollout_func generates batches of its own"
    data = trainer.train_dataset
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        return "the training data are a stream: prompts cannot be drawn from it again"
    columns = set(getattr(data, "column_names", ()) or ())
    first: Row = next(iter(data), {})
    if {"image", "images"} & columns or _has_image(first.get("prompt")):
        return "prompts with images cannot be dealt to the ranks again"
    return None


def _has_image(prompt: Any) -> bool:
    messages = prompt if isinstance(prompt, list) else []
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any("image" in str(part.get("type")) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A batch that was sampled, on one rank.

    Attributes:
        inputs: `[n]` rows of the data that it comes from.
        generation: what TRL's `_generate` returns of them.
        extra: column that reward functions logged -> its `[n]` values.
        batch: of the batch that is trained on.
        seen: of everything that was sampled.
        sampling: what it took.
    """

    inputs: list[Row]
    generation: Generation
    extra: Mapping[str, list[Any]]
    batch: Heard
    seen: Heard
    sampling: Sampling


class Reserve:
    """Prompts beyond those of the batch: permutations of the data, one after the other."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self._num_rows, self._seed = num_rows, seed
        self._position = 0
        self._order: tuple[int, Any] = (-1, None)

    def draw(self, count: int, is_new: Callable[[int], bool]) -> list[int]:
        """Up to `count` different rows that `is_new`; fewer when the data have no more."""
        found: dict[int, None] = {}
        # From the middle of one permutation, two of them are sure to hold every row.
        for _ in range(2 * self._num_rows):
            if len(found) == count:
                break
            row = self._next()
            if row not in found and is_new(row):
                found[row] = None
        return list(found)

    def _next(self) -> int:
        at_pass, at = divmod(self._position, self._num_rows)
        if self._order[0] != at_pass:
            order = np.random.default_rng((self._seed, at_pass)).permutation(self._num_rows)
            self._order = (at_pass, order)
        self._position += 1
        return int(self._order[1][at])

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"position": self._position}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was."""
        position = state.get("position")
        if isinstance(position, int) and position >= 0:
            self._position = position


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """Rows `first` to `first + num_ranks * len(inputs)` of all that was sampled."""

    first: int
    inputs: list[Row]
    generation: Generation
    extra: Mapping[str, list[Any]]


class DynamicSampler:
    """Samples batches for one trainer; all ranks call it together, and decide alike."""

    def __init__(self, trainer: Any, *, max_tries: int, max_tokens: int | None) -> None:
        """A sampler for `trainer`, a `trainer.GRPOTrainer` that stands.

        Args:
            trainer: generates and scores.
            max_tries: of generating for one batch, the first included.
            max_tokens: of completions, over all ranks, after which no further try is made.
        """
        self._trainer = trainer
        self._max_tries, self._max_tokens = max_tries, max_tokens
        self._data = trainer.train_dataset
        self.reserve = Reserve(len(self._data), trainer.args.seed)
        self._ranks = trainer.accelerator.num_processes
        self._rank = trainer.accelerator.process_index
        # A try has whole groups, and as many rows on every rank.
        self._unit = self._ranks // math.gcd(self._ranks, trainer.num_generations)

    def sample(self, inputs: list[Row]) -> Sampled:
        """A batch as large as `inputs`, this rank's rows, which are its first try."""
        size = self._trainer.num_generations
        wanted = len(inputs) * self._ranks // size
        metrics = self._trainer._metrics["train"]
        before = {name: len(values) for name, values in metrics.items()}
        tries: list[_Try] = []
        seen: Heard | None = None
        numbers: set[int] = set()
        stopped_by = None
        while True:
            attempt, heard = self._try(inputs, first=0 if seen is None else len(seen.rewards_BF))
            tries.append(attempt)
            seen = heard if seen is None else seen.joined(heard)
            numbers.update(heard.facts_BK[::size, 1].tolist())
            differs = self._differing(seen)
            missing = wanted - int(differs.sum())
            if missing <= 0:
                break
            stopped_by = self._budget(len(tries), seen)
            if stopped_by is not None:
                break
            share = max(1, int(differs.sum())) / len(differs)
            drawn = self._draw(min(wanted, math.ceil(missing / share)), numbers)
            if not drawn:
                stopped_by = "data"
                break
            inputs = drawn
        _merge_lengths(metrics, before, [len(attempt.inputs) for attempt in tries])
        chosen = np.argsort(~differs, kind="stable")[:wanted]
        kept = min(wanted, int(differs.sum()))
        return self._dealt(
            chosen,
            tries,
            seen,
            Sampling(
                tries=len(tries),
                sampled=len(differs),
                kept=kept,
                filled=wanted - kept,
                surplus=int(differs.sum()) - kept,
                tokens=int(seen.facts_BK[:, 2].sum()),
                stopped_by=stopped_by,
            ),
        )

    def _try(self, inputs: list[Row], first: int) -> tuple[_Try, Heard]:
        trainer = self._trainer
        prompts = [row["prompt"] for row in inputs]
        generation = trainer._generate(prompts)
        _, completion_ids, _, completions, *_ = generation
        trainer._pending_extra_logs.clear()
        trainer._calculate_rewards(inputs, prompts, completions, completion_ids)
        extra = {
            name: list(values)
            for name, values in trainer._pending_extra_logs.items()
            if len(values) == len(inputs)
        }
        trainer._pending_extra_logs.clear()
        made = _Try(first=first, inputs=inputs, generation=generation, extra=extra)
        return made, trainer.taken_heard()

    def _differing(self, seen: Heard) -> Any:
        """`[N]` bool, groups whose primary rewards differ."""
        trainer = self._trainer
        rewards = trainer.judged_rewards(seen.rewards_BF.cpu(), trainer.num_generations)
        return judge(rewards, reward_range=None).outcomes == Outcome.MIXED

    def _budget(self, num_tries: int, seen: Heard) -> Any:
        if num_tries >= self._max_tries:
            return "tries"
        if self._max_tokens is not None and int(seen.facts_BK[:, 2].sum()) >= self._max_tokens:
            return "tokens"
        return None

    def _draw(self, num_groups: int, numbers: set[int]) -> list[Row]:
        """This rank's rows of a further try; empty when the data have no new prompt."""
        wanted = -(-num_groups // self._unit) * self._unit
        fresh = set(numbers)

        def is_new(row: int) -> bool:
            number = prompt_number(self._data[row]["prompt"])
            new = number not in fresh
            fresh.add(number)
            return new

        drawn = self.reserve.draw(wanted, is_new)
        drawn = drawn[: len(drawn) // self._unit * self._unit]
        size = self._trainer.num_generations
        per_rank = len(drawn) * size // self._ranks
        mine = range(self._rank * per_rank, (self._rank + 1) * per_rank)
        return [dict(self._data[drawn[row // size]]) for row in mine]

    def _dealt(
        self, chosen: Any, tries: Sequence[_Try], seen: Heard, sampling: Sampling
    ) -> Sampled:
        """The chosen groups, this rank's rows of them."""
        size = self._trainer.num_generations
        rows = (chosen[:, None] * size + np.arange(size)).reshape(-1)
        mine = self._owned(set(rows.tolist()), tries)
        if self._ranks > 1:
            mine = {row: told for part in gather_object([mine]) for row, told in part.items()}
        per_rank = len(rows) // self._ranks
        local = [mine[row] for row in rows[self._rank * per_rank :][:per_rank].tolist()]
        inputs, prompt_ids, completion_ids, completions, logprobs, extra = zip(*local, strict=True)
        has_logprobs = tries[0].generation[4] is not None
        generation: Generation = (
            list(prompt_ids),
            list(completion_ids),
            None,
            list(completions),
            list(logprobs) if has_logprobs else None,
            {},
            None,
            [],
        )
        columns = set.intersection(*(set(told) for told in extra))
        return Sampled(
            inputs=list(inputs),
            generation=generation,
            extra={name: [told[name] for told in extra] for name in sorted(columns)},
            batch=seen.at(torch.from_numpy(rows)),
            seen=seen,
            sampling=sampling,
        )

    def _owned(self, wanted: set[int], tries: Sequence[_Try]) -> dict[int, tuple[Any, ...]]:
        """What this rank generated of the `wanted` rows, by row."""
        found = {}
        for attempt in tries:
            prompt_ids, completion_ids, _, completions, logprobs, *_ = attempt.generation
            first = attempt.first + self._rank * len(attempt.inputs)
            for at, row in enumerate(range(first, first + len(attempt.inputs))):
                if row in wanted:
                    found[row] = (
                        attempt.inputs[at],
                        prompt_ids[at],
                        completion_ids[at],
                        completions[at],
                        None if logprobs is None else logprobs[at],
                        {name: values[at] for name, values in attempt.extra.items()},
                    )
        return found


def _merge_lengths(
    metrics: Mapping[str, list[float]], before: Mapping[str, int], weights: Sequence[int]
) -> None:
    """Make one figure of those that TRL logged about the completions of each try, in place."""
    for name, values in metrics.items():
        tried = values[before.get(name, 0) :]
        if name.startswith("completions/") and len(tried) == len(weights) > 1:
            if "/min" in name or "/max" in name:
                merged = min(tried) if "/min" in name else max(tried)
            else:
                merged = float(np.average(tried, weights=weights))
            values[before.get(name, 0) :] = [merged]
