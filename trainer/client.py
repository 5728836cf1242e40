"""`MonitorClient`: reports out, settings in, training undisturbed. Framework-neutral.

One thread sends reports over HTTP, in order, again and again until the monitor takes them; one
listens to Redis for settings, so that a change by a person arrives without waiting for a report.
Without Redis access the replies to reports carry the settings. The trainer only ever touches a
queue and a variable.

When the monitor goes away the newest settings stay in force for `MAX_STALE_STEPS`, then every
intervention stops (plain GRPO) until it is back. Reports wait in memory, the oldest are dropped
and counted when there are too many.
"""

import atexit
import logging
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Literal

import httpx
import msgspec

from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import TUNABLE, Settings
from monitor_service.errors import InvalidInput
from monitor_service.resources import Ack, EndOfRun, Run
from monitor_service.urls import HTTP_SCHEMES, checked
from monitor_service.wire import ATTEMPT_CONFLICT, CreateRun, StepReport, check_run_id
from trainer.holding import fitting, is_stale
from trainer.link import (
    WHEN_UNREACHABLE,
    ClientStats,
    Held,
    MonitorUnreachable,
    WhenUnreachable,
)
from trainer.listener import FIRST_RETRY_S, LAST_RETRY_S, connection, listen
from trainer.transport import Quiet, Refused, post

QUEUE_REPORTS = 512
BATCH_REPORTS = 32
"""Most reports in one request, when there is a backlog."""
REQUEST_TIMEOUT_S = 10.0
START_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 5.0
LAGS_KEPT = 10_000

log = logging.getLogger(__name__)

Source = Literal["redis", "http"]


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
        when_unreachable: WhenUnreachable = "grpo",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Connects to nothing until `start`.

        Args:
            url: the monitor, such as `http://127.0.0.1:8400`.
            run_id: name of the run.
            profile: bundle of settings the run starts from, when it is new.
            settings: changes on top of the profile.
            redis_url: where settings are published; None takes them from the replies.
            when_unreachable: what to do until a monitor answers: grpo (no intervention), hold
                (the initial settings), or fail (`start` raises MonitorUnreachable).
            config: what the trainer runs with, for people to read.

        Raises:
            InvalidInput: a bad run id, profile, setting or URL.
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
        self._auth = (parsed.username, parsed.password) if parsed.userinfo else None
        self._redis = None if redis_url is None else connection(redis_url)
        self._changed = threading.Condition()
        self._queue: deque[StepReport] = deque()
        self._handed_in_at: dict[int, float] = {}
        self._held: Settings | None = None
        self._after_step = 0
        self._attempt = 1
        self._is_known = False
        self._is_connected = False
        self._is_superseded = False
        self._is_stale = False
        self._is_unreadable = False
        self._how_it_ended = ""
        self._failure: Exception | None = None
        self._num_failures = 0
        self._results: Counter[str] = Counter()
        self._settings_from: Counter[str] = Counter()
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, after_step: int = 0) -> None:
        """Announce the run, waiting at most `START_TIMEOUT_S`, and begin to send and listen.

        A run that the monitor knows continues after this step, as a new attempt. When no monitor
        answers there is one warning, and the announcement is repeated in the background.

        Raises:
            MonitorUnreachable: no monitor answers, and `when_unreachable` is fail.
        """
        self.close()
        closing = threading.Event()
        with self._changed:
            self._queue.clear()
            self._handed_in_at.clear()
            self._held, self._after_step = None, after_step
            self._is_known = self._is_connected = False
            self._is_superseded = self._is_stale = self._is_unreadable = False
            self._failure = None
            self._closing = closing
            failures = self._num_failures
        self._hurry.clear()
        # A repeated announcement of this start must not look like another start.
        self._create = msgspec.structs.replace(self._create, start_id=secrets.token_hex(8))
        logging.getLogger("httpx").addFilter(self._quiet)
        targets: list[Callable[[], None]] = [partial(self._send_all, closing)]
        if self._redis:
            take = partial(self._offer, source="redis")
            targets.append(
                partial(listen, self._redis, self.run_id, take, self._cannot_read, closing)
            )
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
            held = self._held
        was_stale, self._is_stale = self._is_stale, is_stale(step, held)
        if self._is_stale != was_stale:
            what = "too old, interventions stop" if self._is_stale else "fresh again"
            log.warning("step %d: the settings held are %s", step, what)
        return fitting(
            step,
            held,
            initial=self._initial,
            when_unreachable=self._when_unreachable,
            is_superseded=self._is_superseded,
            is_unreadable=self._is_unreadable,
        )

    def _may_still_come(self, step: int) -> bool:
        """Whether waiting for the settings that follow from `step - 1` makes sense."""
        if not self._is_connected or self._is_superseded:
            return False
        is_held = self._held is not None and self._held.through_step >= step - 1
        # A report that was refused, or dropped, is answered by no settings.
        return not is_held and step - 1 in self._handed_in_at

    def submit(self, report: StepReport) -> bool:
        """Queue a report. Never blocks, never raises; False when the queue dropped its oldest."""
        now = time.monotonic()
        with self._changed:
            if self._is_superseded:
                self._results["conflict"] += 1
                return False
            is_full = len(self._queue) >= QUEUE_REPORTS
            if is_full:
                self._handed_in_at.pop(self._queue.popleft().step, None)
                self._results["dropped"] += 1
            self._queue.append(report)
            self._handed_in_at[report.step] = now
            self._changed.notify_all()
        return not is_full

    def close(self, how: str = "finished") -> None:
        """Deliver what is queued, say how training ended, and end the threads.

        Takes at most `CLOSE_TIMEOUT_S`, and less when the monitor does not answer.
        """
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        with self._changed:
            # An attempt may be under way; the one after it has seen the monitor as it is now.
            last_failure = self._num_failures + 2
            self._hurry.set()
            if self._threads:
                self._changed.wait_for(
                    lambda: not self._queue or self._num_failures >= last_failure, CLOSE_TIMEOUT_S
                )
            self._how_it_ended = how
            self._closing.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._threads and self._queue:
            log.warning("%d reports were not delivered to %s", len(self._queue), self._url)
        self._threads = []
        logging.getLogger("httpx").removeFilter(self._quiet)
        atexit.unregister(self.close)

    def stats(self) -> ClientStats:
        """Counts and lags so far."""
        with self._changed:
            return ClientStats(
                results=dict(self._results),
                settings_from=dict(self._settings_from),
                lags_s=tuple(self._lags),
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
                    if self._is_known and error.status != 404:
                        most = self._on_refusal(error, batch)
                        continue
                    # The run itself is unknown, or not wanted: nothing of the reports is to blame.
                    self._is_known = False
                    self._on_silence(error)
                except Exception as error:  # noqa: BLE001 - a dead thread would end the loop in silence
                    self._on_silence(error)
                self._hurry.wait(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
            if self._is_connected and not self._is_superseded and not self._queue:
                ended = EndOfRun(attempt=self._attempt, how=self._how_it_ended)
                with suppress(httpx.HTTPError, Refused):
                    post(http, f"/v1/runs/{self.run_id}/end", ended)

    def _next_batch(self, most: int, closing: threading.Event) -> list[StepReport]:
        """The oldest reports, waiting for one; empty when the client closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or closing.is_set())
            return [] if closing.is_set() else list(islice(self._queue, most))

    def _announce(self, http: httpx.Client, closing: threading.Event) -> None:
        """Create the run, or continue it after the newest step that is not reported yet."""
        with self._changed:
            after = self._queue[0].step - 1 if self._queue else self._after_step
        wanted = msgspec.structs.replace(self._create, resume_from_step=after)
        run = msgspec.json.decode(post(http, "/v1/runs", wanted), type=Run)
        if closing.is_set():
            return
        kept = [
            f"{name}={getattr(run.settings, name)}"
            for name in TUNABLE
            if name != "threshold" and getattr(run.settings, name) != getattr(self._initial, name)
        ]
        # Whoever was warned that nobody answers wants to hear that somebody does.
        level = logging.WARNING if self._failure else logging.INFO
        log.log(level, "run %s, attempt %d, at %s", self.run_id, run.attempt, self._url)
        if kept:
            what = "run %s is known and keeps its settings: %s; another run_id starts afresh"
            log.warning(what, self.run_id, ", ".join(kept))
        with self._changed:
            self._attempt, self._failure = run.attempt, None
            self._is_known = self._is_connected = True
            # A monitor that lost its data counts versions from 1 again.
            self._held = None
            self._offer(run.settings, "http")
            self._changed.notify_all()

    def _send(self, http: httpx.Client, batch: list[StepReport], closing: threading.Event) -> None:
        reports = [msgspec.structs.replace(report, attempt=self._attempt) for report in batch]
        ack = msgspec.json.decode(post(http, f"/v1/runs/{self.run_id}/steps", reports), type=Ack)
        if closing.is_set():
            return
        if not self._is_connected:
            log.warning("the monitor at %s answers again", self._url)
        self._settle([result.status for result in ack.results], batch)
        self._offer(ack.settings, "http")

    def _settle(self, statuses: Sequence[str], batch: list[StepReport]) -> None:
        """Take the batch from the queue; its head may have been dropped meanwhile."""
        steps = {report.step for report in batch}
        with self._changed:
            self._results.update(statuses)
            for report, status in zip(batch, statuses, strict=False):
                if status not in ("recorded", "duplicate"):
                    self._handed_in_at.pop(report.step, None)
            while self._queue and self._queue[0].step in steps:
                self._queue.popleft()
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
            self._is_unreadable |= self._is_known and isinstance(error, msgspec.DecodeError)
            self._changed.notify_all()
        if was_connected:
            log.warning("the monitor at %s went away: %s", self._url, error)

    def _cannot_read(self, error: InvalidInput) -> None:
        """What nobody can read may be an order to stop: until it is followed by more, do."""
        log.warning("settings from Redis are unreadable, interventions stop: %s", error)
        with self._changed:
            self._is_unreadable = True

    def _offer(self, settings: Settings, source: Source) -> None:
        """Hold these settings if they are newer than the ones held.

        Those from Redis only if they are of the run's life and attempt that the monitor announced:
        the key may be another monitor's, or left over.
        """
        now = time.monotonic()
        with self._changed:
            held = self._held
            is_ours = source == "http" or (
                held is not None and settings.session == held.session and not self._closing.is_set()
            )
            is_news = held is None or settings.version > held.version
            if not (is_ours and is_news):
                return
            self._held = settings
            self._is_unreadable = False
            self._settings_from[source] += 1
            known = [step for step in self._handed_in_at if step <= settings.through_step]
            self._lags.extend(now - self._handed_in_at.pop(step) for step in known)
            self._changed.notify_all()
