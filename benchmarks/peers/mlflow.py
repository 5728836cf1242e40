"""MLflow: figures over REST to a tracking server of its own, with SQLite."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mlflow

from benchmarks.peers.peer import Logger
from benchmarks.peers.serving import serving
from benchmarks.peers.step import Step


class _Run:
    def __init__(self, *, is_synchronous: bool) -> None:
        self._is_synchronous = is_synchronous

    def log(self, step: Step) -> None:
        figures = {**step.figures, **step.group_means}
        mlflow.log_metrics(figures, step=step.number, synchronous=self._is_synchronous)

    def finish(self) -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()


@contextmanager
def _opened(folder: Path, *, is_synchronous: bool) -> Iterator[Logger]:
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts"), "--port", "{port}"),
    ]
    with serving(command, folder / "mlflow.log") as port:
        mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
        mlflow.set_experiment("bench")
        mlflow.start_run()
        yield _Run(is_synchronous=is_synchronous)


opened = partial(_opened, is_synchronous=True)
"""A run on a server of its own; every step waits for the server."""
opened_async = partial(_opened, is_synchronous=False)
"""The same with MLflow's asynchronous logging."""
