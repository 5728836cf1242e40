"""Loading of problems from files; the hub is not reached by any test."""

import json

import datasets
import pytest

from trainer.data import load_prompts


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def jsonl(tmp_path):
    def write(*rows):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def test_a_file_with_the_standard_columns_needs_no_options(jsonl):
    dataset = load_prompts(jsonl({"prompt": "1+1=", "answer": "2", "source": "school"}))
    assert dataset.to_list() == [{"prompt": "1+1=", "answer": "2"}]


def test_columns_template_and_marker_shape_a_gsm8k_row(jsonl):
    row = {"question": "Tom has 40 + 2 {apples}?", "solution": "40 + 2 = 42 #### no\n#### 42 "}
    dataset = load_prompts(
        jsonl(row),
        prompt_column="question",
        answer_column="solution",
        prompt_template="{question} Use \\boxed{}.",
        answer_marker="####",
    )
    assert dataset.to_list() == [
        {"prompt": "Tom has 40 + 2 {apples}? Use \\boxed{}.", "answer": "42"}
    ]


def test_numbers_become_text_and_null_stays_null(jsonl):
    path = jsonl({"prompt": "1+1=", "answer": 2}, {"prompt": "?", "answer": None})
    assert load_prompts(path)["answer"][:] == ["2", None]


def test_parquet_is_read_too(tmp_path):
    path = tmp_path / "problems.parquet"
    datasets.Dataset.from_dict({"prompt": ["1+1="], "answer": ["2"]}).to_parquet(path)
    assert load_prompts(str(path)).to_list() == [{"prompt": "1+1=", "answer": "2"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_column": "question"}, "prompt_column 'question' is not in .*: prompt, answer"),
        ({"answer_column": "solution"}, "answer_column 'solution' is not in .*: prompt, answer"),
        ({"prompt_template": "Solve:"}, "'Solve:' does not contain {question}"),
        ({"answer_marker": "####"}, "row 0: answer '2' lacks the answer_marker '####'"),
    ],
)
def test_an_option_that_does_not_fit_is_named(jsonl, options, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(jsonl({"prompt": "1+1=", "answer": "2"}), **options)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": 7, "answer": "2"}, "row 0: prompt is 7, allowed is text"),
        ({"prompt": "?", "answer": True}, "row 0: answer is True, allowed is text, a number"),
        ({"prompt": "?", "answer": ["2"]}, "row 0: answer is .*, allowed is text, a number"),
    ],
)
def test_a_cell_of_another_type_is_named_with_its_row(jsonl, row, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(jsonl(row))


def test_a_missing_file_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.jsonl does not exist"):
        load_prompts(str(tmp_path / "absent.jsonl"))


def test_another_file_format_is_refused_with_the_allowed_ones(tmp_path):
    path = tmp_path / "problems.csv"
    path.write_text("prompt,answer\n1+1=,2\n")
    with pytest.raises(ValueError, match=r"ends in '\.csv', allowed are: \.jsonl, \.parquet"):
        load_prompts(str(path))
