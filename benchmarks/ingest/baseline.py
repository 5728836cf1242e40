"""The service as one would first write it: what `acr serve` is measured against.

    python -m benchmarks.ingest.baseline --redis-url URL [--tuned]

A plain FastAPI route with pydantic models, and redis.asyncio with WATCH, MULTI and EXEC, as the
three are installed without extras and started without options: asyncio's event loop, h11, an access
log (into nothing), redis-py's own parser, the standard library's JSON for what is stored. It does
the same job, so the difference is how it is written:

- Reports are refused for the same reasons: unknown fields, types, ranges, shapes, a replaced
  attempt, a step that is recorded with other content.
- The same engine decides, on the same float64 matrix: its cost is in both.
- State, record, digest, raw rewards, row of figures, settings, events and changes are written in
  one transaction, exactly once; what is not kept any longer is dropped; the settings are published.
- The answer has the same content.

`--tuned` is the same program on faster parts: uvloop, httptools, hiredis, and msgspec for what is
stored. It tells what part of the difference could be had by installing them.

The baseline takes lists of rewards, and one report a request. To create a run is its only other
route.
"""

import argparse
import copy
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import uvicorn
import uvicorn.config
from fastapi import FastAPI, HTTPException
from redis._parsers import _AsyncRESP3Parser
from redis.asyncio import Redis
from redis.exceptions import WatchError

from benchmarks.ingest.models import model, model_of
from benchmarks.servers import announce
from monitor_service.config import ServiceConfig
from monitor_service.engine.advance import advance
from monitor_service.engine.collapse import Matrix, matrix
from monitor_service.engine.events import AUDITED
from monitor_service.engine.orders import Kill
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState, Sampling, StepFigures
from monitor_service.errors import InvalidInput
from monitor_service.resources import Ack, StepRecord
from monitor_service.retention import Retention
from monitor_service.series import row
from monitor_service.server import listen
from monitor_service.store.keys import CHANGES_KEPT, EVENTS_KEPT, RunKeys, step_field
from monitor_service.wire import (
    MAX_COMPLETIONS,
    MAX_GROUPS,
    WATCHED_SCALARS,
    CreateRun,
    StepReport,
)

MAX_TRIES = 50
KEPT = Retention()
LOG_CONFIG = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
LOG_CONFIG["handlers"]["access"] |= {"class": "logging.FileHandler", "filename": os.devnull}
del LOG_CONFIG["handlers"]["access"]["stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How the engine's values are written and read."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, type[RunState]], RunState]


PLAIN = Codec(
    encode=lambda value: json.dumps(msgspec.to_builtins(value)).encode(),
    decode=lambda payload, kind: msgspec.convert(json.loads(payload), kind),
)
TUNED = Codec(
    encode=msgspec.json.encode,
    decode=lambda payload, kind: msgspec.json.decode(payload, type=kind),
)

Rewards = list[list[float | None]]
CreateModel = model_of(CreateRun)
ReportModel = model(StepReport, {"rewards": Rewards, "primary": Rewards | None})
RecordModel = model_of(StepRecord)
FiguresModel = model_of(StepFigures)
SettingsModel = model_of(Settings)
AckModel = model_of(Ack)


def create_app(redis: Redis, codec: Codec) -> FastAPI:
    """The whole service."""
    app = FastAPI(title="baseline")

    @app.post("/v1/runs", status_code=201)
    async def create(wanted: CreateModel) -> dict[str, str]:  # type: ignore[valid-type]
        return await begin(redis, codec, wanted)

    @app.post("/v1/runs/{run_id}/steps", response_model=AckModel)
    async def report_step(
        run_id: str,
        report: ReportModel,  # type: ignore[valid-type]
    ) -> Any:
        try:
            seen = observation(report)
        except InvalidInput as error:
            raise HTTPException(422, str(error)) from error
        status, settings = await record(redis, codec, run_id, report, seen)
        return AckModel(
            results=[{"step": seen.step, "status": status}],
            settings=SettingsModel.model_validate(settings),
        )

    return app


async def begin(redis: Redis, codec: Codec, wanted: Any) -> dict[str, str]:
    """Create a run, unless there is one of this name."""
    state = RunState(settings=from_profile(wanted.profile or "paper", wanted.settings))
    await redis.hsetnx(RunKeys(wanted.id).run, "state", codec.encode(state))
    return {"id": wanted.id}


async def record(
    redis: Redis, codec: Codec, run_id: str, report: Any, seen: Observation
) -> tuple[str, Settings]:
    """Take the step into account, exactly once: (recorded or duplicate, the newest settings)."""
    keys = RunKeys(run_id)
    field = step_field(report.attempt, report.step)
    content = digest(report, seen)
    for _ in range(MAX_TRIES):
        async with redis.pipeline(transaction=True) as pipe:
            await pipe.watch(keys.run)
            stored = await pipe.hget(keys.run, "state")
            if not stored:
                raise HTTPException(404, f"run {run_id!r} does not exist")
            state = codec.decode(cast(bytes, stored), RunState)
            if report.attempt != state.attempt:
                raise HTTPException(409, f"the run is at attempt {state.attempt}")
            if report.step <= state.step:
                if await pipe.hget(keys.digests, field) != content.encode():
                    raise HTTPException(409, f"step {report.step} is not what is recorded")
                return "duplicate", state.settings
            now_s = time.time()
            moved, figures, events = advance(state, seen, now_s=now_s)
            found = RecordModel(
                step=report.step,
                attempt=report.attempt,
                optimizer_step=report.optimizer_step,
                at_s=now_s,
                settings_version=moved.settings.version,
                collapse=FiguresModel.model_validate(figures),
                components=report.components,
                scalars=report.scalars,
                applied=report.applied,
            )
            kept = found.model_dump_json()
            after, settings = codec.encode(moved), codec.encode(moved.settings)
            leaving = KEPT.leaving(state, report.step)
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hset(keys.run, mapping={"state": after, "last": kept})
            pipe.set(keys.settings, settings)
            pipe.hset(keys.steps, field, kept)
            pipe.hset(keys.states, field, after)
            pipe.hset(keys.digests, field, content)
            pipe.hset(keys.rewards, field, report.model_dump_json(include={"rewards", "primary"}))
            pipe.append(keys.series, row(found))
            for hashes, old in (
                ((keys.rewards,), leaving.rewards),
                ((keys.steps, keys.digests), leaving.records),
                ((keys.states,), leaving.states),
            ):
                for name in hashes if old else ():
                    pipe.hdel(name, *(step_field(*at) for at in old))
            for event in events:
                timed = {"event": codec.encode({"at_s": now_s, "event": event})}
                pipe.xadd(keys.events, timed, maxlen=EVENTS_KEPT)  # type: ignore[arg-type]
                if event.kind in AUDITED:
                    pipe.xadd(keys.changes, timed, maxlen=CHANGES_KEPT)  # type: ignore[arg-type]
            pipe.publish(keys.settings_channel, settings)
            try:
                await pipe.execute()
            except WatchError:
                continue
            return "recorded", moved.settings
    raise HTTPException(503, f"run {run_id!r} is being changed by too many writers")


def digest(report: Any, seen: Observation) -> str:
    """Same content, same digest."""
    rest = report.model_dump_json(exclude={"rewards", "primary"})
    hashed = hashlib.blake2b(rest.encode(), digest_size=16)
    for values in (seen.rewards, seen.primary):
        if values is not None:
            hashed.update(repr(values.shape).encode() + values.tobytes())
    return hashed.hexdigest()


def observation(report: Any) -> Observation:
    """The engine's view of a report; raises InvalidInput."""
    rewards = unpacked(report.rewards, "rewards")
    primary = None if report.primary is None else unpacked(report.primary, "primary")
    if primary is not None and primary.shape != rewards.shape:
        raise InvalidInput("primary", primary.shape, "must have the shape of rewards")
    scalars = {name: getattr(report.scalars, name) for name in WATCHED_SCALARS}
    return Observation(
        step=report.step,
        rewards=rewards,
        primary=primary,
        scalars={name: value for name, value in scalars.items() if value is not None},
        non_finite=tuple(report.scalars.non_finite),
        components={name: (one.mean, one.std) for name, one in report.components.items()},
        **heard(report.step, report.applied, len(rewards)) if report.applied else {},
    )


def heard(step: int, applied: Any, num_groups: int) -> dict[str, Any]:
    """What the trainer says about its half of the loop."""
    for one in (applied, applied.shadow):
        if one and one.injected_wrong + one.injected_correct > num_groups:
            raise InvalidInput("applied", one.injected_wrong, f"at most {num_groups} groups")
    sampling, kill = applied.sampling, applied.kill
    if sampling and sampling.sampled != num_groups:
        raise InvalidInput("applied.sampling.sampled", sampling.sampled, f"{num_groups}")
    ignored = {
        name: knob.reason or "" for name, knob in applied.knobs.items() if knob.status == "ignored"
    }
    return {
        "injected_wrong": applied.injected_wrong,
        "injected_correct": applied.injected_correct,
        "shadow_wrong": applied.shadow.injected_wrong if applied.shadow else 0,
        "shadow_correct": applied.shadow.injected_correct if applied.shadow else 0,
        "applied_version": applied.settings_version,
        "settings_lag_steps": max(0, step - 1 - applied.through_step),
        "not_applied": {**ignored, **({"settings": applied.note} if applied.note else {})},
        "kill": kill and Kill(**kill.model_dump()),
        "killed_after_rearms": applied.killed_after_rearms,
        "command": applied.command,
        "sampling": sampling and Sampling(**sampling.model_dump(exclude={"tokens"})),
    }


def unpacked(rewards: Rewards, field: str) -> Matrix:
    """`[N, G]` float64."""
    width = max(map(len, rewards), default=0)
    if not width or not all(rewards):
        raise InvalidInput(field, rewards, "must have groups, and each a completion")
    if len(rewards) > MAX_GROUPS or len(rewards) * width > MAX_COMPLETIONS:
        raise InvalidInput(field, len(rewards), f"at most {MAX_GROUPS} groups")
    return matrix(rewards)


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(description="The plain service, to compare with.")
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--tuned", action="store_true")
    given = parser.parse_args()
    parts: dict[str, Any] = {} if given.tuned else {"parser_class": _AsyncRESP3Parser}
    app = create_app(Redis.from_url(given.redis_url, **parts), TUNED if given.tuned else PLAIN)
    config = uvicorn.Config(
        app,
        loop="uvloop" if given.tuned else "asyncio",
        http="httptools" if given.tuned else "h11",
        log_config=None if given.tuned else LOG_CONFIG,
        access_log=not given.tuned,
    )
    listener = listen(ServiceConfig(port=0))
    announce(listener)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
