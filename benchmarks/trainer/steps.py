"""What a training step costs with the hook and without it, on the toy.

Three trainings take turns in one process: TRL's trainer, ours with a real monitor, and TRL's once
more. The second TRL says how much of a difference is noise. All three have the same weights, which
a learning rate of 0 keeps, and the same random state at the beginning of each step, so they
generate the same tokens and do the same work. The toy makes the share of the hook as large as it
gets: a model of 133k parameters that writes four tokens.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import trl

from benchmarks.figures import Median, median
from benchmarks.trainer.meter import Meter, measured_trainer
from trainer import toy
from trainer.config import GRPOConfig
from trainer.connect import link_for
from trainer.rewards.exact import exact_match_reward

WARM_UP = 3
"""Steps that are not counted."""
WARM_START_STEPS = 300
"""Enough for groups of all kinds; what the model can do beyond that does not matter."""
SETTINGS = {"threshold": 0.1, "min_groups_per_unit": 1}
"""Injects at nearly every step, so that all of the hook's work is done."""


class Turn(transformers.TrainerCallback):  # type: ignore[misc]
    """A training in a thread of its own that takes one step when it is told to.

    A step lasts from the end of the one before, so logging and the fetching of data are in it.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        """`meter` is read at the end of every step."""
        self.cpu_s: list[float] = []
        self.wall_s: list[float] = []
        self.booked: list[dict[str, float]] = []
        self._meter = meter
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._failure: BaseException | None = None
        self._began = (0.0, 0.0)

    def run(self, trainer: Any) -> None:
        """Train; the body of the thread."""
        torch.set_num_threads(1)
        try:
            trainer.train()
        except BaseException as error:  # noqa: BLE001 - raised again where the turns are given
            self._failure = error
        finally:
            self._done.release()

    def step(self) -> None:
        """Have it take one step, or end after its last; returns when it has."""
        self._go.release()
        self._done.acquire()
        if self._failure is not None:
            raise self._failure

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the first turn."""
        self._wait(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Book the step and wait for the next turn."""
        cpu_s, wall_s = self._began
        self.cpu_s.append(time.thread_time() - cpu_s)
        self.wall_s.append(time.perf_counter() - wall_s)
        self.booked.append(self._meter.taken() if self._meter else {})
        self._done.release()
        self._wait(state.global_step)

    def _wait(self, step: int) -> None:
        self._go.acquire()
        torch.manual_seed(step)
        self._began = (time.thread_time(), time.perf_counter())


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What was measured over the counted steps; times of one step.

    Attributes:
        plain_cpu_ms, ours_cpu_ms, plain_wall_ms, ours_wall_ms: of TRL's trainer and of ours.
        cpu_ratio, wall_ratio: ours over TRL's, step by step.
        cpu_noise, wall_noise: TRL's second training over its first, the same way.
        hook_ms: CPU time inside our methods on the training thread, TRL's taken off.
        client_ms: the same inside `submit` and `settings_for` of the client.
        share: of a step's CPU time that is hook and client.
        threads_ms: CPU time of the client's own threads, for each step.
        num_groups: of a step.
        num_injected: groups injected, in all counted steps.
    """

    num_steps: int
    num_groups: int
    num_injected: int
    plain_cpu_ms: Median
    ours_cpu_ms: Median
    cpu_ratio: Median
    cpu_noise: Median
    plain_wall_ms: Median
    ours_wall_ms: Median
    wall_ratio: Median
    wall_noise: Median
    hook_ms: Median
    client_ms: Median
    share: Median
    threads_ms: float


def measure(
    url: str,
    redis_url: str,
    folder: Path,
    *,
    num_steps: int,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Steps:
    """Train `num_steps` counted steps of each of the three.

    Args:
        url: of a monitor that runs.
        redis_url: where it publishes settings.
        folder: for the trainers' files.
        num_steps: counted; a few more are not.
        on_step: told (rounds done, rounds in all).
    """
    num_rounds = WARM_UP + num_steps
    common = {
        **toy.GRPO_DEFAULTS,
        "learning_rate": 0.0,
        "max_steps": num_rounds,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    config = GRPOConfig(
        **common,
        output_dir=str(folder / "ours"),
        use_avspo=True,
        avspo_settings=SETTINGS,
        monitor_url=url,
        monitor_redis_url=redis_url,
        monitor_unreachable="fail",
    )
    problems, _ = toy.make_splits()
    tokenizer, model = toy.make_tokenizer(), toy.make_model()
    toy.warm_start(model, tokenizer, problems, num_steps=WARM_START_STEPS)

    def arguments(args: Any, turn: Turn) -> dict[str, Any]:
        return {
            "model": deepcopy(model),
            "args": args,
            "reward_funcs": [exact_match_reward],
            "train_dataset": problems,
            "processing_class": tokenizer,
            "callbacks": [turn],
        }

    meter = Meter()
    turns = {"plain": Turn(), "ours": Turn(meter), "again": Turn()}
    link = link_for(config)
    trainers = {
        name: trl.GRPOTrainer(
            **arguments(trl.GRPOConfig(**common, output_dir=str(folder / name)), turns[name])
        )
        for name in ("plain", "again")
    }
    trainers["ours"] = measured_trainer(meter, link, **arguments(config, turns["ours"]))
    # Behind our callback, so that what that does at the end of a step is inside the step.
    for trainer in trainers.values():
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.add_callback(trainer.pop_callback(Turn))
    counted = slice(WARM_UP, None)
    threads_s = []
    with _running(trainers, turns) as client_threads:
        names = list(turns)
        for done in range(num_rounds):
            for at in range(len(names)):
                turns[names[(done + at) % len(names)]].step()
            threads_s.append(_cpu_s(client_threads()))
            on_step(done + 1, num_rounds)

    def series(name: str, field: str) -> list[float]:
        return list(getattr(turns[name], field)[counted])

    def ratios(name: str, field: str) -> Median:
        pairs = zip(series(name, field), series("plain", field), strict=True)
        return median([one / other for one, other in pairs])

    booked = turns["ours"].booked[counted]
    hook, client = ([one.get(label, 0.0) for one in booked] for label in ("hook", "client"))
    shares = [
        (ours + theirs) / step
        for ours, theirs, step in zip(hook, client, series("ours", "cpu_s"), strict=True)
    ]
    history = trainers["ours"].state.log_history
    acr = [row for row in history if "acr" in row][counted]
    num_groups = config.per_device_train_batch_size // config.num_generations
    injected = sum(row["acr"] - row["acr_effective"] for row in acr) * num_groups
    return Steps(
        num_steps=num_steps,
        num_groups=num_groups,
        num_injected=round(injected),
        plain_cpu_ms=median(series("plain", "cpu_s")).scaled(1e3),
        ours_cpu_ms=median(series("ours", "cpu_s")).scaled(1e3),
        cpu_ratio=ratios("ours", "cpu_s"),
        cpu_noise=ratios("again", "cpu_s"),
        plain_wall_ms=median(series("plain", "wall_s")).scaled(1e3),
        ours_wall_ms=median(series("ours", "wall_s")).scaled(1e3),
        wall_ratio=ratios("ours", "wall_s"),
        wall_noise=ratios("again", "wall_s"),
        hook_ms=median(hook).scaled(1e3),
        client_ms=median(client).scaled(1e3),
        share=median(shares),
        threads_ms=1e3 * (threads_s[-1] - threads_s[WARM_UP - 1]) / num_steps,
    )


@contextmanager
def _running(
    trainers: dict[str, Any], turns: dict[str, Turn]
) -> Iterator[Callable[[], list[threading.Thread]]]:
    """The trainings in their threads; gives what lists the threads that they started."""
    before = threading.enumerate()
    threads = [
        threading.Thread(
            target=turns[name].run, args=(trainer,), name=f"training-{name}", daemon=True
        )
        for name, trainer in trainers.items()
    ]
    for thread in threads:
        thread.start()
    known = {*before, *threads}
    yield lambda: [thread for thread in threading.enumerate() if thread not in known]
    for turn in turns.values():
        turn.step()
    for thread in threads:
        thread.join()


def _cpu_s(threads: list[threading.Thread]) -> float:
    """CPU seconds of these threads so far."""
    idents = [thread.ident for thread in threads if thread.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents)
