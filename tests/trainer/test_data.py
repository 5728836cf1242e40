"""Loading of problems from files; the hub is not reached by any test."""

import json
from typing import Any

import datasets
import pytest

from trainer.data import SOURCES, load_prompts, loading


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
        (
            {"prompt_column": "prompt.text"},
            r"prompt_column 'prompt\.text' is not in",
        ),
        ({"keep_columns": ["rate"]}, "column 'rate' is not in .*: prompt, answer"),
        ({"prompt_template": "Solve:"}, "'Solve:' does not contain {question}, and is none of"),
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
        (
            {"prompt": [{"text": "?"}], "answer": "2"},
            "row 0: prompt is .*, allowed is a list of me",
        ),
        ({"prompt": [], "answer": "2"}, "row 0: prompt is .*, allowed is a list of messages"),
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


def test_a_file_that_holds_no_rows_is_named(jsonl, tmp_path):
    with pytest.raises(ValueError, match=r"problems\.jsonl cannot be read"):
        load_prompts(jsonl())
    path = tmp_path / "none.parquet"
    datasets.Dataset.from_dict({"prompt": [], "answer": []}).to_parquet(path)
    with pytest.raises(ValueError, match=r"none\.parquet cannot be read: .*no data"):
        load_prompts(str(path))
    path = tmp_path / "broken.jsonl"
    path.write_text('{"prompt": "1+1=", "answer"\n')
    with pytest.raises(ValueError, match=r"broken\.jsonl cannot be read: .*JSON"):
        load_prompts(str(path))


def test_a_field_inside_a_column_is_named_with_a_dot(jsonl):
    row = {"prompt": "1+1=", "reward_model": {"ground_truth": "2", "style": "rule"}}
    empty = {"prompt": "?", "reward_model": None}
    path = jsonl(row, empty)
    assert load_prompts(path, answer_column="reward_model.ground_truth")["answer"][:] == ["2", None]
    words = r"has: prompt, reward_model, reward_model\.ground_truth, reward_model\.style"
    with pytest.raises(ValueError, match=words):
        load_prompts(path, answer_column="reward_model.gold")


def test_other_columns_are_kept_on_request(jsonl):
    dataset = load_prompts(
        jsonl({"prompt": "1+1=", "answer": "2", "pass_rate": 0.5}), keep_columns=["pass_rate"]
    )
    assert dataset.to_list() == [{"prompt": "1+1=", "answer": "2", "pass_rate": 0.5}]


USER = {"role": "user", "content": "1+1="}


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        ({}, "1+1="),
        ({"prompt_template": "plain"}, "1+1="),
        ({"prompt_template": "Q: {question} {question} {}"}, "Q: 1+1= 1+1= {}"),
        ({"system_prompt": ""}, [USER]),
        ({"system_prompt": "Add."}, [{"role": "system", "content": "Add."}, USER]),
        (
            {"prompt_template": "Q: {question}", "system_prompt": "Add."},
            [{"role": "system", "content": "Add."}, {"role": "user", "content": "Q: 1+1="}],
        ),
        ({"prompt_template": "chat", "system_prompt": ""}, [USER]),
    ],
)
def test_a_template_is_named_or_given_and_a_system_prompt_makes_a_conversation(
    jsonl, options, prompt
):
    path = jsonl({"prompt": "1+1=", "answer": "2"})
    assert load_prompts(path, **options)["prompt"][:] == [prompt]


@pytest.mark.parametrize(("name", "roles"), [("chat", 2), ("think", 2), ("boxed", 0)])
def test_the_named_templates_ask_for_a_box(jsonl, name, roles):
    (prompt,) = load_prompts(jsonl({"prompt": "1+1=", "answer": "2"}), prompt_template=name)[
        "prompt"
    ]
    assert (len(prompt) if roles else 0) == roles
    assert r"\boxed{}" in str(prompt[0]["content"] if roles else prompt)


def test_a_conversation_in_the_data_stays_one_and_keeps_its_own_system_prompt(jsonl):
    system = {"role": "system", "content": "Be brief."}
    path = jsonl(
        {"prompt": [{**USER, "name": "ana"}], "answer": "2"},
        {"prompt": [system, USER], "answer": "2"},
    )
    assert load_prompts(path)["prompt"][:] == [[USER], [system, USER]]
    asked = {"role": "user", "content": "Q: 1+1="}
    prompts = load_prompts(path, prompt_template="Q: {question}", system_prompt="Add.")["prompt"]
    assert prompts[:] == [[{"role": "system", "content": "Add."}, asked], [system, asked]]


# One row of each, in the columns of the hub (shortened).
HUB_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "gsm8k": (
        {
            "question": "Natalia sold clips to 48 friends, then half as many. How many?",
            "answer": "She sold 48/2 = <<48/2=24>>24 clips.\nTogether 48+24 = 72.\n#### 1,072",
        },
        "1,072",
    ),
    "math": (
        {
            "problem": "What is $1/2$ of $1$?",
            "solution": r"It is $\boxed{\frac{1}{2}}$.",
            "answer": r"\frac{1}{2}",
            "subject": "Prealgebra",
            "level": 1,
            "unique_id": "train/prealgebra/1.json",
        },
        r"\frac{1}{2}",
    ),
    "dapo-math": (
        {
            "prompt": "In triangle $ABC$, what is $BC$?",
            "solution": "34",
            "data_source": "math_dapo",
            "source_prompt": [{"content": "Solve ...", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": "9a9b6eb4"},
        },
        "34",
    ),
}


def test_every_dataset_known_by_name_has_a_sample_row():
    assert set(HUB_ROWS) == set(SOURCES)


@pytest.mark.parametrize("name", HUB_ROWS)
def test_a_dataset_known_by_name_needs_no_options(name, monkeypatch):
    row, gold = HUB_ROWS[name]
    asked = []

    def from_hub(path, config, *, split):
        asked.append((path, config, split))
        return datasets.Dataset.from_list([row])

    monkeypatch.setattr(loading, "load_dataset", from_hub)
    (problem,) = load_prompts(name)
    assert asked == [(SOURCES[name].path, SOURCES[name].config, "train")]
    assert problem["answer"] == gold
    question = row[SOURCES[name].prompt_column]
    assert problem["prompt"].startswith(f"{question}\n")
    assert problem["prompt"].endswith(r"\boxed{}.")


def test_explicit_options_win_over_those_of_the_name(monkeypatch):
    asked = []

    def from_hub(path, config, *, split):
        asked.append((path, config, split))
        return datasets.Dataset.from_list([HUB_ROWS["dapo-math"][0]])

    monkeypatch.setattr(loading, "load_dataset", from_hub)
    dataset = load_prompts(
        "dapo-math",
        config="en",
        split="test",
        prompt_column="source_prompt",
        answer_column="reward_model.ground_truth",
        prompt_template="plain",
    )
    assert asked == [("open-r1/DAPO-Math-17k-Processed", "en", "test")]
    assert dataset.to_list() == [
        {"prompt": [{"role": "user", "content": "Solve ..."}], "answer": "34"}
    ]
