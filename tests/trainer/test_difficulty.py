"""Levels of difficulty: their bounds, the measuring, and the program on a real model."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.errors import InvalidInput
from trainer import toy, train
from trainer.build import train_prompts
from trainer.difficulty import record
from trainer.difficulty.levels import LEVELS, level_of
from trainer.difficulty.measure import measure, rate
from trainer.evaluate.generation import Completion, Sampling

CONDITIONS = {"model": "m", "num_samples": 4}


@given(st.floats(min_value=0, max_value=1))
def test_every_pass_rate_has_exactly_one_level(pass_rate: float) -> None:
    assert [level.holds(pass_rate) for level in LEVELS].count(True) == 1


def test_level_three_is_that_of_the_paper_and_harder_levels_have_higher_numbers() -> None:
    assert [level_of(rate) for rate in (0.3, 0.4, 0.5)] == [3, 3, 3]
    assert (level_of(0.2999), level_of(0.5001)) == (4, 2)
    assert [level_of(share / 100) for share in range(100, -1, -1)] == sorted(
        level_of(share / 100) for share in range(101)
    )
    assert str(LEVELS[3]) == "[30%, 50%]"


@pytest.mark.parametrize("pass_rate", [-0.1, 1.1, float("nan")])
def test_no_other_number_has_a_level(pass_rate: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        level_of(pass_rate)


def test_unscored_completions_do_not_count() -> None:
    rated = rate("1+1=", "2", [1.0, None, 0.0, 0.0, None, 0.0])
    assert (rated.num_correct, rated.num_scored, rated.pass_rate, rated.level) == (1, 4, 0.25, 4)
    unscored = rate("?", None, [None, None])
    assert (unscored.num_scored, unscored.pass_rate, unscored.level) == (0, None, None)


class Counting:
    """Answers "0" to "1" by the seed: what a chunk gets tells which seed it had."""

    def generate(
        self,
        prompts: Sequence[Any],
        num_samples: int,
        sampling: Sampling,
        on_completions: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        answers = [str((sampling.seed + sample) % 2) for sample in range(num_samples)]
        return [[Completion(text=a, num_tokens=1, finished=True) for a in answers] for _ in prompts]


def right(completions: Sequence[str], answer: Sequence[str | None], **_: Any) -> list[float | None]:
    return [float(a == b) for a, b in zip(completions, answer, strict=True)]


PROBLEMS = Dataset.from_list([{"prompt": f"{number}=", "answer": "1"} for number in range(7)])


def measured(path: Path, *, chunk: int = 2, chunks: int = 100) -> int:
    """Measure at most so many chunks into the file; from which problem on."""
    first = record.resume(path, PROBLEMS, CONDITIONS, chunk=chunk)
    parts = measure(
        PROBLEMS,
        Counting(),
        right,
        sampling=Sampling(temperature=1.0, seed=3),
        num_samples=3,
        chunk=chunk,
        first=first,
    )
    for _, part in zip(range(chunks), parts, strict=False):
        record.append(path, part, CONDITIONS)
    return first


def test_stopped_and_resumed_is_the_same_as_straight(tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight.jsonl", tmp_path / "resumed.jsonl"
    measured(straight)
    assert measured(resumed, chunks=2) == 0
    with resumed.open("a") as file:
        file.write('{"prompt": "4="')  # Killed while it wrote the third chunk.
    assert measured(resumed, chunks=1) == 4
    assert measured(resumed) == 6
    assert resumed.read_bytes() == straight.read_bytes()
    assert measured(resumed) == 7


def test_a_chunk_that_was_cut_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rates.jsonl"
    measured(path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert measured(path) == 2
    assert path.read_bytes() == whole


def test_a_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "rates.jsonl"
    measured(path)
    before = path.read_bytes()
    others = Dataset.from_list([{"prompt": "x", "answer": "1"}] * 7)
    cases = [
        (others, CONDITIONS, "line 1 is another problem"),
        (PROBLEMS, {**CONDITIONS, "model": "n"}, "line 1 has model 'm', now 'n'"),
        (PROBLEMS.select(range(3)), CONDITIONS, "has 7 problems, the dataset 3"),
    ]
    for problems, conditions, words in cases:
        with pytest.raises(InvalidInput, match=words):
            record.resume(path, problems, conditions, chunk=2)
    assert path.read_bytes() == before
    path.write_text("no JSON\n")
    with pytest.raises(InvalidInput, match="line 1 is not JSON"):
        record.resume(path, PROBLEMS, CONDITIONS, chunk=2)


@pytest.fixture
def difficulty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`acr-train difficulty` with these arguments, in this process: status, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["acr-train", "difficulty", *arguments])
        capsys.readouterr()
        status = 0
        try:
            train.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return run


def written(folder: Path, **changes: Any) -> str:
    path = folder / "config.yaml"
    values = {
        "model_name_or_path": "toy",
        "rewards": ["exact_match"],
        "output_dir": str(folder / "out"),
        "max_completion_length": 4,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        **changes,
    }
    path.write_text(json.dumps(values))  # JSON is YAML.
    return str(path)


def test_the_program_sorts_the_toys_problems_goes_on_and_its_file_can_be_trained_on(
    tmp_path: Path, difficulty: Any
) -> None:
    config, output = written(tmp_path), tmp_path / "levels.jsonl"
    options = ["--output", str(output), "--num-samples", "8", "--batch-size", "64", "--json"]
    status, out, err = difficulty(config, *options, "--limit", "32")
    assert status == 0, err
    summary = json.loads(out)
    counts = [level["num_problems"] for level in summary["levels"]]
    assert (summary["num_problems"], sum(counts), summary["num_unscored"]) == (32, 32, 0)
    # The warm start leaves the model between guessing and knowing.
    assert counts[0] > 0
    assert counts[6] > 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(level_of(row["num_correct"] / 8) == row["level"] for row in rows)
    first = toy.find("toy").make_splits(seed=42)[0][0]
    assert (rows[0]["prompt"], rows[0]["answer"]) == (first["prompt"], first["answer"])
    # All are there: nothing is loaded, and the table is shown.
    status, out, err = difficulty(config, *options[:-1], "--limit", "32")
    assert status == 0, err
    assert "32 of 32 problems are in" in err
    assert "[30%, 50%]" in out
    script, training, model = train.parse([config, "--difficulty_levels", "6"])
    script.dataset_name = str(output)
    model.model_name_or_path = None
    hardest = train_prompts(script, training, model)
    assert len(hardest) == counts[6]


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({}, ["--num-samples", "0"], "num_samples: must be at least 1"),
        ({"rewards": ["length"]}, [], "rewards: must have one of: box_accuracy"),
        ({"model_name_or_path": None}, [], "model_name_or_path"),
        ({"model_revision": "v2"}, [], "model_revision: must be main"),
        ({"model_name_or_path": "./absent", "dataset_name": "x.jsonl"}, [], "x.jsonl does not"),
        ({}, ["--temprature", "1"], "temprature"),
        ({"model_name_or_path": "toy:absent"}, [], "no such toy task"),
    ],
)
def test_a_mistake_ends_with_one_line_that_names_it(
    tmp_path: Path, difficulty: Any, changes: dict[str, Any], options: list[str], words: str
) -> None:
    arguments = [written(tmp_path, **changes), "--output", str(tmp_path / "x.jsonl"), *options]
    status, out, err = difficulty(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("acr-train difficulty: ")
    assert err.count("\n") == 1
    assert words in err
