"""Benchmarks by name, on literal rows in the shape that the hub has; the hub is never reached."""

import json

import datasets
import pytest

from monitor_service.errors import InvalidInput
from trainer.data.sources import Source
from trainer.evaluate import catalogue
from trainer.evaluate.catalogue import BENCHMARKS, REWARDS, Benchmark

BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."
OWN = Benchmark(name="", source=Source(path="", prompt_template="boxed"))

ROWS = {
    "math-500": (
        {
            "problem": "Convert the point $(0,3)$ to polar coordinates.",
            "solution": "... \\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}.",
            "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
            "subject": "Precalculus",
            "level": 2,
            "unique_id": "test/precalculus/807.json",
        },
        "Convert the point $(0,3)$ to polar coordinates.",
        "\\left( 3, \\frac{\\pi}{2} \\right)",
        "so \\boxed{(3, \\pi/2)}",
    ),
    "gsm8k": (
        {
            "question": "Janet sells 9 eggs at $2. How much does she make?",
            "answer": "She makes 9 * 2 = $<<9*2=18>>18.\n#### 18",
        },
        "Janet sells 9 eggs at $2. How much does she make?",
        "18",
        "\\boxed{\\$18}",
    ),
    "minerva": (
        {"question": "What is the angular frequency, in rad/s?", "answer": "6.28e-3"},
        "What is the angular frequency, in rad/s?",
        "6.28e-3",
        None,
    ),
    "olympiadbench": (
        {"question": "Find all real $x$ with $x^2=4$.", "answer": "$2$, $-2$"},
        "Find all real $x$ with $x^2=4$.",
        "$2$, $-2$",
        "\\boxed{-2, 2}",
    ),
    "amc23": (
        {"id": 0, "question": "How far in miles?", "answer": 27.0, "url": "https://example.org"},
        "How far in miles?",
        "27.0",
        "\\boxed{27}",
    ),
    "aime24": (
        {
            "id": 60,
            "problem": "Find the number of minutes.",
            "solution": "... \\boxed{204}",
            "answer": "204",
            "url": "https://example.org",
            "year": "2024",
        },
        "Find the number of minutes.",
        "204",
        "\\boxed{204}",
    ),
    "aime25": (
        {"problem": "Find the sum of all integer bases.", "answer": "070", "id": "0"},
        "Find the sum of all integer bases.",
        "070",
        "\\boxed{70}",
    ),
}
"""Name -> a row as on the hub, the question, the gold answer, a right answer."""


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def jsonl(tmp_path):
    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def test_every_benchmark_has_a_row_here():
    assert set(ROWS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_hub_becomes_a_problem_and_its_answer_is_judged(name, jsonl):
    row, question, answer, right = ROWS[name]
    benchmark = catalogue.find(f"{name}={jsonl(row)}", own=OWN)
    assert benchmark.name == name
    [problem] = catalogue.load(benchmark).to_list()
    assert problem == {"prompt": question + BOXED, "answer": answer}
    if right is not None:
        reward = REWARDS[benchmark.reward]
        assert reward(completions=[right, "\\boxed{-1}"], answer=[answer] * 2) == [1.0, 0.0]


@pytest.mark.parametrize("name", ["toy", "toy:mixed"])
def test_a_toy_is_its_held_out_problems(name):
    benchmark = catalogue.find(name, own=OWN)
    assert (benchmark.name, benchmark.reward) == (
        {"toy": "toy:addition", "toy:mixed": "toy:mixed"}[name],
        "exact_match",
    )
    problems = catalogue.load(benchmark, seed=3)
    assert problems.column_names == ["prompt", "answer"]
    assert problems["prompt"][:] != catalogue.load(benchmark, seed=4)["prompt"][:]


def test_a_file_is_read_with_the_columns_that_were_given(jsonl):
    path = jsonl({"q": "1+1?", "a": "so #### 2"}, name="mine.jsonl")
    source = Source(
        path="", prompt_column="q", answer_column="a", answer_marker="####", prompt_template="plain"
    )
    benchmark = catalogue.find(path, own=Benchmark(name="", source=source, reward="exact_match"))
    assert (benchmark.name, benchmark.reward) == ("mine", "exact_match")
    assert catalogue.load(benchmark).to_list() == [{"prompt": "1+1?", "answer": "2"}]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("math500", "did you mean math-500"),
        ("AIME-24", "did you mean aime24"),
        ("mmlu", "allowed are math-500, gsm8k, minerva, olympiadbench, amc23, aime24, aime25"),
        ("gsm8k=rows.csv", r"must end in \.jsonl or \.parquet"),
        ("mathqa=rows.jsonl", "did you mean math-500"),
    ],
)
def test_an_unknown_name_gets_the_list_and_the_nearest(name, words):
    with pytest.raises(InvalidInput, match=f"^benchmarks: .*{words}"):
        catalogue.find(name, own=OWN)


def test_an_unknown_toy_gets_the_list_of_toys():
    with pytest.raises(ValueError, match=r"toy:nothing.*toy:mixed"):
        catalogue.find("toy:nothing", own=OWN)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "?"}, "answer_column 'answer' is not in"),
        ({"question": "?", "answer": "18"}, "lacks the answer_marker '####'"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_benchmark(row, words, jsonl):
    benchmark = catalogue.find(f"gsm8k={jsonl(row)}", own=OWN)
    with pytest.raises(InvalidInput, match=rf"^benchmarks\.gsm8k: cannot be loaded: .*{words}"):
        catalogue.load(benchmark)


@pytest.mark.parametrize("content", ["", '{"problem": 1'])
def test_an_empty_and_a_broken_file_are_one_line(tmp_path, content):
    (tmp_path / "rows.jsonl").write_text(content)
    benchmark = catalogue.find(f"aime25={tmp_path / 'rows.jsonl'}", own=OWN)
    with pytest.raises(InvalidInput, match=r"^benchmarks\.aime25: cannot be loaded") as caught:
        catalogue.load(benchmark)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    benchmark = catalogue.find("aime25=/nowhere/rows.jsonl", own=OWN)
    with pytest.raises(InvalidInput, match=r"/nowhere/rows\.jsonl does not exist"):
        catalogue.load(benchmark)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInput, match=r"^benchmarks\.math-500: cannot be loaded") as caught:
        catalogue.load(BENCHMARKS["math-500"])
    assert "\n" not in str(caught.value)
    assert "HuggingFaceH4/MATH-500" in str(caught.value)
