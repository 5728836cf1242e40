"""Prometheus Pushgateway: gauges, of which it holds the newest values until they are scraped."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from benchmarks.peers.peer import Logger
from benchmarks.peers.serving import serving
from benchmarks.peers.step import Step, steps


class _Gauges:
    def __init__(self, address: str) -> None:
        self._address = address
        self._registry = CollectorRegistry()
        (first,) = steps(1)
        self._figures = {
            name: Gauge(name, "A figure.", registry=self._registry) for name in first.figures
        }
        self._means = Gauge("reward_mean", "Of a group.", ["group"], registry=self._registry)

    def log(self, step: Step) -> None:
        for name, value in step.figures.items():
            self._figures[name].set(value)
        for name, value in step.group_means.items():
            self._means.labels(name).set(value)
        push_to_gateway(self._address, job="bench", registry=self._registry)

    def finish(self) -> None:
        """Every push was answered."""


@contextmanager
def opened(folder: Path) -> Iterator[Logger]:
    """Gauges, and a gateway of their own."""
    command = ["prometheus-pushgateway", "--web.listen-address=127.0.0.1:{port}"]
    with serving(command, folder / "gateway.log") as port:
        yield _Gauges(f"127.0.0.1:{port}")
