"""The charts of a run: what happened when, and its figures over the steps."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from monitor_service.diagnose import episodes, panels, plots, timeline
from monitor_service.diagnose.markup import paragraph
from monitor_service.diagnose.svg import NUM_RUNS
from monitor_service.report import injection, orders
from monitor_service.report.story import Story
from monitor_service.resources import StepRecord

MOST_MARKS = 40
"""Orders up to which each is marked in every chart."""


def drawn(story: Story) -> str:
    """All of them, with what there is to know to read them; the run has a step."""
    marks = episodes.marks(story.alarms.episodes)
    about = panels.about(story.bins, has_alarms=bool(marks))
    if 0 < len(story.orders) <= MOST_MARKS:
        at = orders.places(story.orders, story.resumes)
        marks += [plots.Mark(step=step, colour="soft", style="dotted") for step in at]
        about += paragraph("Dotted, upright: an order, numbered as in the table below.", "soft")
    figures = [
        timeline.figure("What happened when", list(_rows(story)), _ends(story)),
        *map(plots.figure, panels.of(story.bins, marks, story.run.baselines)),
        *map(plots.figure, _components(story, marks)),
    ]
    return about + plots.side_by_side(figures)


def _rows(story: Story) -> Iterator[timeline.Row]:
    first, last = _ends(story)
    yield from episodes.rows(story.alarms.episodes, story.run.step)
    if acting := injection.stretches(story.injected):
        spans = [(start - 0.5, end + 0.5, "main") for start, end in acting]
        yield timeline.Row(label="injected", spans=spans, told=injection.when(acting))
    at = orders.places(story.orders, story.resumes)
    if killed := list(orders.killed(story.orders, at, story.run.step)):
        told = ", ".join(f"{start:.0f} to {end:.0f}" for start, end, _ in killed)
        yield timeline.Row(label="killed", spans=killed, told=told)
    if points := list(orders.points(at, last - first)):
        told = ", ".join(f"{name} at {step:.0f}" for step, name in points)
        yield timeline.Row(label="orders", points=points, told=told)


def _components(story: Story, marks: Sequence[plots.Mark]) -> Iterator[plots.Chart]:
    """The reward functions one by one, where there are several."""
    names = sorted({name for one in story.samples for name in one.components})
    known = [(name, _means(story.samples, name)) for name in names]
    curves = [
        plots.Curve(
            label=name,
            colour=f"run-{index % NUM_RUNS}",
            steps=np.array([one.step for one in story.samples], dtype=np.float64),
            values=np.array(means),
        )
        for index, (name, means) in enumerate(known)
        if not all(map(math.isnan, means))
    ]
    if len(curves) > 1:
        yield plots.Chart(
            title=f"Reward functions, at {len(story.samples)} of the steps",
            steps=_ends(story),
            curves=curves,
            marks=marks,
        )


def _means(samples: Sequence[StepRecord], name: str) -> list[float]:
    found = (one.components.get(name) for one in samples)
    return [math.nan if one is None or one.mean is None else one.mean for one in found]


def _ends(story: Story) -> tuple[float, float]:
    return float(story.bins.steps_from or 0), float(story.bins.steps_to or 0)
