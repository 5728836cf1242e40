"""One step of a run, as the health rules see it."""

from collections.abc import Mapping

from msgspec import Struct

from monitor_service.engine.smoothing import Rates


class Vitals(Struct, frozen=True, kw_only=True):
    """What was measured at one step. None means not measured, or not known.

    Attributes:
        step: number of the generation batch, from 1; above that of the step before.
        num_groups: scored groups behind the step's rates; 0 when unknown.
        acr: the step's raw rates, in [0, 1], with its sides where they are known.
        pooled: rates pooled over steps, this one included.
        reward_mean: reward units.
        reward_is_degenerate: nearly all completions of the step got one and the same reward.
        components: reward function -> (mean, std) over the step's completions.
        entropy: nats per token.
        kl: nats per token, against the reference policy.
        grad_norm: as the trainer logs it, before clipping.
        clip_fraction: share of tokens whose ratio was clipped, in [0, 1].
        completion_length_mean: tokens; so is `completion_length_max`.
        truncated_fraction: share of completions cut at the length limit, in [0, 1].
        non_finite: figures that were NaN or infinite at this step, by name.
        settings_lag_steps: steps between the settings applied and the newest possible; None
            without a loop.
        not_applied: knob -> the trainer's reason for ignoring it; "settings" -> a note.
        acr_primary: ACR of the accuracy component alone, in [0, 1].
        filled_share: share of the trained groups that collapsed and only fill the batch, in [0, 1];
            None without dynamic sampling.
        sampling_tries: batches of prompts that were sampled for it.
        sampling_stopped_by: the limit that ended the sampling; "" when none did.
    """

    step: int
    num_groups: int = 0
    acr: float | None = None
    acr_wrong: float | None = None
    acr_correct: float | None = None
    acr_other: float | None = None
    pooled: Rates | None = None
    reward_mean: float | None = None
    reward_is_degenerate: bool = False
    components: Mapping[str, tuple[float | None, float | None]] = {}
    entropy: float | None = None
    kl: float | None = None
    grad_norm: float | None = None
    clip_fraction: float | None = None
    completion_length_mean: float | None = None
    completion_length_max: float | None = None
    truncated_fraction: float | None = None
    learning_rate: float | None = None
    temperature: float | None = None
    non_finite: tuple[str, ...] = ()
    settings_lag_steps: int | None = None
    not_applied: Mapping[str, str] = {}
    acr_primary: float | None = None
    filled_share: float | None = None
    sampling_tries: int | None = None
    sampling_stopped_by: str = ""
