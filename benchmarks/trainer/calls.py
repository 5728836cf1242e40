"""What single calls cost by the size of a batch, against TRL's own advantage arithmetic.

All on one thread, in interleaved rounds. "hook" is what the trainer does for us with a scored
batch: sum and judge the rewards, decide, replace the advantages, name the figures, build the
report. "listing" reads the completions, which TRL has as Python lists. "submit" and "settings" are
calls of a client whose monitor runs: what the training thread spends in them, not the client's own
threads.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import msgspec
import numpy as np
import torch

from benchmarks.figures import Median, median
from monitor_service.engine.injection import Host
from monitor_service.engine.settings import Settings
from monitor_service.wire import Scalars, StepReport
from trainer import avspo
from trainer.client import MonitorClient
from trainer.heard import facts
from trainer.link import Held, InProcessMonitor
from trainer.loop import ControlLoop

SIZES = ((16, 8), (128, 8), (1024, 16))
"""(groups, completions per group) of a batch."""
COMPLETION_TOKENS = 256
PROMPT_CHARACTERS = 200
ACTING = Settings(threshold=0.1, min_groups_per_unit=1)
PATIENCE_S = 60.0


class Kept(InProcessMonitor):
    """A monitor that keeps the newest report and costs nothing."""

    report: StepReport

    def submit(self, report: StepReport) -> bool:
        """Keep it."""
        self.report = report
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """CPU times of the calling thread for one batch, microseconds.

    Attributes:
        groups, completions: of the batch, and of each group.
        trl_us: TRL's advantages.
        hook_us: ours on top.
        ratio: hook over TRL's, round by round.
        listing_us: reading the completions.
        submit_us: handing the report to the client.
        settings_us: asking the client for the settings.
    """

    groups: int
    completions: int
    trl_us: Median
    hook_us: Median
    ratio: Median
    listing_us: Median
    submit_us: Median
    settings_us: Median


def trl_advantages(rewards: torch.Tensor, num_generations: int) -> torch.Tensor:
    """The same tensor operations that TRL performs with scale_rewards='group'."""
    total = (rewards * torch.ones(1)).nansum(dim=1)
    grouped = total.view(-1, num_generations)
    means = torch.nanmean(grouped, dim=1).repeat_interleave(num_generations, dim=0)
    stds = grouped.std(dim=1).repeat_interleave(num_generations, dim=0)
    torch.isclose(stds, torch.zeros_like(stds))
    return torch.nan_to_num((total - means) / (stds + 1e-4), nan=0.0)


def hook(loop: ControlLoop, rewards: torch.Tensor, advantages: torch.Tensor, size: int) -> None:
    """One turn on the training thread."""
    loop.begin_step()
    total = avspo.total_rewards(rewards, torch.ones(1), size)
    decided = loop.decide(total, None)
    avspo.apply(decided, total, advantages, 0)
    loop.figures(decided)
    loop.report(
        decided,
        total,
        None,
        components={"accuracy": rewards[:, 0].numpy()},
        scalars=Scalars(),
        optimizer_step=0,
    )


def measure(
    client: MonitorClient, sizes: Sequence[tuple[int, int]] = SIZES, *, rounds: int, repeats: int
) -> list[Calls]:
    """Measure every size.

    Args:
        client: of a monitor that runs; started, and used by nobody else.
        sizes: (groups, completions per group).
        rounds: values behind each median.
        repeats: calls behind each value; of listing and `submit` there is one.
    """
    steps = count(1)
    return [_measured(client, steps, *size, rounds, repeats) for size in sizes]


def _measured(
    client: MonitorClient, steps: Iterator[int], groups: int, size: int, rounds: int, repeats: int
) -> Calls:
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 0.5, size=(groups, 1))
    rewards = torch.from_numpy((rng.random((groups, size)) < rates).astype(np.float32))
    rewards = rewards.reshape(-1, 1)
    advantages = trl_advantages(rewards, size)
    texts = [f"{group:>{PROMPT_CHARACTERS}}" for group in range(groups)]
    prompts = [text for text in texts for _ in range(size)]
    completion_ids = [list(range(COMPLETION_TOKENS))] * len(prompts)
    link = Kept(ACTING)
    loop = ControlLoop(link, share=lambda held: held or Held(settings=ACTING), host=Host())
    loop.start(0)
    calls: dict[str, list[float]] = {
        name: [] for name in ("trl", "hook", "listing", "submit", "settings")
    }
    for _ in range(rounds):
        step = next(steps)
        calls["trl"].append(_cpu_us(partial(trl_advantages, rewards, size), repeats))
        calls["hook"].append(_cpu_us(partial(hook, loop, rewards, advantages, size), repeats))
        calls["listing"].append(_cpu_us(partial(facts, completion_ids, prompts, {0}), 1))
        calls["settings"].append(_cpu_us(partial(client.settings_for, step), repeats))
        report = msgspec.structs.replace(link.report, step=step)
        calls["submit"].append(_cpu_us(partial(client.submit, report), 1))
        _await_delivery(client, step)
    pairs = zip(calls["hook"], calls["trl"], strict=True)
    return Calls(
        groups=groups,
        completions=size,
        trl_us=median(calls["trl"]),
        hook_us=median(calls["hook"]),
        ratio=median([ours / theirs for ours, theirs in pairs]),
        listing_us=median(calls["listing"]),
        submit_us=median(calls["submit"]),
        settings_us=median(calls["settings"]),
    )


def _cpu_us(act: Callable[[], Any], repeats: int) -> float:
    """CPU microseconds of one call on this thread, the mean of some."""
    began = time.thread_time()
    for _ in range(repeats):
        act()
    return 1e6 * (time.thread_time() - began) / repeats


def _await_delivery(client: MonitorClient, num_reports: int) -> None:
    """Wait until the monitor has them, so that sending is over when the next call is timed."""
    deadline = time.monotonic() + PATIENCE_S
    while client.stats().results.get("recorded", 0) < num_reports:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{num_reports} reports were not recorded: {client.stats()}")
        time.sleep(0.001)
