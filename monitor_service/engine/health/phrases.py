"""How the sentences of the health rules are made: templates, filled with an alarm's numbers.

A template is a format string, or a function that chooses one by the evidence. Texts that came from
outside are only ever filled in, never used as a template. The advice on collapse depends on what
the collapsed groups are: all-wrong, all-correct, or neither.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from monitor_service.engine.health import evidence
from monitor_service.engine.health.evidence import Evidence, Found, Severity
from monitor_service.engine.health.figures import Seen

Template = str | Callable[[Evidence], str]
"""A format string for the evidence, or what chooses one."""


def _as_is(_: Evidence, severity: Severity) -> Severity:
    return severity


class Words(Struct, frozen=True, kw_only=True):
    """What one rule says.

    Attributes:
        evidence: numbers to keep of a step.
        cause_text: one sentence.
        advice_text: what to do.
        grade: (evidence, the rule's severity) -> the severity of this alarm.
    """

    evidence: Callable[[Seen], Found]
    cause_text: Template
    advice_text: Template
    grade: Callable[[Evidence, Severity], Severity] = _as_is

    def cause(self, found: Evidence) -> str:
        """One sentence a person understands."""
        return filled(self.cause_text, found)

    def advice(self, found: Evidence) -> str:
        """What to do about it."""
        return filled(self.advice_text, found)


class _Unknown:
    """Stands for a number that was not measured."""

    def __format__(self, spec: str) -> str:
        return "unknown"


class _Numbers(dict[str, Any]):
    def __missing__(self, name: str) -> _Unknown:
        return _Unknown()


def filled(template: Template, found: Evidence) -> str:
    """The template with the numbers in it; "unknown" for those that were not measured."""
    text = template if isinstance(template, str) else template(found)
    return text.format_map(_Numbers(found))


SIDES = {
    "wrong": "most of them all-wrong (ACR_wrong {acr_wrong:.2f}, ACR_correct {acr_correct:.2f})",
    "correct": "most of them all-correct (ACR_correct {acr_correct:.2f}, "
    "ACR_wrong {acr_wrong:.2f})",
    "other": "most of them at a middle value (ACR_mid {acr_other:.2f})",
    "unknown": "and it cannot be told whether they are all-wrong or all-correct",
}

REMEDIES = {
    "wrong": (
        "The data is too hard for the policy. In this order: more completions per prompt or a "
        "higher sampling temperature; easier prompts mixed in; dynamic sampling while ACR is below "
        "0.6 (it costs 1/(1-ACR) times the generation); collapsed groups left out of the loss's "
        "denominator (that raises the step size as much, so mind the learning rate); last, "
        "injection on the all-wrong side, scaled down."
    ),
    "correct": (
        "The data is too easy by now: harder prompts, or skip prompts that are always solved, or "
        "stop. Injecting on the all-correct side only sharpens what is known."
    ),
    "other": (
        "Every completion of a group gets the same reward that is neither right nor wrong. Look at "
        "the reward: partial credit that never varies, a constant bonus on wrong answers (name the "
        "accuracy function as primary_reward), or a range that is not the declared reward_low to "
        "reward_high. Injection leaves such groups alone."
    ),
    "unknown": (
        "Report rewards per group, or the shares of all-wrong and all-correct groups: all-wrong "
        "asks for easier data or more completions per prompt, all-correct for harder data."
    ),
}

SCARCE = {
    "wrong": (
        "The data is too hard: easier prompts mixed in, more completions per prompt, or a higher "
        "sampling temperature."
    ),
    "correct": (
        "The data is too easy by now: harder prompts, skip prompts that are always solved, or stop."
    ),
    "other": REMEDIES["other"],
    "unknown": "Easier data if the groups are all-wrong, harder data if they are all-correct.",
}
"""What to do where groups that differ are too rare to fill a batch with."""


def joined(*parts: Template) -> Template:
    """The parts one after another."""
    return lambda found: "".join(part if isinstance(part, str) else part(found) for part in parts)


def by_side(table: Mapping[str, str]) -> Template:
    """What the table has for the kind of collapse in the evidence."""
    return lambda found: table[str(found.get("side", "unknown"))]


def by_reward(fine: str, lost: str) -> Template:
    """What fits the reward, which is fine too when it is not known."""

    def chosen(found: Evidence) -> str:
        return fine if evidence.number(found, "kept_share", 1.0) >= evidence.FINE_SHARE else lost

    return chosen


def by_limit(found: Evidence) -> str:
    """What ended dynamic sampling, where something did."""
    limits = {"tries": ", as many as allowed", "tokens": ", the tokens were used up"}
    limits |= {"data": ", the data came to its end"}
    return limits.get(str(found.get("stopped_by")), "")


def heated(found: Evidence) -> str:
    """A remark when sampling is not as hot as it was at the baseline."""
    if "temperature" not in found:
        return ""
    return (
        "; the sampling temperature is {temperature:.2g} and was {temperature_before:.2g} at the "
        "baseline, which moves this figure by itself"
    )


LOST = "; of the reward's best gain {kept_share:.0%} is left"

RAISE_ENTROPY = (
    "One knob at a time, with 25 steps in between: a higher upper clip bound (epsilon_high 0.28), "
    "an entropy bonus, a slightly higher temperature, half the learning rate."
)
