"""What a report leaves open, and why."""

from collections.abc import Iterator, Mapping

from monitor_service.formats import plural
from monitor_service.report.story import Story

_WATCHED: Mapping[str, str] = {
    "reward_mean": "reward",
    "acr": "ACR",
    "entropy": "entropy",
    "kl": "KL",
    "grad_norm": "gradient norm",
    "completion_length_mean": "completion length",
    "truncated_fraction": "truncation",
    "clip_fraction": "clipped updates",
    "acr_effective": "what was applied",
}


def doubts(story: Story) -> Iterator[str]:
    """One sentence each."""
    run, bins = story.run, story.bins
    if bins.total:
        absent = [
            words
            for name, words in _WATCHED.items()
            if all(found is None for found in bins.columns[name])
        ]
        if "KL" in absent and run.config.get("beta") == 0:
            absent.remove("KL")
            yield "KL: the trainer's beta is 0, so there is no reference to measure it against."
        if absent:
            yield f"Never reported, or never a number: {', '.join(absent)}."
    if run.counters.unscored:
        groups = plural(run.counters.unscored, "group")
        yield f"Without a usable reward, and so in no rate: {groups}."
    if run.counters.invalid_rewards:
        rewards = plural(run.counters.invalid_rewards, "reward")
        yield f"Infinite or too large, and taken for not scored: {rewards}."
    if story.samples and bins.steps_from is not None and story.samples[0].step > bins.steps_from:
        yield (
            f"Records of steps before {story.samples[0].step} are dropped: K, |A|, lag and single "
            "reward functions are not known there."
        )
    if story.failure:
        yield (
            f"The health rules failed at the newest step, so the alarms are older: {story.failure}."
        )
    if run.attempt > 1:
        yield (
            "Steps that an attempt did over again are shown as the newest one reported them; "
            "totals count all attempts."
        )
    if story.alarms.num_replaced:
        yield f"Left out: {plural(story.alarms.num_replaced, 'alarm')} of such steps."
    yield "Rewards of single groups: a monitor keeps those of the newest steps only."
    yield "Whether another seed would have gone the same way: one run is one sample."
