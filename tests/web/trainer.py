"""A trainer that makes every step with the newest settings, and says what it did with them."""

import time
from collections.abc import Mapping
from typing import Any

import httpx

from monitor_service.engine.settings import Settings
from monitor_service.wire import decode_settings
from tests.service.reports import body
from tests.web.runs import create, report


class Trainer:
    """One run, a step at a time; it obeys settings as trainers do, and trains nothing."""

    def __init__(
        self, url: str, run_id: str, refused: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        """Create the run, with these `fields`.

        Args:
            url: the monitor.
            run_id: the run.
            refused: names of the knobs that it cannot turn, and why.
            fields: further ones of the request.
        """
        self.url, self.run_id, self.step = url, run_id, 0
        self._refused = refused or {}
        create(url, run_id, **fields)

    def settings(self) -> Settings:
        """As they are published now."""
        reply = httpx.get(f"{self.url}/v1/runs/{self.run_id}/settings", trust_env=False)
        return decode_settings(httpx.Response(200, json=reply.json()["settings"]).content)

    def trains(self, num_steps: int = 1, **fields: Any) -> None:
        """Make so many steps; `fields` are further ones of each report."""
        for _ in range(num_steps):
            self.step += 1
            content = body(self.step, applied=self._applied(), **fields)
            report(self.url, self.run_id, [content])

    def _applied(self) -> dict[str, Any]:
        settings = self.settings()
        acting = settings.in_force(step=self.step, now_s=time.time())
        knobs = {
            name: {"status": "ignored", "value": 0.0, "reason": self._refused[name]}
            if name in self._refused
            else {"status": "applied", "value": value}
            for name, value in acting.knobs.items()
        }
        return {
            "settings_version": settings.version,
            "through_step": settings.through_step,
            "mode": acting.acting_mode,
            "threshold": acting.threshold,
            "triggered": False,
            "overrides": [one.number for one in acting.overrides],
            "command": settings.command and settings.command.number,
            "knobs": knobs,
        }
