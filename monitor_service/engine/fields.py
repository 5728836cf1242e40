"""The settings that people may change, each with what it does: for forms and references."""

from collections.abc import Mapping
from typing import Literal

from msgspec.structs import asdict

from monitor_service.engine.allowed import Allowed
from monitor_service.engine.settings import ALLOWED, KNOBS, OVERRIDABLE, Settings

FieldGroup = Literal["decision", "controller", "injection", "limits", "reward", "trainer"]


class Field(Allowed, frozen=True, kw_only=True):
    """One setting.

    Attributes:
        name: of the field of `Settings`.
        group: what it is about.
        about: one sentence on what it does, and what changes when it is raised.
        default: of the profile `paper`; other profiles set others.
        is_knob: whether it is a parameter of the trainer's own; null leaves that one as it was
            configured.
        is_overridable: whether it may be changed for a while.
    """

    name: str
    group: FieldGroup
    about: str
    default: bool | int | float | str | None
    is_knob: bool
    is_overridable: bool


def _fields(texts: Mapping[FieldGroup, Mapping[str, str]]) -> tuple[Field, ...]:
    defaults = Settings()
    return tuple(
        Field(
            **asdict(ALLOWED[name]),
            name=name,
            group=group,
            about=about,
            default=getattr(defaults, name),
            is_knob=name in KNOBS,
            is_overridable=name in OVERRIDABLE,
        )
        for group, own in texts.items()
        for name, about in own.items()
    )


FIELDS = _fields(
    {
        "decision": {
            "profile": "Sets a named bundle of the settings below, before any other change that "
            "comes with it.",
            "mode": "off: plain GRPO; shadow: everything is decided and reported, nothing is "
            "touched; active: groups without a signal are injected.",
            "controller": "The law that decides when to inject: paper moves the threshold, fixed "
            "leaves it, guarded begins and ends by a pooled rate within limits.",
            "threshold": "Injection begins when the rate of collapse is strictly above this; "
            "higher means later and less often.",
            "acr_source": "Which ACR is compared with the threshold: of the batch, of the last 64 "
            "groups, or smoothed over them; guarded always takes the smoothed one.",
            "min_groups_per_unit": "With fewer scored groups in a batch, its own ACR is too noisy "
            "and the smoothed one decides; higher means that more batches are judged so.",
            "target": "Which groups without a signal may be injected: all-wrong ones, all-correct "
            "ones, or both; guarded also watches the rate of these.",
        },
        "controller": {
            "exit_threshold": "guarded: injection ends when the rate falls below this; higher "
            "means that it ends sooner.",
            "threshold_low": "paper: the threshold never moves below this; higher keeps injection "
            "rarer.",
            "threshold_high": "paper: the threshold never moves above this; higher lets injection "
            "become rarer.",
            "eta": "paper: how far the threshold moves in a step; higher means faster, and from "
            "about 0.1 it swings.",
            "max_active_steps": "guarded: longest activation, in scored steps; higher means that "
            "injection goes on longer before it has to show a benefit.",
            "cooldown_steps": "guarded: scored steps without injection after an activation; higher "
            "means longer rests.",
            "benefit_check": "guarded: an activation that reached its limit without a benefit "
            "locks the run until somebody re-arms it.",
        },
        "injection": {
            "strategy": "How the virtual rewards are made up, and with them the size of the "
            "injected advantage; constant gives an advantage of 1 itself.",
            "alpha": "Exponent in the number of virtual rewards, K = ceil(G * ACR^alpha); higher "
            "means fewer of them and a smaller advantage.",
            "r_anchor": "Largest virtual reward of an all-wrong group, as a fraction of the reward "
            "range; matters only where the trainer does not divide by each group's own "
            "standard deviation, and then higher pushes harder.",
            "scale_wrong": "Factor on the advantage of all-wrong groups; higher pushes away harder "
            "from what was sampled, 0 leaves them alone.",
            "scale_correct": "Factor on the advantage of all-correct groups; higher reinforces "
            "harder what is known already and tends to lower entropy, 0 leaves them alone.",
            "seed": "Of random choices, which are drawn from it and the step; another seed makes "
            "other ones.",
        },
        "limits": {
            "max_advantage": "Cap on the size of an injected advantage; higher allows a harder "
            "push, null any.",
            "max_group_fraction": "Cap on the share of groups that are injected; higher allows "
            "more of them, and which ones is drawn by chance.",
            "max_mass_fraction": "Cap on the injected share of a batch's total advantage; higher "
            "lets injection weigh more against real rewards.",
            "prompt_budget": "Most injections of one prompt in an epoch; higher keeps pushing on "
            "prompts that may be impossible, null sets no limit.",
            "skip_degenerate": "Leave a batch alone in which nearly all completions got the same "
            "reward, as a broken verifier gives.",
            "skip_truncated": "Leave a group alone whose completions were all cut at the length "
            "limit.",
            "heed_alarms": "Inject nothing while an alarm on KL or the gradient stands, and no "
            "all-correct group while one on entropy does.",
        },
        "reward": {
            "reward_low": "The reward of a wrong answer; all-wrong groups are those at this value, "
            "within 1 % of the range.",
            "reward_high": "The reward of a right answer; all-correct groups are those at this "
            "value, within 1 % of the range.",
        },
        "trainer": {
            "epsilon_low": "Lower clip range of the policy ratio; higher lets an update lower a "
            "token's probability further.",
            "epsilon_high": "Upper clip range of the policy ratio; higher lets an update raise "
            "rare tokens further and keeps entropy up.",
            "beta": "Weight of the KL to the reference policy; higher keeps the policy closer to "
            "it.",
            "entropy_coef": "Weight of the entropy bonus; higher keeps sampling more varied.",
            "temperature": "Sampling temperature; higher gives more varied completions, and "
            "usually fewer groups that all agree.",
            "learning_rate_scale": "Factor on the learning rate's schedule; higher means larger "
            "steps, 0 stops learning.",
            "loss_mask": "Keep groups without a signal out of the loss and of what it is divided "
            "by; the others then count for more.",
            "dynamic_sampling": "Sample on until the batch is filled with groups that differ; "
            "costs about 1 / (1 - ACR) times the generation.",
        },
    }
)
"""Every field of `settings.TUNABLE`, group by group."""
