"""What happened to a run, as marks on a time axis. Pure: events and steps in, marks out.

What lasts is a region: an intervention from its first to its last step, an alarm from its raising
to its end, a kill until somebody re-arms. While it lasts it is marked where it began; its end
follows. Everything else is a moment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from types import MappingProxyType

from monitor_service.formats import moves
from monitor_service.resources import EventView

QUIET_STEPS = 10
"""After so many steps in a row without injection an intervention is over."""
TOPICS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("created", "resumed", "ended", "result"), "lifecycle"),
        **dict.fromkeys(("deleted", "restored", "command_given"), "lifecycle"),
        **dict.fromkeys(("settings_changed", "override_added", "override_ended"), "settings"),
        "override_expired": "settings",
        **dict.fromkeys(("killed", "rearmed"), "kill"),
        "alarm_raised": "alarm",
    }
)
"""Kinds of events that are marked by themselves, and what they are filed under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment, or a region.

    Attributes:
        id: unique in the run, and the same whenever it is told.
        topic: intervention, settings, alarm, kill or lifecycle.
        start_ms: Unix time.
        end_ms: the same as `start_ms`: a moment, or what still lasts; a region ends later.
        text: HTML.
        end_text: in its place once the region has ended; None: nothing more is known then.
    """

    id: str
    topic: str
    start_ms: int
    end_ms: int
    text: str
    end_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A step, and how many groups were injected in it."""

    step: int
    attempt: int
    at_s: float
    wrong: int
    correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intervention:
    """Steps with injection that belong together."""

    first: Injected
    last: Injected
    steps: int
    wrong: int
    correct: int

    def with_step(self, step: Injected) -> "_Intervention":
        return replace(
            self,
            last=step,
            steps=self.steps + 1,
            wrong=self.wrong + step.wrong,
            correct=self.correct + step.correct,
        )


class Story:
    """Grows as it is told events and steps, in the order of time; what it knows already it skips.

    Attributes:
        marks: by their ids.
    """

    def __init__(self, first_step: int = 0) -> None:
        """What began before `first_step` is not marked."""
        self.marks: dict[str, Mark] = {}
        self._first_step = first_step
        self._lasting: dict[str, str] = {}
        """The kill, or rule of an alarm -> id of the mark that has no end yet."""
        self._known: set[str] = set()
        self._place = (0, 0)
        """Attempt and number of the newest step."""
        self._intervention: _Intervention | None = None

    def tell(self, told: EventView | Injected) -> None:
        """Take in what happened next."""
        if isinstance(told, Injected):
            self._tell_step(told)
        elif told.id not in self._known:
            self._known.add(told.id)
            self._tell_event(told)

    def _tell_event(self, view: EventView) -> None:
        event, at_ms = view.event, _ms(view.at_s)
        if event.kind == "alarm_resolved":
            self._end(event.data.get("rule", ""), at_ms)
        if event.kind in ("created", "resumed", "ended"):
            self._end_intervention()
            # A resume goes back to before some alarms; others are raised there already.
            still = {*event.data.get("alarms", ())}
            for rule in {*self._lasting} - still - {"kill"}:
                self._end(rule, at_ms)
            for rule in sorted(still - {*self._lasting}):
                text = _html("Alarm", event.step, [f"{rule} is raised already at this step"])
                self._begin(rule, _moment(f"{view.id}:{rule}", "alarm", at_ms, text), event.step)
        if event.kind in ("created", "rearmed"):
            self._end("kill", at_ms)
        locks = event.kind == "arming" and event.data.get("stage") == "locked"
        topic = "intervention" if locks else TOPICS.get(event.kind)
        if topic is None:
            return
        mark = _moment(view.id, topic, at_ms, _text_of(view))
        if event.kind == "alarm_raised":
            self._begin(event.data.get("rule", ""), mark, event.step)
        elif event.kind == "killed" and "kill" not in self._lasting:
            self._begin("kill", mark, event.step)
        else:
            self._add(mark, event.step)

    def _tell_step(self, step: Injected) -> None:
        if (step.attempt, step.step) <= self._place:
            return
        self._place = (step.attempt, step.step)
        is_injected = step.wrong + step.correct > 0
        found = self._intervention
        if found is not None:
            quiet = step.step - found.last.step - is_injected
            if step.attempt != found.last.attempt or quiet >= QUIET_STEPS:
                self._end_intervention()
        if not is_injected:
            return
        if self._intervention is None:
            self._intervention = _Intervention(first=step, last=step, steps=0, wrong=0, correct=0)
            text = _html("Intervention", step.step, ["injects since this step"])
            self._add(_moment(_id_of(step), "intervention", _ms(step.at_s), text), step.step)
        self._intervention = self._intervention.with_step(step)

    def _end_intervention(self) -> None:
        found, self._intervention = self._intervention, None
        if found is not None:
            among = found.last.step - found.first.step + 1
            words = (
                f"injected in {found.steps} of {among} steps, until step {found.last.step}: "
                f"{found.wrong} all-wrong and {found.correct} all-correct groups"
            )
            text = _html("Intervention", found.first.step, [words])
            self._stretch(_id_of(found.first), _ms(found.last.at_s), text)

    def _begin(self, what: str, mark: Mark, step: int) -> None:
        self._lasting[what] = mark.id
        self._add(mark, step)

    def _end(self, what: str, at_ms: int) -> None:
        if (mark_id := self._lasting.pop(what, None)) is not None:
            self._stretch(mark_id, at_ms)

    def _add(self, mark: Mark, step: int) -> None:
        if step >= self._first_step:
            self.marks[mark.id] = mark

    def _stretch(self, mark_id: str, end_ms: int, end_text: str | None = None) -> None:
        if (mark := self.marks.get(mark_id)) is not None:
            # What is over is told from what lasts by its length.
            end_ms = max(end_ms, mark.start_ms + 1)
            self.marks[mark_id] = replace(mark, end_ms=end_ms, end_text=end_text)


def _text_of(view: EventView) -> str:
    event = view.event
    title = event.kind.replace("_", " ").capitalize()
    lines = [event.message]
    if event.kind == "alarm_raised":
        title = f"{title}: {event.data.get('rule')} ({event.data.get('severity')})"
        lines.append(event.data.get("advice", ""))
    elif TOPICS.get(event.kind) == "settings":
        moved = moves(event.data.get("old", {}), event.data.get("new", {}), arrow="→")
        lines.append(", ".join(moved))
    return _html(title, event.step, lines)


def _html(title: str, step: int, lines: Iterable[str]) -> str:
    rest = "".join(f"<br>{escape(line)}" for line in lines if line)
    return f"<b>{escape(title)}</b>, step {step}{rest}"


def _moment(mark_id: str, topic: str, at_ms: int, text: str) -> Mark:
    return Mark(id=mark_id, topic=topic, start_ms=at_ms, end_ms=at_ms, text=text)


def _id_of(first: Injected) -> str:
    return f"intervention-{_ms(first.at_s)}"


def _ms(at_s: float) -> int:
    return round(at_s * 1000)
