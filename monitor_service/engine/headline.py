"""One sentence on a run: whether it learns, and if it does not, why.

How it stands comes first (ended, silent, killed), then the worst of its alarms, then what the
reward does: of late, from its mean over about the newest 100 steps to that over the newest 30; else
since the run began.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from monitor_service.engine.health.alarms import SILENCE_RULE, Verdict
from monitor_service.engine.health.evidence import number
from monitor_service.engine.health.phrases import Template, by_side, filled, joined
from monitor_service.engine.health.reward import RISING_AFTER, RewardTrend
from monitor_service.engine.state import RunState

_MOST = {
    "wrong": "most groups without a signal are all wrong",
    "correct": "most groups without a signal are all correct",
    "other": "most groups without a signal agree on a middle value",
    "unknown": "many groups give no signal",
}
_WORDS: Mapping[str, tuple[str, Template]] = MappingProxyType(
    {
        "not_finite": ("Not finite", "NaN or infinity in {figures}"),
        "no_signal": (
            "No gradient",
            joined("{idle_groups:.0f} groups in a row taught nothing, ", by_side(_MOST)),
        ),
        "gradient_dead": ("No gradient", "although groups differ"),
        "gradient_explosion": ("Gradient explodes", "its norm is {ratio:.0f} times the usual"),
        "reward_collapse": ("Reward collapsed", "{kept_share:.0%} of its best gain is left"),
        "reward_degenerate": ("One reward for all", "{reward:.3g} for nearly every completion"),
        "reward_constant": ("Constant reward", "always the same from {functions}"),
        "entropy_collapse": ("Entropy collapsed", "{entropy:.3g} nats, usual was {baseline:.3g}"),
        "entropy_low": ("Entropy low", "{entropy:.3g} nats, usual was {baseline:.3g}"),
        "entropy_explosion": ("Entropy explodes", "{entropy:.3g} nats, it began at {first:.3g}"),
        "kl_explosion": ("KL explodes", "{kl:.3g} nats away from the reference"),
        "kl_drift": ("KL drifts", "{kl:.3g} nats away from the reference"),
        "clipping": ("Updates clipped", "{clip_fraction:.0%} of the tokens"),
        "truncation": ("Cut off", "{truncated:.0%} of the completions hit the length limit"),
        "truncation_rising": (
            "Cut off more often",
            "{truncated:.0%} of the completions hit the length limit, {at_start:.0%} did at first",
        ),
        "length_collapse": ("Completions shrank", "{length:.3g} tokens after {highest:.3g}"),
        "length_at_limit": ("Completions at their limit", "{length:.4g} tokens on average"),
        "stall": ("Stalled", joined(by_side(_MOST), " and the reward does not rise")),
        "middle_values": (
            "Collapsed at a middle value",
            "{acr_other:.0%} of the groups agree on a reward that is neither right nor wrong",
        ),
        "acr_100": ("Poor outlook", "ACR of the first 100 steps was {acr_100:.2f}"),
        "volatility": ("Unsteady", "ACR swings by {std:.2f} from step to step"),
        "saturation": ("Saturated", "{acr_correct:.0%} of the groups are all correct"),
        "hidden_collapse": (
            "Hidden collapse",
            "ACR of the accuracy alone is {acr_primary:.2f}, of the sum {acr:.2f}",
        ),
        "sampling_exhausted": (
            "Sampling exhausted",
            "{filled:.0%} of the groups trained on only fill the batch",
        ),
        "settings_late": ("Settings late", "the trainer acts on what is {lag_steps:.0f} steps old"),
        "settings_ignored": ("Settings ignored", "the trainer did not apply {knob}"),
    }
)
"""Name of the rule -> what happened, and why it matters or how bad it is."""
_TELLS_OF_REWARD = frozenset({"stall", "reward_collapse", "reward_degenerate", "not_finite"})
_WORTH_A_HEADLINE = frozenset({"stall", "saturation"})
"""At any severity; of the others an info says nothing about whether the run learns."""


def headline(state: RunState, verdicts: Sequence[Verdict], *, has_reported: bool) -> str:
    """The sentence.

    Args:
        state: of the run.
        verdicts: those of its health and that of its silence, the most severe first.
        has_reported: whether any step was reported that no later attempt does over again.
    """
    kill = state.settings.kill
    silences = [one for one in verdicts if one.rule == SILENCE_RULE]
    found = _lowered(_finding(state, verdicts))
    if not (has_reported or silences):
        is_over = state.ended is not None
        found = f"ended ({state.ended}) before" if is_over else "waiting for"
        found += " the first report" + (f", killed by {kill.actor}" if kill else "")
    elif state.ended is not None:
        found = f"ended ({state.ended}), {found}"
    elif silences:
        quiet_s = number(silences[0].evidence, "quiet_s", 0.0)
        before = f"; before, {found}" if has_reported else ""
        found = f"silent: no report for {_span(quiet_s)}{before}"
    elif kill:
        found = f"killed by {kill.actor}: plain GRPO; {found}"
    # What others wrote may hold line breaks.
    return " ".join(f"{found[:1].upper()}{found[1:]}.".split())


def _finding(state: RunState, verdicts: Sequence[Verdict]) -> str:
    """What its steps say."""
    reward = state.health.trends.reward
    told = [
        one
        for one in verdicts
        if one.rule in _WORDS and (one.severity != "info" or one.rule in _WORTH_A_HEADLINE)
    ]
    if told:
        first, *others = told
        what, why = _WORDS[first.rule]
        parts = [f"{what} since step {first.since_step}: {filled(why, first.evidence)}"]
        if first.rule not in _TELLS_OF_REWARD and reward.num_steps >= RISING_AFTER:
            parts.append(_course(reward))
        serious = sum(one.severity != "info" for one in others)
        if serious:
            parts.append("1 more alarm" if serious == 1 else f"{serious} more alarms")
        return "; ".join(parts)
    if state.health_failure:
        return "Not judged: the health rules failed at the newest step"
    if reward.num_steps == 0:
        return "Nothing to judge by: no completion was scored"
    if reward.num_steps < RISING_AFTER:
        count = "1 step" if reward.num_steps == 1 else f"{reward.num_steps} steps"
        return f"Too early to tell: {count}"
    if reward.is_rising:
        return f"Learning: {_course(reward)}; no warning"
    return f"No warning{', but' if reward.is_falling else ';'} {_course(reward)}"


def _course(reward: RewardTrend) -> str:
    """What the reward does."""
    if reward.is_rising or reward.is_falling:
        verb = "rising" if reward.is_rising else "falling"
        start = "" if reward.first is None else f" (it began at {reward.first:.3g})"
        return f"reward {verb}, {reward.slow:.3g} to {reward.middle:.3g}{start}"
    if reward.change:
        verb = "rose" if reward.change > 0 else "fell"
        way = f"from {reward.first:.3g} to {reward.middle:.3g}"
        return f"reward {verb} {way}, with no clear trend of late"
    return f"reward shows no clear trend ({reward.middle:.3g})"


def _span(seconds: float) -> str:
    """A span of time in one unit, rounded down.

    >>> _span(719), _span(7300), _span(3 * 86400)
    ('11 min', '2 h', '3 days')
    """
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def _lowered(text: str) -> str:
    """The text inside of a sentence; an abbreviation keeps its capitals.

    >>> _lowered("Stalled"), _lowered("KL drifts")
    ('stalled', 'KL drifts')
    """
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
