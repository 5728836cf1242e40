"""`MonitorClient`: reports out, settings in, training undisturbed. Framework-neutral.

One thread sends reports over HTTP, in order, again and again until the monitor takes them; one
listens to Redis for settings, so that a change by a person arrives without waiting for a report.
Without Redis access the replies to reports carry the settings. The trainer only ever touches a
queue and a variable.

When the monitor goes away the newest settings stay in force for `MAX_STALE_STEPS`, then every
intervention stops (plain GRPO) until it is back. Reports wait on disk where a folder is given, else
in memory; the oldest are dropped and counted when there are too many.
"""

import atexit
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.requests import EndOfRun
from monitor_service.resources import Ack, Run
from monitor_service.urls import HTTP_SCHEMES, checked
from monitor_service.wire import ATTEMPT_CONFLICT, RUN_DELETED, CreateRun, StepReport, check_run_id
from trainer.backlog import Backlog, kept_by
from trainer.holding import Holding
from trainer.link import (
    WHEN_UNREACHABLE,
    ClientStats,
    Held,
    MonitorUnreachable,
    WhenUnreachable,
)
from trainer.listener import FIRST_RETRY_S, LAST_RETRY_S, connection, listen
from trainer.spool import DEFAULT_SPOOL_BYTES, check_spool_bytes
from trainer.transport import Quiet, Refused, auth_for, post

QUEUE_REPORTS = 512
BATCH_REPORTS = 32
"""Most reports in one request, when there is a backlog."""
REQUEST_TIMEOUT_S = 10.0
START_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class MonitorClient:
    """A run's line to the monitor; a `MonitorLink`."""

    def __init__(
        self,
        url: str,
        *,
        run_id: str,
        profile: str = "paper",
        settings: Mapping[str, Any] | None = None,
        redis_url: str | None = None,
        token: str | None = None,
        when_unreachable: WhenUnreachable = "grpo",
        config: Mapping[str, Any] | None = None,
        run_id_is_made_up: bool = False,
        spool_dir: Path | None = None,
        spool_max_bytes: int = DEFAULT_SPOOL_BYTES,
    ) -> None:
        """Connects to nothing until `start`.

        Args:
            url: the monitor, such as `http://127.0.0.1:8400`.
            run_id: name of the run.
            profile: bundle of settings the run starts from, when it is new.
            settings: changes on top of the profile.
            redis_url: where settings are published; None takes them from the replies.
            token: what the monitor lets this run report with; None takes that of `ACR_TOKEN`.
            when_unreachable: what to do until a monitor answers: grpo (no intervention), hold
                (the initial settings), or fail (`start` raises MonitorUnreachable).
            config: what the trainer runs with, for people to read.
            run_id_is_made_up: nobody chose `run_id`, so that of a checkpoint replaces it.
            spool_dir: where reports wait for a monitor that is away; None: in memory only.
            spool_max_bytes: bound of the files there, in [1 MiB, 1 TiB].

        Raises:
            InvalidInput: a bad run id, profile, setting, URL, token or bound.
        """
        self.run_id = check_run_id(run_id)
        self._initial = from_profile(profile, settings or {})
        self._create = CreateRun(
            id=run_id, profile=profile, settings=dict(settings or {}), config=dict(config or {})
        )
        if when_unreachable not in WHEN_UNREACHABLE:
            allowed = f"one of {', '.join(WHEN_UNREACHABLE)}"
            raise InvalidInput("when_unreachable", when_unreachable, allowed)
        self._when_unreachable = when_unreachable
        checked("monitor_url", url, HTTP_SCHEMES)
        parsed = httpx.URL(url)
        self._url = parsed.copy_with(userinfo=b"")
        self._quiet = Quiet(self._url)
        self._auth = auth_for(parsed, token)
        self._redis = None if redis_url is None else connection(redis_url)
        self._run_id_is_made_up = run_id_is_made_up
        self._spool_dir = None if spool_dir is None else Path(spool_dir).absolute()
        self._changed = threading.Condition()
        self._holding = Holding(self._changed, self._initial, when_unreachable)
        self._backlog = Backlog(
            self._changed,
            self._lost,
            most_in_memory=QUEUE_REPORTS,
            spool_dir=self._spool_dir,
            spool_max_bytes=check_spool_bytes(spool_max_bytes),
        )
        self._after_step = self._newest_step = 0
        self._attempt = 1
        self._is_known = self._is_connected = self._is_superseded = False
        self._how_it_ended = ""
        self._failure: Exception | None = None
        self._num_failures = 0
        self._results: Counter[str] = Counter()
        self._hurry, self._closing = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, after_step: int = 0) -> None:
        """Announce the run, waiting at most `START_TIMEOUT_S`, and begin to send and listen.

        A run that the monitor knows continues after this step, as a new attempt. What an earlier
        process of the run left in the spool is delivered first; its reports of later steps are
        deleted, since those steps are trained again. When no monitor answers there is one warning,
        and the announcement is repeated in the background.

        Raises:
            MonitorUnreachable: no monitor answers, and `when_unreachable` is fail.
        """
        self.close()
        closing = threading.Event()
        replayed = self._backlog.begin(self.run_id, after_step)
        # A step that waits for settings waits for those that follow from what is replayed, too.
        self._holding.begin([] if replayed is None else [replayed])
        with self._changed:
            self._after_step = self._newest_step = after_step
            self._is_known = self._is_connected = self._is_superseded = False
            self._failure = None
            self._closing = closing
            failures = self._num_failures
        self._hurry.clear()
        # A repeated announcement of this start must not look like another start.
        self._create = msgspec.structs.replace(self._create, start_id=secrets.token_hex(8))
        logging.getLogger("httpx").addFilter(self._quiet)
        targets: list[Callable[[], None]] = [partial(self._send_all, closing)]
        if self._redis:
            take = partial(self._take, closing=closing)
            unreadable = self._holding.cannot_read
            targets.append(partial(listen, self._redis, self.run_id, take, unreadable, closing))
        self._threads = [
            threading.Thread(target=target, name="acr-client", daemon=True) for target in targets
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close, "exited")
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_known or self._num_failures > failures, START_TIMEOUT_S
            )
            is_known, failure = self._is_known, self._failure
        if not is_known:
            self._miss(failure)

    def _miss(self, failure: Exception | None) -> None:
        reason = failure or f"no answer within {START_TIMEOUT_S:g} s"
        if self._when_unreachable == "fail":
            self.close()
            raise MonitorUnreachable(f"no monitor at {self._url}: {reason}") from failure
        log.warning(
            "no monitor at %s (%s); training starts %s until one answers",
            self._url,
            reason,
            "as plain GRPO" if self._when_unreachable == "grpo" else "with its own settings",
        )

    def settings_for(self, step: int, wait_s: float = 0.0) -> Held:
        """The settings to apply at `step`: a variable read, unless `wait_s` asks to wait.

        Args:
            step: number of the generation batch, from 1.
            wait_s: longest wait for settings that know `step - 1`; not while the monitor is away.
        """
        with self._changed:
            if wait_s:
                self._changed.wait_for(lambda: not self._may_still_come(step), wait_s)
            is_superseded = self._is_superseded
        return self._holding.fitting(step, is_superseded=is_superseded)

    def _may_still_come(self, step: int) -> bool:
        """Whether waiting for the settings that follow from `step - 1` makes sense."""
        if not self._is_connected or self._is_superseded:
            return False
        return self._holding.is_to_come(step - 1)

    def submit(self, report: StepReport) -> bool:
        """Queue a report. Never blocks, never raises; False when the queue dropped its oldest."""
        with self._changed:
            if self._is_superseded:
                self._results["conflict"] += 1
                return False
            self._newest_step = report.step
            self._holding.handed_in(report.step)
            return self._backlog.put(report)

    def _lost(self, fate: str, steps: Sequence[int]) -> None:
        """These reports will not be sent; called under `_changed`."""
        self._results[fate] += len(steps)
        self._holding.give_up(steps)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; whatever was handed in before is on disk when this returns.

        Its `step` is the newest one handed in: where `start` goes on after a `load`.
        """
        self._backlog.spill()
        folder = None if self._spool_dir is None else str(self._spool_dir)
        return {
            "run_id": self.run_id,
            "step": self._newest_step,
            "spool_dir": folder,
            "undelivered": len(self._backlog),
        }

    def load(self, state: Mapping[str, Any]) -> None:  # noqa: D102 - the Protocol documents it
        kept = kept_by(state)
        if kept is None:
            return
        if self._run_id_is_made_up:
            self.run_id = kept.run_id
            self._create = msgspec.structs.replace(self._create, id=kept.run_id)
        elif kept.run_id != self.run_id:
            what = "the checkpoint is of run %s; run_id=%s was given, and wins"
            log.warning(what, kept.run_id, self.run_id)
        self._backlog.look_behind(kept)

    def close(self, how: str = "finished") -> None:
        """Deliver what is queued, say how training ended, and end the threads.

        Takes at most `CLOSE_TIMEOUT_S`, and less when the monitor does not answer.
        """
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        with self._changed:
            # An attempt may be under way; the one after it has seen the monitor as it is now.
            last_failure = self._num_failures + 2
            self._hurry.set()
            self._changed.notify_all()
            if self._threads:
                self._changed.wait_for(
                    lambda: not self._backlog or self._num_failures >= last_failure, CLOSE_TIMEOUT_S
                )
            self._how_it_ended = how
            self._closing.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        num_left, folder = len(self._backlog), self._backlog.end()
        if self._threads and num_left:
            told = f"; they wait in {folder} for the run to be resumed" if folder else ""
            log.warning("%d reports were not delivered to %s%s", num_left, self._url, told)
        self._threads = []
        logging.getLogger("httpx").removeFilter(self._quiet)
        atexit.unregister(self.close)

    def stats(self) -> ClientStats:
        """Counts and lags so far."""
        with self._changed:
            return ClientStats(
                results=dict(self._results),
                settings_from=dict(self._holding.arrived_by),
                lags_s=tuple(self._holding.lags_s),
            )

    def _send_all(self, closing: threading.Event) -> None:
        """The sender thread: the head of the queue leaves it only when its fate is known."""
        retry_s = FIRST_RETRY_S
        most = BATCH_REPORTS
        batch: list[StepReport] = []
        with httpx.Client(base_url=self._url, auth=self._auth, timeout=REQUEST_TIMEOUT_S) as http:
            while not closing.is_set():
                try:
                    if not self._is_known:
                        self._announce(http, closing)
                    if batch := self._next_batch(most, closing):
                        self._send(http, batch, closing)
                    most, retry_s = BATCH_REPORTS, FIRST_RETRY_S
                    continue
                except Refused as error:
                    if self._is_known and error.status != 404 and error.kind != RUN_DELETED:
                        most = self._on_refusal(error, batch)
                        continue
                    # The run itself is unknown, or not wanted: nothing of the reports is to blame.
                    self._is_known = False
                    self._on_silence(error)
                except Exception as error:  # noqa: BLE001 - a dead thread would end the loop in silence
                    self._on_silence(error)
                self._pause(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
            if self._is_connected and not self._is_superseded and not self._backlog:
                ended = EndOfRun(attempt=self._attempt, how=self._how_it_ended)
                with suppress(httpx.HTTPError, Refused):
                    post(http, f"/v1/runs/{self.run_id}/end", ended)

    def _next_batch(self, most: int, closing: threading.Event) -> list[StepReport]:
        """The oldest reports, waiting for one; empty when the client closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._backlog or closing.is_set())
        return [] if closing.is_set() else self._backlog.head(most)

    def _pause(self, duration_s: float) -> None:
        """Wait before the next try; what is handed in meanwhile goes on disk at once."""
        deadline = time.monotonic() + duration_s
        while self._backlog.spill() and (left_s := deadline - time.monotonic()) > 0:
            with self._changed:
                if self._changed.wait_for(self._has_to_act, left_s) and self._hurry.is_set():
                    return
        self._hurry.wait(max(0.0, deadline - time.monotonic()))

    def _has_to_act(self) -> bool:
        return self._hurry.is_set() or self._backlog.is_waiting_in_memory

    def _announce(self, http: httpx.Client, closing: threading.Event) -> None:
        """Create the run, or continue it after the newest step that is not reported yet."""
        first = self._backlog.first_step()
        after = self._after_step if first is None else first - 1
        wanted = msgspec.structs.replace(self._create, resume_from_step=after)
        run = msgspec.json.decode(post(http, "/v1/runs", wanted), type=Run)
        if closing.is_set():
            return
        # Whoever was warned that nobody answers wants to hear that somebody does.
        level = logging.WARNING if self._failure else logging.INFO
        log.log(level, "run %s, attempt %d, at %s", self.run_id, run.attempt, self._url)
        with self._changed:
            self._attempt, self._failure = run.attempt, None
            self._is_known = self._is_connected = True
            self._holding.announced(self.run_id, run.settings)
            self._changed.notify_all()

    def _send(self, http: httpx.Client, batch: list[StepReport], closing: threading.Event) -> None:
        reports = [msgspec.structs.replace(report, attempt=self._attempt) for report in batch]
        ack = msgspec.json.decode(post(http, f"/v1/runs/{self.run_id}/steps", reports), type=Ack)
        if closing.is_set():
            return
        if not self._is_connected:
            log.warning("the monitor at %s answers again", self._url)
        self._settle([result.status for result in ack.results], batch)
        self._holding.offer(ack.settings, "http")

    def _settle(self, statuses: Sequence[str], batch: list[StepReport]) -> None:
        """What became of the batch is known: it leaves the backlog."""
        self._backlog.settle(len(batch))
        fates = zip(batch, statuses, strict=False)
        with self._changed:
            self._results.update(statuses)
            self._holding.give_up(
                report.step for report, fate in fates if fate not in ("recorded", "duplicate")
            )
            self._is_connected = True
            self._changed.notify_all()

    def _on_refusal(self, error: Refused, batch: list[StepReport]) -> int:
        """The monitor will not take these reports as they are; returns how many to send next."""
        if error.results:
            statuses: list[str] = [result.status for result in error.results]
        elif len(batch) > 1:
            return 1
        else:
            statuses = ["rejected"]
        if not self._results["conflict"] + self._results["rejected"]:
            log.warning("the monitor refused a report, this is said once: %s", error)
        self._is_superseded |= error.kind == ATTEMPT_CONFLICT
        self._settle(statuses, batch)
        return BATCH_REPORTS

    def _on_silence(self, error: Exception) -> None:
        with self._changed:
            was_connected, self._is_connected = self._is_connected, False
            self._failure = error
            self._num_failures += 1
            if self._is_known and isinstance(error, msgspec.DecodeError):
                self._holding.is_unreadable()
            self._changed.notify_all()
        if was_connected:
            log.warning("the monitor at %s went away: %s", self._url, error)

    def _take(self, settings: Settings, closing: threading.Event) -> None:
        with self._changed:
            if not closing.is_set():
                self._holding.offer(settings, "redis")
