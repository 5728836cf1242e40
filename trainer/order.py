"""The order of the prompts, which a resumed run finds again.

TRL shuffles the prompts of each pass over the data with one generator that goes on from pass to
pass. A checkpoint does not keep that generator, so a run that is resumed after the first pass would
go on with the order of the first one: other batches than it would have seen.
"""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler
from trl.trainer.utils import RepeatSampler


class ResumableOrder(Sampler[int]):
    """TRL's order of a pass, whichever passes this process has made before."""

    def __init__(self, sampler: RepeatSampler, passes_done: Callable[[], int]) -> None:
        """The order of `sampler`, which `passes_done` tells how far the run has come."""
        self._sampler = sampler
        self._passes_done = passes_done

    def __len__(self) -> int:
        """Completions of a pass."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        """Numbers of the prompts in the pass that begins, each repeated as TRL repeats it."""
        sampler = self._sampler
        if sampler.shuffle:
            sampler.generator.manual_seed(sampler.seed)
            for _ in range(self._passes_done()):
                torch.randperm(sampler.num_samples, generator=sampler.generator)
        return iter(sampler)
