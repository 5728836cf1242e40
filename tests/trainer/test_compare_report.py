"""What a report says of results whose law is known, and that it never says more."""

import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.trainer import comparisons
from tests.trainer.comparisons import NUM_STEPS
from trainer.compare import plots, results, tables
from trainer.compare.summary import summarise

FIVE = [0, 1, 2, 3, 4]


def text_of(summary):
    console = Console(width=110)
    with console.capture() as shown:
        console.print(tables.terminal(summary))
    return shown.get()


def readings(summary, figure):
    return {one.arm: one.reading for one in summary.comparisons if one.figure == figure}


@pytest.fixture(scope="module")
def known():
    """Five arms: one is far better, one far worse, two are plain GRPO under another name."""
    plan = comparisons.plan(
        arms={name: {"label": name} for name in ("grpo", "same", "good", "bad", "also")},
        seeds=FIVE,
        title="Known effects",
    )
    found = comparisons.found(plan, {"good": 0.2, "bad": -0.2}, noise=0.01)
    return plan, found, summarise(plan, found)


def test_what_is_there_is_found_and_what_is_not_is_not(known):
    _, _, summary = known
    for figure in ("accuracy", "pass@1", "pass@4"):
        assert readings(summary, figure) == {
            "same": "no difference shown",
            "good": "better",
            "bad": "worse",
            "also": "no difference shown",
        }


def test_every_figure_has_its_own_family_of_comparisons(known):
    _, _, summary = known
    assert {one.difference.num_comparisons for one in summary.comparisons} == {4}
    assert len(summary.comparisons) == 4 * 5
    assert "20 comparisons in 5 figures" in summary.notes[-1]


def test_the_means_are_those_of_the_cells(known):
    plan, found, summary = known
    good = next(arm for arm in summary.arms if arm.name == "good")
    assert good.seeds == FIVE
    scores = [found["good", seed].after for seed in plan.seeds]
    own = [sum(score.greedy) / len(score.greedy) for score in scores]
    assert good.figures["accuracy"].value == pytest.approx(sum(own) / 5)
    shares = [sum(score.correct) / (4 * len(score.correct)) for score in scores]
    assert good.figures["pass@1"].value == pytest.approx(sum(shares) / 5)
    assert good.figures["completions"].value == 128 * NUM_STEPS


def test_late_is_the_last_fifth_of_the_steps():
    plan = comparisons.plan()
    found = comparisons.found(plan, {})
    for result in found.values():
        result.series.acr = [*[0.9] * (NUM_STEPS - 8), *[0.1] * 8]
        result.series.acr_wrong = [None] * NUM_STEPS
    arm = summarise(plan, found).arms[0]
    assert arm.figures["acr"].value == pytest.approx(0.1)
    assert "acr_wrong" not in arm.figures


def test_what_is_missing_failed_or_unpaired_is_said():
    plan = comparisons.plan()
    found = comparisons.found(plan, {})
    del found["avspo", 1]
    found["avspo", 2].error = "ValueError: no reward"
    found["avspo", 0].weights_sha256 = "other"
    found["avspo", 0].versions = {"torch": "1"}
    summary = summarise(plan, found)
    notes = " ".join(summary.notes)
    assert "1 cells have not run: avspo-1" in notes
    assert "avspo-2 failed: ValueError: no reward" in notes
    assert "Not paired: avspo-0 began from other weights than grpo of the same seed." in notes
    assert "different versions" in notes
    assert (summary.num_finished, summary.num_cells) == (4, 6)
    # One pair is left.
    assert set(readings(summary, "accuracy").values()) == {"not judged: fewer than two pairs"}


def test_other_problems_have_no_noise_of_problems():
    plan = comparisons.plan()
    found = comparisons.found(plan, {})
    found["avspo", 1].problems_sha256 = "other"
    summary = summarise(plan, found)
    assert all(one.evaluation_noise is None for one in summary.comparisons)


def test_arms_that_did_the_same_are_called_identical():
    plan = comparisons.plan()
    found = comparisons.found(plan, {})
    for (arm, seed), result in found.items():
        result.after = found["grpo", seed].after
        assert arm in plan.arms
    assert readings(summarise(plan, found), "accuracy") == {"avspo": "identical in every seed"}


def test_the_terminal_shows_a_row_for_each_arm_and_each_comparison(known):
    _, _, summary = known
    text = text_of(summary)
    assert max(map(len, text.splitlines())) <= 110
    assert len(re.findall(r"^ +(?:grpo|same|good|bad|also) ", text, re.MULTILINE)) >= 10
    assert "less grpo" in text
    assert "better" in text
    assert "detectable" in text


def test_a_markdown_section_has_the_same_rows_and_the_command(known):
    _, _, summary = known
    page = tables.markdown(summary, "acr-train compare plan.yaml")
    assert page.startswith("## Known effects\n")
    assert "```sh\nacr-train compare plan.yaml\n```" in page
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    # Two tables of five arms, one of twenty comparisons, three headers.
    assert len(rows) == 2 * 5 + 20 + 3
    for line in rows[:6]:
        assert line.count("|") == rows[0].count("|")


def test_the_plots_are_drawn_for_everything_finished(known, tmp_path):
    plan, found, summary = known
    files = plots.draw(summary, plan, found, tmp_path)
    assert sorted(file.name for file in files) == [
        *("curves.png", "curves.svg", "differences.png", "differences.svg"),
    ]
    drawn = (tmp_path / "curves.svg").read_text()
    for label in ("good", "bad", "ACR", "effective ACR", "entropy trained on", "pass@k, held out"):
        assert f">{label}<" in drawn
    assert ">grpo<" in drawn


def test_half_of_the_cells_can_be_drawn_too(tmp_path):
    plan = comparisons.plan()
    found = comparisons.found(plan, {})
    left = {at: result for at, result in found.items() if at[0] == "grpo"}
    summary = summarise(plan, left)
    assert [file.name for file in plots.draw(summary, plan, left, tmp_path)] == [
        *("curves.svg", "curves.png"),
    ]


def test_a_result_survives_its_file_and_a_broken_file_is_none(tmp_path):
    plan = comparisons.plan()
    cell = next(plan.cells())
    result = comparisons.found(plan, {})["grpo", 0]
    path = results.file_of(tmp_path, cell)
    results.write(path, result)
    assert msgspec.to_builtins(results.read(path)) == msgspec.to_builtins(result)
    assert results.finished(tmp_path, cell) is not None
    assert [file.name for file in path.parent.iterdir()] == ["grpo-0.json"]
    path.write_bytes(path.read_bytes()[:-10])
    assert results.read(path) is None
    assert results.read(Path("/nowhere/at.json")) is None
