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
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal

import httpx
import msgspec

from monitor_service.engine.settings import Settings, from_profile
from monitor_service.errors import AcrError
from monitor_service.urls import HTTP_SCHEMES, REDIS_SCHEMES, checked, without_password
from monitor_service.wire import (
    MSGPACK,
    Ack,
    CreateRun,
    Problem,
    Run,
    StepReport,
    StepResult,
    check_run_id,
)
from trainer.link import Held
from trainer.listener import FIRST_RETRY_S, LAST_RETRY_S, listen

MAX_STALE_STEPS = 50
"""Steps that old settings stay in force without a word from the monitor."""
QUEUE_REPORTS = 512
BATCH_REPORTS = 32
"""Most reports in one request, when there is a backlog."""
REQUEST_TIMEOUT_S = 10.0
START_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 5.0
LAGS_KEPT = 10_000

log = logging.getLogger(__name__)

WhenUnreachable = Literal["grpo", "hold", "fail"]
Source = Literal["redis", "http"]


class MonitorUnreachable(AcrError):
    """No monitor answers at the start, and the caller chose to fail then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStats:
    """What became of the reports, and how fast the loop closed.

    Attributes:
        results: reports by outcome: recorded, duplicate, conflict, rejected, dropped.
        settings_from: versions of the settings by the way they arrived first: redis, http.
        lags_s: seconds from handing in a report to holding settings that know it; the newest
            `LAGS_KEPT`.
    """

    results: Mapping[str, int]
    settings_from: Mapping[str, int]
    lags_s: tuple[float, ...]


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
        self._when_unreachable = when_unreachable
        self._url = checked("monitor_url", url, HTTP_SCHEMES)
        self._shown_url = without_password(url)
        self._redis_url = redis_url
        if redis_url is not None:
            checked("monitor_redis_url", redis_url, REDIS_SCHEMES)
        self._http = httpx.Client()
        self._changed = threading.Condition()
        self._queue: deque[StepReport] = deque()
        self._held: Settings | None = None
        self._attempt = 1
        self._results: Counter[str] = Counter()
        self._settings_from: Counter[str] = Counter()
        self._handed_in_at: dict[int, float] = {}
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)
        self._after_step = 0
        self._is_known = False
        self._is_connected = False
        self._num_failures = 0
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
        with self._changed:
            self._queue.clear()
            self._handed_in_at.clear()
            self._held, self._after_step, self._is_known = None, after_step, False
        self._closing.clear()
        self._hurry.clear()
        self._http = httpx.Client(base_url=self._url)
        try:
            self._announce(START_TIMEOUT_S)
        except (httpx.HTTPError, msgspec.DecodeError, _Refused) as error:
            if self._when_unreachable == "fail":
                raise MonitorUnreachable(f"no monitor at {self._shown_url}: {error}") from error
            log.warning(
                "no monitor at %s (%s); training starts %s until one answers",
                self._shown_url,
                error,
                "as plain GRPO" if self._when_unreachable == "grpo" else "with its own settings",
            )
        logging.getLogger("httpx").addFilter(self._is_not_ours)
        targets: list[Callable[[], None]] = [self._send_all]
        if self._redis_url:
            take = partial(self._offer, source="redis")
            targets.append(partial(listen, self._redis_url, self.run_id, take, self._closing))
        self._threads = [
            threading.Thread(target=target, name="acr-client", daemon=True) for target in targets
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def settings_for(self, step: int, wait_s: float = 0.0) -> Held:
        """The settings to apply at `step`: a variable read, unless `wait_s` asks to wait.

        Args:
            step: number of the generation batch, from 1.
            wait_s: longest wait for settings that know `step - 1`; not while the monitor is away.
        """
        with self._changed:
            if wait_s:
                self._changed.wait_for(
                    lambda: (
                        not self._is_connected
                        or (self._held is not None and self._held.through_step >= step - 1)
                    ),
                    timeout=wait_s,
                )
            held = self._held
        if held is None:
            if self._when_unreachable == "hold":
                return Held(settings=self._initial, note="no monitor yet: initial settings")
            return Held(settings=_off(self._initial), note="no monitor yet: plain GRPO")
        stale = step - 1 - held.through_step
        if stale > MAX_STALE_STEPS and held.mode != "off":
            return Held(settings=_off(held), note=f"settings are {stale} steps old: plain GRPO")
        return Held(settings=held)

    def submit(self, report: StepReport) -> bool:
        """Queue a report. Never blocks, never raises; False when the queue dropped its oldest."""
        now = time.monotonic()
        with self._changed:
            is_full = len(self._queue) >= QUEUE_REPORTS
            if is_full:
                self._handed_in_at.pop(self._queue.popleft().step, None)
                self._results["dropped"] += 1
            self._queue.append(report)
            self._handed_in_at[report.step] = now
            self._changed.notify_all()
        return not is_full

    def close(self) -> None:
        """Deliver what is queued, for at most `CLOSE_TIMEOUT_S`, and end the threads.

        Gives up sooner when the monitor does not answer.
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
            self._closing.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []
        self._http.close()
        logging.getLogger("httpx").removeFilter(self._is_not_ours)
        atexit.unregister(self.close)

    def stats(self) -> ClientStats:
        """Counts and lags so far."""
        with self._changed:
            return ClientStats(
                results=dict(self._results),
                settings_from=dict(self._settings_from),
                lags_s=tuple(self._lags),
            )

    def _send_all(self) -> None:
        """The sender thread: the head of the queue leaves it only when its fate is known."""
        retry_s = FIRST_RETRY_S
        most = BATCH_REPORTS
        while batch := self._next_batch(most):
            try:
                if not self._is_known:
                    self._announce(REQUEST_TIMEOUT_S)
                self._send(batch)
                most, retry_s = BATCH_REPORTS, FIRST_RETRY_S
                continue
            except _Refused as error:
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

    def _next_batch(self, most: int) -> list[StepReport]:
        """The oldest reports, waiting for one; empty when the client closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing.is_set())
            if self._closing.is_set():
                return []
            return list(islice(self._queue, most))

    def _announce(self, timeout_s: float) -> None:
        """Create the run, or continue it after the newest step that is not reported yet."""
        with self._changed:
            after = self._queue[0].step - 1 if self._queue else self._after_step
        wanted = msgspec.structs.replace(self._create, resume_from_step=after)
        body = self._post("/v1/runs", wanted, timeout_s)
        run = msgspec.json.decode(body, type=Run)
        with self._changed:
            self._attempt, self._is_known, self._is_connected = run.attempt, True, True
            # A monitor that lost its data counts versions from 1 again.
            self._held = None
            self._offer(run.settings, "http")

    def _send(self, batch: list[StepReport]) -> None:
        reports = [msgspec.structs.replace(report, attempt=self._attempt) for report in batch]
        body = self._post(f"/v1/runs/{self.run_id}/steps", reports, REQUEST_TIMEOUT_S)
        if not self._is_connected:
            log.info("the monitor at %s answers again", self._shown_url)
        ack = msgspec.json.decode(body, type=Ack)
        self._settle([result.status for result in ack.results], batch)
        self._offer(ack.settings, "http")

    def _post(self, path: str, content: Any, timeout_s: float) -> bytes:
        reply = self._http.post(
            path,
            content=msgspec.msgpack.encode(content),
            headers={"content-type": MSGPACK},
            timeout=timeout_s,
        )
        if reply.status_code >= 500 or reply.status_code in _NOT_ABOUT_THE_BODY:
            reply.raise_for_status()
        if reply.is_error:
            raise _Refused(reply)
        return reply.content

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

    def _on_refusal(self, error: "_Refused", batch: list[StepReport]) -> int:
        """The monitor will not take these reports as they are; returns how many to send next."""
        if error.results:
            statuses: list[str] = [result.status for result in error.results]
        elif len(batch) > 1:
            return 1
        else:
            statuses = ["rejected"]
        if not self._results["conflict"] + self._results["rejected"]:
            log.warning("the monitor refused a report, this is said once: %s", error)
        self._settle(statuses, batch)
        return BATCH_REPORTS

    def _on_silence(self, error: Exception) -> None:
        with self._changed:
            was_connected, self._is_connected = self._is_connected, False
            self._num_failures += 1
            self._changed.notify_all()
        if was_connected:
            log.warning("the monitor at %s went away: %s", self._shown_url, error)

    def _is_not_ours(self, record: logging.LogRecord) -> bool:
        """Httpx announces every request with its URL: noise at each step, and a password maybe."""
        return self._url not in record.getMessage()

    def _offer(self, settings: Settings, source: Source) -> None:
        """Hold these settings if they are newer than the ones held."""
        now = time.monotonic()
        with self._changed:
            if self._held is not None and settings.version <= self._held.version:
                return
            self._held = settings
            self._settings_from[source] += 1
            known = [step for step in self._handed_in_at if step <= settings.through_step]
            self._lags.extend(now - self._handed_in_at.pop(step) for step in known)
            self._changed.notify_all()


_NOT_ABOUT_THE_BODY = frozenset({401, 403, 407, 408, 425, 429})
"""Statuses of proxies and limits: the report is fine, and is sent again."""


class _Refused(Exception):
    """The monitor answered, and said no."""

    def __init__(self, reply: httpx.Response) -> None:
        self.status = reply.status_code
        self.results: list[StepResult] = []
        text = f"status {reply.status_code}"
        with suppress(msgspec.DecodeError):
            problem = msgspec.json.decode(reply.content, type=Problem)
            self.results, text = problem.results or [], problem.detail
        super().__init__(text)


def _off(settings: Settings) -> Settings:
    return replace(settings, mode="off")
