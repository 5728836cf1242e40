"""What a sink is: somebody to tell, and what comes of trying."""

from dataclasses import dataclass
from typing import Literal, Protocol

from monitor_service.alert import Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one try to deliver.

    Attributes:
        outcome: delivered; failed: try again; refused: this alert will never be taken.
        text: what the sink said; holds no secret.
        retry_after_s: how long it wants to be left alone; None when it did not say.
    """

    outcome: Literal["delivered", "failed", "refused"]
    text: str
    retry_after_s: float | None = None


class Sink(Protocol):
    """Somebody to tell."""

    @property
    def name(self) -> str:
        """By which the store and `/metrics` know it; the kind, numbered from the second on."""

    @property
    def place(self) -> str:
        """Where it is, fit to be shown."""

    async def send(self, alert: Alert) -> Answer:
        """Tell it; ends in time, and raises nothing."""
