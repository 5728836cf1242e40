"""What each health rule says: the numbers its alarm keeps, the cause, the advice."""

from collections.abc import Mapping
from types import MappingProxyType

from monitor_service.engine.health import evidence
from monitor_service.engine.health.phrases import (
    LOST,
    RAISE_ENTROPY,
    REMEDIES,
    SCARCE,
    SIDES,
    Words,
    by_limit,
    by_reward,
    by_side,
    heated,
    joined,
)

WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "not_finite": Words(
            evidence=evidence.not_finite,
            cause_text="NaN or infinity in {figures}",
            advice_text=(
                "Stop: what is trained from here is lost. Go back to the newest checkpoint whose "
                "figures were finite; then a lower learning rate, gradient clipping, bfloat16 "
                "instead of float16, and a bound on the ratio (delta, epsilon_high)."
            ),
        ),
        "no_signal": Words(
            evidence=evidence.idle,
            cause_text=joined(
                "{idle_groups:.0f} groups in a row gave no gradient (norm {grad_norm:.2g}) and ACR "
                "is {acr:.2f}, ",
                by_side(SIDES),
                ": the run burns time and learns nothing",
            ),
            advice_text=joined("Stop, or change what it is fed. ", by_side(REMEDIES)),
            grade=evidence.idle_grade,
        ),
        "gradient_dead": Words(
            evidence=evidence.gradient,
            cause_text=(
                "the gradient norm is {grad_norm:.2g}, usual is {usual:.2g}, and collapsed groups "
                "do not explain it (ACR of the step {acr:.2f})"
            ),
            advice_text=(
                "Look for parameters that are frozen or not given to the optimizer, advantages or "
                "completions that are all masked (truncated ones, for instance), and a loss that "
                "is detached. A loss of 0 by itself means nothing in GRPO; a gradient of 0 does."
            ),
        ),
        "gradient_explosion": Words(
            evidence=evidence.gradient,
            cause_text="the gradient norm is {grad_norm:.3g}, {ratio:.0f} times its usual "
            "{usual:.2g}",
            advice_text=(
                "Clip the gradient (max_grad_norm) if it is not, halve the learning rate, do fewer "
                "updates per batch. If KL or the reward left as well, go back to a checkpoint."
            ),
        ),
        "reward_collapse": Words(
            evidence=evidence.reward,
            cause_text=(
                "the mean reward fell to {reward:.3g}: its best was {best:.3g}, its lowest step "
                "{lowest:.3g}, and {kept_share:.0%} of that gain is left"
            ),
            advice_text=(
                "Stop, and go back to a checkpoint from before the fall. Read some completions: "
                "other alarms of the same time (KL, gradient, entropy, length) say what broke. "
                "Then a lower learning rate, or fewer updates per batch."
            ),
        ),
        "reward_degenerate": Words(
            evidence=evidence.degenerate,
            cause_text=joined(
                "at least 95 % of a step's completions got one and the same reward (mean "
                "{reward:.3g}); ACR is {acr:.2f}, ",
                by_side(SIDES),
            ),
            advice_text=joined(
                "First make sure that the reward works: score a known right answer by hand. ",
                by_side(REMEDIES),
            ),
            grade=evidence.unless_correct,
        ),
        "reward_constant": Words(
            evidence=evidence.constant,
            cause_text=(
                "{num_functions:.0f} of {num_reported:.0f} reward functions gave one value only: "
                "{functions}"
            ),
            advice_text=(
                "Harmless for a format bonus that every completion gets, or that none gets yet; "
                "then it is also useless. If it is the function that tells right from wrong, "
                "nothing is learnt: check its input, its parser, and its time-outs."
            ),
            grade=evidence.constant_grade,
        ),
        "entropy_collapse": Words(
            evidence=evidence.entropy,
            cause_text=joined(
                "entropy fell to {entropy:.3g} nats, the baseline of this run is {baseline:.3g}",
                by_reward("; the reward holds, so this is weak evidence", LOST),
                heated,
            ),
            advice_text=joined(
                by_reward("Watch it: exploration is nearly over. ", ""),
                RAISE_ENTROPY,
                " Do not reinforce all-correct groups meanwhile.",
            ),
            grade=evidence.entropy_grade,
        ),
        "entropy_low": Words(
            evidence=evidence.entropy,
            cause_text=joined(
                "entropy has been below 0.5 nats for more than 50 steps (now {entropy:.3g}, "
                "baseline {baseline:.3g})",
                by_reward("; the reward holds", LOST),
                heated,
            ),
            advice_text=joined(
                "By itself no reason to act: good runs live here. With a falling reward: ",
                RAISE_ENTROPY,
            ),
            grade=evidence.low_entropy_grade,
        ),
        "entropy_explosion": Words(
            evidence=evidence.entropy,
            cause_text=joined(
                "entropy rose to {entropy:.3g} nats, the run began at {first:.3g}", LOST, heated
            ),
            advice_text=(
                "The policy drifts towards noise. Fewer updates per batch, a lower learning rate, "
                "no entropy bonus, a larger beta; if the reward is gone, go back to a checkpoint."
            ),
        ),
        "kl_explosion": Words(
            evidence=evidence.kl,
            cause_text=joined("KL is {kl:.3g} nats (newest {newest:.3g})", heated),
            advice_text=(
                "Stop, and go back to a checkpoint from before the rise. Then a lower learning "
                "rate, fewer updates per batch, or a larger beta. If your trainer sums KL over "
                "tokens, this level does not apply."
            ),
        ),
        "kl_drift": Words(
            evidence=evidence.kl,
            cause_text=joined("KL has stayed high: {kl:.3g} nats (newest {newest:.3g})", heated),
            advice_text=(
                "The policy has moved far from the reference. If the reward pays for it, go on; "
                "else a larger beta or half the learning rate. Interventions rest meanwhile."
            ),
        ),
        "clipping": Words(
            evidence=evidence.clipping,
            cause_text="{clip_fraction:.0%} of the tokens were clipped",
            advice_text=(
                "Most of each update is thrown away: fewer updates per batch, a lower learning "
                "rate, or a wider clip range."
            ),
        ),
        "truncation": Words(
            evidence=evidence.truncated,
            cause_text=(
                "{truncated:.0%} of the completions are cut off at the limit (mean length "
                "{length:.0f} tokens; at the start {at_start:.0%} were cut)"
            ),
            advice_text=(
                "A completion that is cut off cannot be right: raise max_completion_length, or ask "
                "for shorter answers, or penalise length softly near the limit. Masking truncated "
                "completions instead would leave nothing to learn from."
            ),
        ),
        "truncation_rising": Words(
            evidence=evidence.truncated,
            cause_text=(
                "{truncated:.0%} of the completions are cut off at the limit, {at_start:.0%} were "
                "at the start (mean length {length:.0f} tokens)"
            ),
            advice_text=(
                "Read some: reasoning that grows needs a larger max_completion_length; repetition "
                "needs a stop token that is rewarded, or a length penalty."
            ),
        ),
        "length_collapse": Words(
            evidence=evidence.length,
            cause_text=joined(
                "completions have {length:.3g} tokens, it was {highest:.3g}",
                by_reward("; the reward holds", LOST),
            ),
            advice_text=(
                "Read some: an answer without reasoning is often a loophole of the reward. Reward "
                "what the answer must contain, or length-normalise less (a sum over tokens instead "
                "of a mean per completion favours short wrong answers less)."
            ),
        ),
        "length_at_limit": Words(
            evidence=evidence.length,
            cause_text=(
                "mean length is {length:.4g} of at most {longest:.4g} tokens and began at "
                "{first:.4g}: completions run into the limit"
            ),
            advice_text=(
                "Report the share of truncated completions to be sure. Raise "
                "max_completion_length, or penalise length; read some for repetition."
            ),
        ),
        "stall": Words(
            evidence=evidence.stalled,
            cause_text=joined(
                "pooled ACR has been above 0.35 for more than 50 steps (now {acr:.2f}, standard "
                "error {standard_error:.2f}), ",
                by_side(SIDES),
                ", and the reward does not rise ({reward:.3g}, before {reward_before:.3g})",
            ),
            advice_text=by_side(REMEDIES),
            grade=evidence.by_side,
        ),
        "middle_values": Words(
            evidence=evidence.collapse,
            cause_text=(
                "{acr_other:.0%} of the groups agree on a reward that is neither right nor wrong"
            ),
            advice_text=REMEDIES["other"],
        ),
        "acr_100": Words(
            evidence=evidence.start,
            cause_text=joined(
                "ACR of the first 100 steps was {acr_100:.2f}, above 0.50, and is {acr:.2f} now, ",
                by_side(SIDES),
            ),
            advice_text=joined(
                "The paper found that such runs rarely pass 35 % on MATH-500; that holds for its "
                "models and data, and not for groups that are all-correct. ",
                by_side(REMEDIES),
            ),
            grade=evidence.worse_if_wrong,
        ),
        "volatility": Words(
            evidence=evidence.volatility,
            cause_text=(
                "ACR swings by {std:.2f} (std over 25 steps), {excess:.2f} beyond what sampling "
                "{num_groups:.0f} groups a step explains"
            ),
            advice_text=(
                "Look for batches of one difficulty (shuffle the data), a curriculum with steps, "
                "or a learning rate that is too high. The paper reports 2.3 times the risk of "
                "failure above 0.15."
            ),
        ),
        "saturation": Words(
            evidence=evidence.collapse,
            cause_text=(
                "{acr_correct:.0%} of the groups are all-correct: the policy has learnt what this "
                "data teaches (ACR {acr:.2f})"
            ),
            advice_text=REMEDIES["correct"],
        ),
        "hidden_collapse": Words(
            evidence=evidence.hidden,
            cause_text=(
                "the accuracy component alone has ACR {acr_primary:.2f}, the sum {acr:.2f}: other "
                "reward terms keep groups alive whose answers all agree"
            ),
            advice_text=(
                "What is learnt from those groups is format or length, not accuracy. Lower the "
                "weights of those terms, or judge collapse by acr_primary."
            ),
        ),
        "sampling_exhausted": Words(
            evidence=evidence.sampled,
            cause_text=joined(
                "{filled:.0%} of the groups that were trained on collapsed and only fill the batch "
                "({tries:.0f} tries at the newest step",
                by_limit,
                "); ACR of all that was sampled is {acr:.2f}, ",
                by_side(SIDES),
            ),
            advice_text=joined(
                "More tries or tokens help only where the data holds groups that differ, and cost "
                "1/(1-ACR) times the generation. ",
                by_side(SCARCE),
            ),
        ),
        "settings_late": Words(
            evidence=evidence.lag,
            cause_text="the trainer acts on settings that are {lag_steps:.0f} steps old",
            advice_text=(
                "Reports arrive late or settings are not fetched: check the network between "
                "trainer and monitor, the reporter's queue, and how far generation runs ahead."
            ),
        ),
        "settings_ignored": Words(
            evidence=evidence.ignored,
            cause_text="the trainer did not apply {knob}: {reason} ({num_knobs:.0f} in all)",
            advice_text=(
                "The setting is published and has no effect. Take it back, or start the run so "
                "that the knob can be turned."
            ),
        ),
        "reports_stopped": Words(
            evidence=lambda _: {},
            cause_text=joined(
                "no report for {quiet_s:.0f} s; more than {bound_s:.0f} s is called a silence (the "
                "larger of 600 s and ten typical steps",
                lambda found: " of {typical_step_s:.0f} s)" if "typical_step_s" in found else ")",
            ),
            advice_text=(
                "Look at the trainer: it may have ended, crashed, or hang in generation or a "
                "collective; or the network is down, and then reports come later."
            ),
        ),
    }
)
"""By name of the rule."""
