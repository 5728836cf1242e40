"""`acr demo`: the closed loop on this machine, in minutes, without weights or a GPU.

A monitor with its embedded store runs as its own process; a tiny model learns addition by GRPO
with AVSPO here, and the two talk over HTTP and Redis as on a cluster. What the table shows was
read back from the monitor. Importing this module is cheap: the heavy parts load when it runs.
"""

import json
import logging
import math
import os
import signal
import socket
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from monitor_service.client.api import MonitorApi
from monitor_service.engine.profiles import PROFILES
from monitor_service.errors import StartupError
from monitor_service.resources import Run, StepRecord
from monitor_service.wire import DEFAULT_PORT
from trainer.logs import to_standard_error

if TYPE_CHECKING:
    from trainer.link import ClientStats
    from trainer.toy import Accuracy

RUN_ID = "demo"
LOCKSTEP_S = 10.0
"""Each step waits for the settings that follow from the step before, so that a seed repeats."""
STOP_TIMEOUT_S = 15.0
_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo measured."""

    run: Run
    steps: Sequence[StepRecord]
    stats: "ClientStats"
    before: "Accuracy"
    after: "Accuracy"


def _known(profile: str) -> str:
    if profile not in PROFILES:
        raise typer.BadParameter(f"{profile!r} is not one of {', '.join(PROFILES)}")
    return profile


def demo(
    steps: Annotated[int, typer.Option(min=2, help="Generation batches to train.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Repeats the run exactly.")] = 0,
    profile: Annotated[str, typer.Option(callback=_known, help=", ".join(PROFILES))] = "paper",
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the figures; - prints them.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the monitor's data here (default: thrown away).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help=f"The monitor's port (default: {DEFAULT_PORT} if free).")
    ] = None,
) -> None:
    """Watch the loop close: a monitor, a tiny model, real GRPO training."""
    if missing := [name for name in ("torch", "trl", "datasets") if not find_spec(name)]:
        raise StartupError(
            f"the demo trains for real and lacks {', '.join(missing)}: install acr-monitor[train]"
        )
    if json_file and json_file != "-":
        _check_writable(Path(json_file))
    console = Console(stderr=True)
    to_standard_error(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix="acr-demo-") as scratch:
            folder = data_dir or Path(scratch) / "monitor"
            with _monitor(folder, _port(port)) as (url, redis_url):
                console.print(f"[bold]Monitor[/] at {url}. Try in another terminal, as it trains:")
                console.print(f"  acr watch {RUN_ID} --url {url}")
                console.print(f'  acr set {RUN_ID} threshold=0.3 --reason "trying it" --url {url}')
                outcome = _train(url, redis_url, steps, seed, profile, Path(scratch), console)
    except KeyboardInterrupt:
        console.print("interrupted")
        raise typer.Exit(128 + signal.SIGINT) from None
    text = json.dumps(figures := _figures(outcome, seed), indent=2) + "\n"
    if json_file == "-":
        sys.stdout.write(text)
        return
    out = Console()
    with out.capture() as drawn:
        out.print(_table(outcome, figures))
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())
    if json_file:
        Path(json_file).write_text(text)
        console.print(f"Figures of every step in {json_file}")


def _check_writable(file: Path) -> None:
    """Refuse before minutes of training what could not be written after them."""
    place = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(place, os.W_OK):
        raise StartupError(f"--json {file}: not a file that can be written in an existing folder")


def _train(
    url: str, redis_url: str, steps: int, seed: int, profile: str, scratch: Path, console: Console
) -> Outcome:
    import datasets
    import torch
    import transformers

    from trainer import toy
    from trainer.client import MonitorClient
    from trainer.config import GRPOConfig
    from trainer.grpo import GRPOTrainer
    from trainer.rewards.exact import exact_match_reward

    # TRL and transformers disagree about names; nobody who runs a demo can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.set_seed(seed)
    # So small a model gains nothing from a second thread, and two that compete for cores spin.
    torch.set_num_threads(1)
    config = GRPOConfig(
        **toy.GRPO_DEFAULTS,
        output_dir=str(scratch / "trainer"),
        max_steps=steps,
        seed=seed,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_avspo=profile != "grpo",
        avspo_profile=profile,
        settings_wait_s=LOCKSTEP_S,
    )
    problems, held_out = toy.make_splits(seed=seed)
    tokenizer, model = toy.make_tokenizer(), toy.make_model(seed=seed)
    client = MonitorClient(
        url,
        run_id=RUN_ID,
        profile=config.initial_profile,
        settings=config.initial_changes(),
        redis_url=redis_url,
        when_unreachable="fail",
        config={"model": "toy", "task": "two-operand addition", "seed": seed},
    )
    with closing(client), _progress(console) as bars:
        bar = bars.add_task("warm start", total=None, note="supervised, brief")
        toy.warm_start(
            model,
            tokenizer,
            problems,
            seed=seed,
            on_step=lambda done, total: bars.update(bar, completed=done, total=total),
        )
        before = toy.greedy_accuracy(model, tokenizer, held_out)
        trainer = GRPOTrainer(
            model=model,
            args=config,
            reward_funcs=[exact_match_reward],
            train_dataset=problems,
            processing_class=tokenizer,
            monitor=client,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        bar = bars.add_task("GRPO + AVSPO" if config.use_avspo else "GRPO", total=steps, note="")
        trainer.add_callback(_bar_callback(bars, bar))
        trainer.train()
        after = toy.greedy_accuracy(model, tokenizer, held_out)
    with MonitorApi(url) as monitor:
        run, recorded = monitor.run(RUN_ID), list(monitor.steps(RUN_ID))
    return Outcome(
        run=run,
        steps=recorded,
        stats=client.stats(),
        before=before,
        after=after,
    )


@contextmanager
def _monitor(data_dir: Path, port: int) -> Iterator[tuple[str, str]]:
    """A monitor in its own process, which ends with ours; its URL and its Redis URL."""
    command = [
        *(sys.executable, "-P", "-m", "monitor_service", "serve", "--with-parent", "--json"),
        *("--port", str(port), "--data-dir", str(data_dir)),
    ]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        monitor_log = (data_dir / "monitor.log").open("ab")
    except OSError as error:
        raise StartupError(f"--data-dir {data_dir}: {error.strerror}") from error
    with monitor_log:
        # In a group of its own: Ctrl-C is for the demo, which then ends the monitor in order.
        process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=monitor_log, process_group=0)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            text = " ".join((data_dir / "monitor.log").read_text().strip().splitlines()[-1:])
            raise StartupError(f"the monitor did not start: {text.removeprefix('acr: ')}")
        endpoint = json.loads(line)
        yield endpoint["url"], endpoint["redis_url"]
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(STOP_TIMEOUT_S)


def _port(wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    try:
        socket.create_server(("127.0.0.1", DEFAULT_PORT)).close()
    except OSError:
        return 0
    return DEFAULT_PORT


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:13}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
    )


def _bar_callback(bars: Progress, bar: Any) -> Any:
    from transformers import TrainerCallback

    class Bar(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "acr" in logs:
                note = (
                    f"ACR {logs['acr']:.2f} (wrong {logs['acr_wrong']:.2f}) "
                    f"tau {logs['acr_threshold']:.3f}"
                )
                bars.update(bar, completed=state.global_step, note=note)

    return Bar()


def _figures(outcome: Outcome, seed: int) -> dict[str, Any]:
    """Everything the table shows, and the paths behind it."""
    steps = outcome.steps
    fifth = max(1, len(steps) // 5)
    lags_ms = sorted(1000 * lag for lag in outcome.stats.lags_s)
    applied = [record.applied for record in steps if record.applied]
    return {
        "seed": seed,
        "profile": outcome.run.settings.profile,
        "steps": len(steps),
        "early": _average(steps[:fifth]),
        "late": _average(steps[-fifth:]),
        "acr_path": [record.collapse.acr for record in steps],
        "threshold_path": [record.collapse.threshold for record in steps],
        "applied_versions": [one.settings_version for one in applied],
        "applied_thresholds": [one.threshold for one in applied],
        "lag_steps": [one.step - 1 - one.applied.through_step for one in steps if one.applied],
        "lag_ms": {
            "p50": statistics.median(lags_ms) if lags_ms else None,
            "p99": lags_ms[math.ceil(0.99 * len(lags_ms)) - 1] if lags_ms else None,
        },
        "injected_steps": outcome.run.counters.intervened_steps,
        "injected_wrong": outcome.run.counters.injected_wrong,
        "injected_correct": outcome.run.counters.injected_correct,
        "collapsed_wrong": outcome.run.counters.all_wrong,
        "collapsed_correct": outcome.run.counters.all_correct,
        "reports": dict(outcome.stats.results),
        "settings_from": dict(outcome.stats.settings_from),
        "accuracy_before": outcome.before.value,
        "accuracy_after": outcome.after.value,
        "accuracy_standard_error": outcome.after.standard_error,
    }


def _average(steps: Sequence[StepRecord]) -> dict[str, float | None]:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known else None

    return {
        "first_step": steps[0].step,
        "last_step": steps[-1].step,
        "acr": mean([record.collapse.acr for record in steps]),
        "acr_wrong": mean([record.collapse.acr_wrong for record in steps]),
        "acr_correct": mean([record.collapse.acr_correct for record in steps]),
        "acr_effective": mean([one.applied.effective_acr for one in steps if one.applied]),
        "reward": mean([record.collapse.reward_mean for record in steps]),
        "entropy": mean([record.scalars.entropy for record in steps]),
    }


def _table(outcome: Outcome, figures: dict[str, Any]) -> Table:
    early, late = figures["early"], figures["late"]
    table = Table(
        title=f"{figures['steps']} steps, as the monitor recorded them",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column("", no_wrap=True)
    for part in (early, late):
        title = f"{part['first_step']}-{part['last_step']}"
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("over the run")
    thresholds, acr = figures["threshold_path"], figures["acr_path"]

    def rate(label: str, name: str, over_run: str = "") -> None:
        pair = ["-" if part[name] is None else f"{part[name]:.3f}" for part in (early, late)]
        table.add_row(label, *pair, over_run)

    rate("ACR", "acr", _spark(acr))
    rate("  all wrong", "acr_wrong", f"{figures['collapsed_wrong']} groups")
    rate("  all correct", "acr_correct", f"{figures['collapsed_correct']} groups")
    rate("  effective", "acr_effective", "after injection: falls by construction")
    rate("reward", "reward")
    rate("entropy, nats", "entropy")
    table.add_row("threshold", f"{thresholds[0]:.3f}", f"{thresholds[-1]:.3f}", _spark(thresholds))
    table.add_row(
        "injected",
        "",
        "",
        f"{figures['injected_wrong']} wrong, {figures['injected_correct']} correct groups "
        f"in {figures['injected_steps']} steps",
    )
    versions, lag_ms = figures["applied_versions"], figures["lag_ms"]
    brought = figures["settings_from"]
    table.add_row(
        "settings applied",
        f"v{versions[0]}",
        f"v{versions[-1]}",
        f"{len(set(versions))} versions; of {sum(brought.values())} received, first by "
        + ", ".join(f"{way} {count}" for way, count in sorted(brought.items())),
    )
    table.add_row(
        "loop lag",
        "",
        f"{max(figures['lag_steps'])} steps",
        f"at most; report sent to settings held: {lag_ms['p50']:.0f} ms median, "
        f"{lag_ms['p99']:.0f} ms p99",
    )
    table.add_row(
        "accuracy, greedy",
        f"{outcome.before.value:.3f}",
        f"{outcome.after.value:.3f}",
        f"before, after; ± {figures['accuracy_standard_error']:.3f} "
        f"({outcome.after.num_problems} held-out problems)",
    )
    return table


def _spark(values: Sequence[float | None]) -> str:
    """The path averaged down to a fixed width, as bars between its own extremes, which it names."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    width = min(_SPARK_WIDTH, len(known))
    means = [
        statistics.fmean(known[i * len(known) // width : (i + 1) * len(known) // width])
        for i in range(width)
    ]
    low, high = min(means), max(means)
    bars = "".join(_BARS[int(7.999 * (mean - low) / (high - low or 1))] for mean in means)
    return f"{bars} {low:.2f}-{high:.2f}"
