"""What was done to groups without a signal, in sentences, and at which steps."""

from collections.abc import Iterator, Sequence

from monitor_service.formats import percent, plural
from monitor_service.report.story import Story
from monitor_service.resources import StepBins
from monitor_service.wire import Injection

Stretch = tuple[int, int]
"""(first, last) step."""


def stretches(bins: StepBins) -> list[Stretch]:
    """Where groups were injected, without a bin in between in which none was."""
    found: list[Stretch] = []
    was_acting = False
    sides = (bins.high["injected_wrong"], bins.high["injected_correct"])
    for first, last, *most in zip(bins.low["step"], bins.high["step"], *sides, strict=True):
        is_acting = any(most)
        if is_acting:
            start = found.pop()[0] if was_acting else int(first or 0)
            found.append((start, int(last or 0)))
        was_acting = is_acting
    return found


def sentences(story: Story) -> Iterator[str]:
    """What was injected, when and how much; what would have been; how batches were filled."""
    count = story.run.counters
    sides = _sides(count.injected_wrong, count.injected_correct)
    if count.intervened_steps:
        share = percent(count.intervened_steps / count.steps)
        acted = f"in {plural(count.intervened_steps, 'step')} of {count.steps} ({share})"
        found, size = stretches(story.injected), story.injected.steps_per_bin
        # None of them is left where a later attempt did all of these steps over again.
        place = f", {when(found)}" if found else ""
        place += f", to within {size} steps" if found and size > 1 else ""
        yield f"Injected: {sides}, {acted}{place}."
        if much := _amounts([one.applied for one in story.samples if one.applied]):
            yield much
    elif any(found is not None for found in story.injected.high["injected_wrong"]):
        yield "Nothing was injected."
    elif story.injected.total:
        yield "The trainer does not say what it injected."
    if count.shadow_wrong or count.shadow_correct:
        sides = _sides(count.shadow_wrong, count.shadow_correct)
        yield f"Shadow: {sides} would have been injected, had the mode been active."
        shadows = [one.applied.shadow for one in story.samples if one.applied]
        if much := _amounts([one for one in shadows if one]):
            yield f"Shadow: {much}"
    if count.sampling_kept or count.sampling_filled:
        yield (
            f"Dynamic sampling, in groups: {count.sampling_kept} that differ were trained on, "
            f"{count.sampling_filled} that collapsed filled their batches, "
            f"{count.sampling_surplus} that differ were left over."
        )


def _sides(wrong: int, correct: int) -> str:
    return f"{wrong} all-wrong and {plural(correct, 'all-correct group')}"


def when(found: Sequence[Stretch]) -> str:
    """Stretches in words; there is at least one."""
    first, last = max(found, key=lambda one: one[1] - one[0])
    if len(found) == 1:
        return f"from step {first} to {last}"
    return (
        f"from step {found[0][0]} to {found[-1][1]} in {len(found)} stretches, the longest from "
        f"{first} to {last}"
    )


def _amounts(injections: Sequence[Injection]) -> str:
    """K and |A| of those that injected something; "" without one."""
    acting = [one for one in injections if one.injected_wrong + one.injected_correct]
    if not acting:
        return ""
    numbers = sorted(one.num_virtual for one in acting)
    virtual = f"{numbers[0]} to {numbers[-1]}" if numbers[0] < numbers[-1] else str(numbers[0])
    advantage = max(one.advantage_abs_max for one in acting)
    mass = max(one.virtual_mass_fraction for one in acting)
    steps = plural(len(acting), "sampled step")
    return (
        f"K, the virtual rewards of a group, was {virtual}; |A| up to {advantage:.2f}; at most "
        f"{percent(mass)} of a step's sum of |A| ({steps} with an injection)."
    )
