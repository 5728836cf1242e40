"""What keeps interventions from being what the configuration asked for, in words for a log."""

import numpy as np

from monitor_service.engine.collapse import COLLAPSE_STD, Matrix, Outcome
from monitor_service.engine.plan import Plan
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import MIN_GROUPS


def doubts(decided: Plan, settings: Settings, judged: Matrix, reward_names: str) -> dict[str, str]:
    """What to warn of, by a name for each kind; empty when all is well.

    Args:
        decided: the plan for a batch.
        settings: what it was decided with.
        judged: `[N, G]` the rewards that tell right from wrong.
        reward_names: of the reward functions, separated by commas.
    """
    if settings.reward_range is None:
        return {}
    low, high = settings.reward_range.low, settings.reward_range.high
    excess = max(np.nanmax(judged, initial=high) - high, low - np.nanmin(judged, initial=low))
    found = {}
    groups = decided.groups
    other = groups.count(Outcome.UNIFORM_OTHER)
    remedy = (
        f"set primary_reward to the one of {reward_names} that tells right from wrong"
        if "," in reward_names
        else "set reward_low and reward_high"
    )
    if excess > COLLAPSE_STD:
        found["range"] = (
            f"rewards lie outside [{low:g}, {high:g}], so groups that collapse there are never "
            f"injected; {remedy}"
        )
    elif 2 * other > groups.num_collapsed:
        found["other"] = (
            f"{other} of {groups.num_collapsed} collapsed groups are neither wrong ({low:g}) "
            f"nor right ({high:g}) and are never injected; {remedy}"
        )
    is_small = decided.acr_source != settings.acr_source and settings.controller != "guarded"
    if groups.num_scored and is_small:
        found["source"] = (
            f"{groups.num_scored} scored groups a step are fewer than "
            f"min_groups_per_unit={settings.min_groups_per_unit}: the smoothed ACR decides, "
            f"once {MIN_GROUPS} groups were seen"
        )
    return found
