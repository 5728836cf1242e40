"""What a peer is here: something that takes a step from the training thread and keeps it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Protocol

from benchmarks.peers.step import Step


class Logger(Protocol):
    """An open run of a peer."""

    def log(self, step: Step) -> None:
        """What the training thread calls; returns when training may go on."""

    def finish(self) -> None:
        """Returns when everything logged is where it is kept; nothing is logged after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to log a step.

    Attributes:
        name: for people.
        opens: `module:function` beside this one; the function opens a run.
        package: on PyPI; "" when it needs none.
        binary: a Debian package and its program; "" when it needs none.
        keeps: what becomes of the step.
        lacks: what it does not do.
    """

    name: str
    opens: str
    package: str = ""
    binary: str = ""
    keeps: str
    lacks: str

    @property
    def missing(self) -> str:
        """How to install what is missing; "" when nothing is."""
        if self.package and not find_spec(self.package):
            return f"pip install {self.package}"
        if self.binary and not which(self.binary):
            return f"apt-get install {self.binary}"
        return ""

    @property
    def version(self) -> str:
        """Of the package; "" without one."""
        return version(self.package) if self.package else ""

    def opened(self, folder: Path) -> AbstractContextManager[Logger]:
        """An open run with its files in `folder`, and its server where it has one."""
        module, _, function = self.opens.partition(":")
        found: AbstractContextManager[Logger] = getattr(
            import_module(f"benchmarks.peers.{module}"), function
        )(folder)
        return found


PEERS = (
    Peer(
        name="ours",
        opens="ours:opened",
        keeps="every reward, the figures, what was applied; all of it judged",
        lacks="media, artifacts, comparing many experiments",
    ),
    Peer(
        name="a JSON line in a file",
        opens="jsonl:opened",
        keeps="every reward, the figures",
        lacks="everything else: the floor",
    ),
    Peer(
        name="Trackio, local",
        opens="trackio:opened",
        package="trackio",
        keeps="the figures, a histogram of the rewards",
        lacks="judgement of the rewards, an answer to the trainer",
    ),
    Peer(
        name="W&B, offline",
        opens="wandb:opened",
        package="wandb",
        keeps="the figures, a histogram of the rewards",
        lacks="a page before it is synchronised; judgement, an answer",
    ),
    Peer(
        name="TensorBoard (tensorboardX)",
        opens="tensorboard:opened",
        package="tensorboardX",
        keeps="the figures, a histogram of the rewards",
        lacks="other machines, alarms, judgement, an answer",
    ),
    Peer(
        name="Pushgateway",
        opens="pushgateway:opened",
        package="prometheus_client",
        binary="prometheus-pushgateway",
        keeps="the newest figures and means of the groups, until a scrape",
        lacks="steps: what is not scraped in time is gone; judgement, an answer",
    ),
    Peer(
        name="MLflow, REST",
        opens="mlflow:opened",
        package="mlflow",
        keeps="the figures, the mean of each group",
        lacks="alarms, judgement, an answer",
    ),
    Peer(
        name="MLflow, REST, asynchronous",
        opens="mlflow:opened_async",
        package="mlflow",
        keeps="the figures, the mean of each group",
        lacks="the same",
    ),
)
"""Everybody who is compared."""
