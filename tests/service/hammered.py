"""Many clients at one run through several monitors, and the one order that explains the answers.

Every move of a run has a version of its own, so the answers themselves say in which order the moves
were made. The run has to be the fold of these moves by the engine alone, and every answer has to
show the settings that the fold has at that version.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from msgspec.structs import replace

from monitor_service.engine import changes
from monitor_service.engine.advance import advance
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.resources import Ack, Run, SettingsView, StepRecord, StepResult
from monitor_service.wire import StepReport, observation
from tests.service.reports import CORRECT, MIXED, WRONG

ENDS: dict[str, Any] = {"expires_in_steps": 500, "expires_in_s": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One request.

    Attributes:
        kind: report, patch, override, command, kill, rearm, resume or end.
        step: the first step reported, or the one to resume from.
        count: steps in one report.
        variant: which contents; two of them contradict each other.
        attempt: that the reports, or the end, claim to be of.
    """

    kind: str
    step: int = 1
    count: int = 1
    variant: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What an answer says was done.

    Attributes:
        version: of the settings that it made.
        at_s: when, where the move depends on it.
    """

    act: Act
    who: str
    version: int
    at_s: float = 0.0


@dataclass
class Told:
    """All that the clients were answered."""

    moves: list[Move] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)
    results: list[tuple[Act, int, StepResult]] = field(default_factory=list)
    """(request, variant, what became of the report)."""
    noops: list[tuple[str, int]] = field(default_factory=list)
    """(who, version): killed again."""

    @property
    def recorded(self) -> dict[tuple[int, int], int]:
        """(attempt, step) -> the variant that was recorded; fails if a step was so twice."""
        found: dict[tuple[int, int], int] = {}
        for act, variant, result in self.results:
            if result.status == "recorded":
                at = (act.attempt, result.step)
                assert at not in found, f"{at} was recorded twice"
                found[at] = variant
        return found


def reported(step: int, variant: int, attempt: int = 1) -> StepReport:
    """Another ACR at every step and in every variant, so that order and choice show."""
    groups = [WRONG] * (step % 5) + [CORRECT] * (step % 3) + [MIXED] * (2 + variant)
    rewards: list[list[float | None]] = [list(group) for group in groups]
    return StepReport(step=step, attempt=attempt, rewards=rewards)


async def hammered(urls: Sequence[str], run_id: str, lanes: Sequence[Sequence[Act]]) -> Told:
    """Every lane in order on a connection of its own, all lanes at once, in turn over `urls`."""
    told = Told()

    async def lane(number: int, acts: Sequence[Act]) -> None:
        url = urls[number % len(urls)]
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            seen = 0
            for place, act in enumerate(acts):
                settings = await _done(http, run_id, act, f"{number}.{place}", told)
                if settings:
                    assert settings.version >= seen, "a client never goes back"
                    seen = settings.version
                    told.settings.append(settings)

    await asyncio.gather(*(lane(number, acts) for number, acts in enumerate(lanes)))
    return told


async def _done(
    http: httpx.AsyncClient, run_id: str, act: Act, who: str, told: Told
) -> Settings | None:
    path = f"/v1/runs/{run_id}"
    match act.kind:
        case "report":
            return await _report(http, path, act, told)
        case "resume" | "end":
            return await _start_or_end(http, run_id, act, who, told)
        case "patch":
            content: dict[str, Any] = {"seed": act.step}
            reply = await http.patch(f"{path}/settings", json=content | _by(who))
        case "override":
            content = {"settings": {"seed": act.step}, **ENDS}
            reply = await http.post(f"{path}/overrides", json=content | _by(who))
        case "command":
            reply = await http.post(f"{path}/commands", json={"command": "save"} | _by(who))
        case _:
            reply = await http.post(f"{path}/{act.kind}", json=_by(who))
    if act.kind == "override" and reply.status_code == 422:
        return None  # There are 16 already.
    view = msgspec.json.decode(reply.raise_for_status().content, type=SettingsView)
    if view.changed and view.changed.actor == who:
        at_s, version = view.changed.at_s, view.settings.version
        told.moves.append(Move(act=act, who=who, version=version, at_s=at_s))
    else:
        assert act.kind == "kill"
        told.noops.append((who, view.settings.version))
    return view.settings


def _by(who: str) -> dict[str, str]:
    return {"actor": who, "reason": "because"}


async def _report(http: httpx.AsyncClient, path: str, act: Act, told: Told) -> Settings | None:
    steps = range(act.step, act.step + act.count)
    reports = [reported(step, act.variant, act.attempt) for step in steps]
    reply = await http.post(f"{path}/steps", json=msgspec.to_builtins(reports))
    assert reply.status_code in (200, 409), reply.text
    results = msgspec.convert(reply.json()["results"], list[StepResult])
    assert [result.step for result in results] == list(steps)
    told.results += [(act, act.variant, result) for result in results]
    if reply.status_code == 409:
        return None
    return msgspec.json.decode(reply.content, type=Ack).settings


async def _start_or_end(
    http: httpx.AsyncClient, run_id: str, act: Act, who: str, told: Told
) -> Settings | None:
    if act.kind == "resume":
        wanted = {"id": run_id, "resume_from_step": act.step - 1, "start_id": who}
        reply = await http.post("/v1/runs", json=wanted)
    else:
        end = {"attempt": act.attempt, "how": who}
        reply = await http.post(f"/v1/runs/{run_id}/end", json=end)
        if reply.status_code == 409:
            return None
    run = msgspec.json.decode(reply.raise_for_status().content, type=Run)
    told.moves.append(Move(act=act, who=who, version=run.settings.version))
    return run.settings


def folded(created: Run, told: Told, records: Sequence[StepRecord]) -> dict[int, RunState]:
    """The run at every version, by the engine alone, in the order of the versions.

    Args:
        created: the run before anybody did anything.
        told: what the clients were answered.
        records: every step that is recorded, those of replaced attempts too.
    """
    taken = told.recorded
    state = RunState(settings=created.settings)
    moves: dict[int, Move | StepRecord] = {}
    every: list[Move | StepRecord] = [*told.moves, *records]
    for move in every:
        version = move.version if isinstance(move, Move) else move.settings_version
        assert version not in moves, f"version {version} was made twice: {move}, {moves[version]}"
        moves[version] = move
    assert sorted(moves) == list(range(2, 2 + len(moves))), "every version is a move"
    states, kept = {1: state}, [state]
    for version, move in sorted(moves.items()):
        if isinstance(move, StepRecord):
            report = reported(move.step, taken[move.attempt, move.step], move.attempt)
            assert (move.attempt, move.step) > (state.attempt, state.step)
            state, figures, _ = advance(state, observation(report), now_s=move.at_s)
            assert figures == move.collapse
            kept.append(state)
        else:
            state = _moved(state, move, kept, created.created_at_s)
        assert state.settings.version == version
        states[version] = state
    for _, version in told.noops:
        assert states[version].settings.kill
    return states


def _moved(state: RunState, move: Move, kept: list[RunState], created_at_s: float) -> RunState:
    """`kept` are the states to resume from, and is cut back by a resumption."""
    who, step = move.who, move.act.step
    match move.act.kind:
        case "patch":
            return changes.with_changes(state, {"seed": step})
        case "override":
            wanted: dict[str, Any] = {"seed": step}
            by: dict[str, Any] = {"actor": who, "reason": "because", "now_s": move.at_s}
            return changes.with_override(state, wanted, **ENDS, **by)
        case "command":
            return changes.commanded(state, "save", actor=who, reason="because")
        case "kill":
            return changes.killed(state, actor=who, reason="because", now_s=move.at_s)
        case "rearm":
            return changes.rearmed(state)
        case "end":
            settings = replace(state.settings, version=state.settings.version + 1)
            return replace(state, settings=settings, ended=who)
    while kept[-1].step > step - 1:
        kept.pop()
    state = changes.resumed(state, kept[-1], who)
    session = f"{created_at_s:.6f}-{state.attempt}"
    return replace(state, settings=replace(state.settings, session=session))


def assert_once(told: Told, records: Sequence[StepRecord]) -> None:
    """Every step of an attempt was recorded by one request, and is stored once."""
    recorded = told.recorded
    assert Counter(recorded.keys()) == Counter((one.attempt, one.step) for one in records)
    for act, variant, result in told.results:
        if result.status == "duplicate":
            assert recorded[act.attempt, result.step] == variant
