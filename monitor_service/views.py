"""A stored run, as people and trainers see it."""

from monitor_service.engine.headline import headline
from monitor_service.engine.health.alarms import Verdict, silence
from monitor_service.engine.settings import KNOBS, Settings
from monitor_service.engine.steering import controller
from monitor_service.errors import RunDeleted, RunNotFound
from monitor_service.resources import Requested, Run, StepRecord
from monitor_service.store.redis import RedisStore, StoredRun, first_step
from monitor_service.wire import Applied, Injection, check_run_id


async def stored_run(store: RedisStore, run_id: str) -> StoredRun:
    """The run as it stands; raises RunNotFound, or RunDeleted."""
    return alive(await any_run(store, run_id))


async def any_run(store: RedisStore, run_id: str) -> StoredRun:
    """The same, deleted or not; raises RunNotFound."""
    stored = await store.load(check_run_id(run_id))
    if stored is None:
        raise RunNotFound(run_id)
    return stored


def alive(stored: StoredRun) -> StoredRun:
    """The run itself; raises RunDeleted, saying by whom."""
    if deletion := stored.about.deleted:
        raise RunDeleted(
            f"run {stored.run_id!r} was deleted by {deletion.actor}: {deletion.reason}; "
            f"restore it first: POST /v1/runs/{stored.run_id}/restore"
        )
    return stored


def view(stored: StoredRun, now_s: float, attempt: int | None = None) -> Run:
    """The run; `attempt` names the one that a start was given, when it is not the newest."""
    state, about = stored.state, stored.about
    acting = state.settings.in_force(step=state.step + 1, now_s=now_s)
    verdicts = _verdicts(stored, now_s)
    newest = _newest(stored)
    applied = newest.applied if newest else None
    return Run(
        id=stored.run_id,
        created_at_s=about.created_at_s,
        last_report_at_s=stored.last.at_s if stored.last else None,
        step=state.step,
        attempt=attempt or state.attempt,
        config=about.config,
        tags=about.tags,
        notes=about.notes,
        deleted=about.deleted,
        headline=headline(state, verdicts, has_reported=state.step >= first_step(state)),
        controller=controller(
            acting,
            newest.collapse if newest else None,
            _injected(applied),
            was_shadow=applied is not None and applied.shadow is not None,
        ),
        baselines=state.health.baselines,
        counters=state.counters,
        settings=state.settings,
        acting_mode=acting.acting_mode,
        acting_overrides=[one.number for one in acting.overrides],
        knobs=_knobs(stored, acting),
        changed=stored.changed,
        last=stored.last,
        ended=state.ended,
        verdicts=verdicts,
    )


def _newest(stored: StoredRun) -> StepRecord | None:
    """The record of the newest step; None when an attempt goes back behind it."""
    last = stored.last
    return last if last and last.step <= stored.state.step else None


def _injected(applied: Applied | None) -> int | None:
    """Groups the trainer injected at a step, or would have; None when it does not say."""
    if applied is None:
        return None
    done: Injection = applied.shadow or applied
    return done.injected_wrong + done.injected_correct


def _knobs(stored: StoredRun, acting: Settings) -> list[Requested]:
    """What is asked of the trainer's parameters beside what became of them."""
    asked = acting.knobs
    applied = stored.last.applied.knobs if stored.last and stored.last.applied else {}
    return [
        Requested(name=name, requested=asked.get(name), applied=applied.get(name))
        for name in KNOBS
        if name in asked or name in applied
    ]


def _verdicts(stored: StoredRun, now_s: float) -> list[Verdict]:
    """What the reports say, and what their absence says."""
    verdicts = list(stored.state.health.verdicts)
    silent = silent_verdict(stored, now_s)
    return [silent, *verdicts] if silent else verdicts


def silent_verdict(stored: StoredRun, now_s: float) -> Verdict | None:
    """What to say about a run whose reports have stopped; None when they have not."""
    if stored.last is None or stored.state.ended is not None:
        return None
    return silence(
        # A trainer that has just started again is not silent.
        last_report_at_s=max(stored.last.at_s, stored.about.started_at_s),
        now_s=now_s,
        typical_step_s=stored.last.scalars.step_s,
        # Of an attempt that was replaced, perhaps, and further than the run is now.
        step=min(stored.last.step, stored.state.step),
    )
