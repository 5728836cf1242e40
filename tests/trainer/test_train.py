import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import toy, train
from trainer.data import SOURCES
from trainer.grpo import GRPOTrainer
from trainer.rewards.registry import composed

TOY = Path(__file__).parents[2] / "examples" / "toy.yaml"


ENVIRON = {"ACR_MONITOR_URL": "http://m", "ACR_REDIS_URL": "redis://r"}


def written(folder: Path, **changes: Any) -> str:
    path = folder / "config.yaml"
    values = {
        "model_name_or_path": "toy",
        "rewards": ["exact_match"],
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        **changes,
    }
    path.write_text(json.dumps(values))  # JSON is YAML.
    return str(path)


def test_a_file_and_options_make_a_configuration_and_options_win(tmp_path: Path) -> None:
    path = written(tmp_path, use_avspo=True, acr_threshold_init=0.4)
    script, training, model = train.parse([path, "--acr_threshold_init", "0.6"])
    assert (training.use_avspo, training.acr_threshold_init) == (True, 0.6)
    assert script.rewards == ["exact_match"]
    assert model.model_name_or_path == "toy"


@pytest.mark.parametrize("example", sorted(TOY.parent.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_a_configuration(example: Path, tmp_path: Path) -> None:
    options = ["--use_cpu", "true", "--bf16", "false", "--output_dir", str(tmp_path)]
    script, training, model = train.parse([str(example), *options])
    assert composed(script.rewards, training)
    assert toy.is_toy(model.model_name_or_path) != (script.dataset_name in SOURCES)


@pytest.fixture
def acr_train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`acr-train` with these arguments, in this process: status, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["acr-train", *arguments])
        status = 0
        try:
            train.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return run


def test_help_lists_our_keys_and_not_those_of_trl(acr_train: Any) -> None:
    status, out, err = acr_train("--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: acr-train CONFIG.yaml")
    for program in train.SUBCOMMANDS:
        assert f"\n  {program}  " in out
    for key in ("--rewards", "--dataset_name", "--use_avspo", "--monitor_url", "--run_id"):
        assert f"\n  {key}\n" in out
    assert "--max_steps" not in out


def test_without_a_file_it_says_how_it_is_used(acr_train: Any) -> None:
    assert acr_train() == (2, "", f"{train.USAGE}\n")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"acr_treshold_init": 0.4}, "acr_treshold_init"),
        ({"rewards": ["accuracy"]}, "box_accuracy"),
        ({"rewards": {"exact_match": "much"}}, "rewards.exact_match: the weight must be a finite"),
        ({"rewards": {"exact_match": 1}, "reward_weights": [1.0]}, "reward_weights: must be left"),
        ({"acr_threshold_init": 7}, "threshold"),
        ({"acr_threshold_init": "high"}, "invalid float value: 'high'"),
        ({"monitor_unreachable": "panic"}, "'panic'"),
        ({"num_generations": [8]}, "wrong type"),
        ({"resume_from_checkpoint": "/nowhere/checkpoint-1"}, "/nowhere/checkpoint-1"),
        ({"resume_from_checkpoint": True}, "no checkpoint in"),
        ({"dataset_name": "x.jsonl"}, "the toy brings its own data"),
        ({"model_name_or_path": None, "dataset_name": "gsm8k"}, "model_name_or_path is missing"),
        ({"model_name_or_path": "toy:absent"}, "no such toy task: 'toy:absent'"),
    ],
)
def test_a_mistake_ends_with_one_line_that_names_it(
    tmp_path: Path, changes: dict[str, Any], words: str, acr_train: Any
) -> None:
    status, out, err = acr_train(written(tmp_path, **changes))
    assert (status, out) == (1, "")
    assert err.startswith("acr-train: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_mistyped_option_ends_with_one_line_too(tmp_path: Path, acr_train: Any) -> None:
    _, _, err = acr_train(written(tmp_path), "--max_steps", "many")
    assert err == "acr-train: argument --max_steps/--max-steps: invalid int value: 'many'\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methode", "dapo"], "unknown options: methode; did you mean method?"),
        (["--max-stepps=3"], "unknown options: max_stepps; did you mean max_steps?"),
    ],
)
def test_an_unknown_option_is_named_with_the_one_that_was_meant(
    options: list[str], words: str, tmp_path: Path, acr_train: Any
) -> None:
    assert acr_train(written(tmp_path), *options) == (1, "", f"acr-train: {words}\n")


def test_keys_are_taken_as_the_parser_of_trl_takes_them(tmp_path: Path) -> None:
    options = ["--max-steps=7", "--no_shuffle_dataset", "--kl_horizon", "5"]
    _, training, _ = train.parse([written(tmp_path), *options])
    assert (training.max_steps, training.shuffle_dataset, training.kl_horizon) == (7, False, 5.0)


def test_a_program_that_does_not_exist_is_refused_with_those_that_do(acr_train: Any) -> None:
    status, _, err = acr_train("evaluat")
    assert status == 2
    assert "neither a file nor evaluate, difficulty, compare: evaluat" in err


@pytest.mark.parametrize(
    ("given", "environ", "found"),
    [
        ({}, {}, (None, None)),
        ({}, ENVIRON, ("http://m", "redis://r")),
        ({"monitor_url": "http://a"}, ENVIRON, ("http://a", None)),
        ({}, {"ACR_MONITOR_URL": ""}, (None, None)),
    ],
)
def test_the_environment_says_where_the_monitor_is_unless_the_file_does(
    tmp_path: Path,
    given: dict[str, str],
    environ: dict[str, str],
    found: tuple[str | None, str | None],
) -> None:
    _, training, _ = train.parse([written(tmp_path, **given)])
    train.find_monitor(training, environ)
    assert (training.monitor_url, training.monitor_redis_url) == found


@pytest.mark.parametrize("program", train.SUBCOMMANDS)
def test_another_program_gets_the_rest_of_the_line(
    program: str, acr_train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    monkeypatch.setitem(
        sys.modules, train.SUBCOMMANDS[program], types.SimpleNamespace(main=got.append)
    )
    assert acr_train(program, "plan.yaml", "--json") == (0, "", "")
    assert got == [["plan.yaml", "--json"]]


def test_the_other_programs_exist_and_explain_themselves(acr_train: Any) -> None:
    for program in train.SUBCOMMANDS:
        status, out, err = acr_train(program, "--help")
        assert (status, err) == (0, "")
        assert f"acr-train {program}" in out


@pytest.fixture
def on_disk(tmp_path: Path) -> dict[str, Any]:
    """Keys of a configuration for an untrained model and sixteen problems in files."""
    toy.make_model(seed=0).save_pretrained(tmp_path / "model")
    toy.make_tokenizer().save_pretrained(tmp_path / "model")
    rows = [
        {"prompt": f"{number}+1=", "answer": str(number + 1), "pass_rate": number / 15}
        for number in range(16)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "model_name_or_path": str(tmp_path / "model"),
        "dataset_name": str(tmp_path / "data.jsonl"),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 4,
        "max_steps": 1,
    }


def built(folder: Path, **changes: Any) -> GRPOTrainer:
    return train.build_trainer(*train.parse([written(folder, **changes)]))


def test_rewards_with_weights_and_a_chosen_difficulty_reach_the_trainer(
    tmp_path: Path, on_disk: dict[str, Any]
) -> None:
    rewards = {"length": 0.25, "exact_match": 1, "overlong": 0.5}
    trainer = built(
        tmp_path, **on_disk, rewards=rewards, difficulty_levels=[3], max_prompt_length=4
    )
    assert trainer.reward_func_names == [
        "length_penalty_reward",
        "exact_match_reward",
        "soft_overlong_punishment_reward",
    ]
    assert trainer.reward_weights.tolist() == [0.25, 1.0, 0.5]
    assert trainer.args.primary_reward == "exact_match_reward"
    # 5/15 = 0.333, 6/15 = 0.4 and 7/15 = 0.467 are from 30 to 50 %.
    assert trainer.train_dataset["prompt"][:] == ["5+1=", "6+1=", "7+1="]
    trainer.train()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system_prompt": "Add."}, "has no chat template, and the prompts are conversations"),
        ({"prompt_template": "chat"}, "/model' has no chat template"),
        ({"max_prompt_length": 3}, "no problem is left of the 16 in"),
        ({"difficulty_levels": [3], "difficulty_column": "rate"}, "column 'rate' is not in"),
        ({"difficulty_levels": [9]}, "difficulty_levels [9]: allowed are levels from 0 to 6"),
        ({"prompt_column": "question"}, "prompt_column 'question' is not in"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused_before_training(
    tmp_path: Path, on_disk: dict[str, Any], changes: dict[str, Any], words: str, acr_train: Any
) -> None:
    status, _, err = acr_train(written(tmp_path, **on_disk, **changes))
    assert status == 1
    assert words in err.splitlines()[-1]


def test_conversations_train_a_model_with_a_chat_template(
    tmp_path: Path, on_disk: dict[str, Any]
) -> None:
    tokenizer = toy.make_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    trainer = built(tmp_path, **on_disk, system_prompt="1+1=2 ")
    assert trainer.train_dataset[0]["prompt"][0] == {"role": "system", "content": "1+1=2 "}
    trainer.train()


def test_a_toy_task_is_named_and_its_difficulty_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy.LapseTask, "warm_start", lambda *args, **kwargs: None)  # For speed.
    trainer = built(
        tmp_path,
        model_name_or_path="toy:mixed",
        toy_cache_dir=str(tmp_path / "cache"),
        difficulty_levels=[3],
        difficulty_column="right_share",
        per_device_train_batch_size=8,
    )
    assert set(trainer.train_dataset["right_share"]) == {0.5}
    assert list((tmp_path / "cache").glob("mixed-42-*.pt"))


@pytest.mark.e2e
def test_the_program_trains_the_toy_and_saves_it(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "trainer.train", str(TOY)),
        *("--max_steps", "3", "--use_avspo", "true", "--output_dir", str(tmp_path)),
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ACR_")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'acr'" in done.stdout
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.e2e
def test_any_model_and_dataset_from_disk_are_trained(tmp_path: Path) -> None:
    toy.make_model(seed=0).save_pretrained(tmp_path / "model")
    toy.make_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"q": f"{a}+1=", "a": f"so #### {a + 1}"} for a in range(16)]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    config = written(
        tmp_path,
        model_name_or_path=str(tmp_path / "model"),
        dataset_name=str(tmp_path / "data.jsonl"),
        prompt_column="q",
        answer_column="a",
        answer_marker="####",
        rewards=["exact_match", "box_accuracy"],
        primary_reward="exact_match_reward",
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=4,
        max_steps=2,
        logging_steps=1,
        use_avspo=True,
        gradient_checkpointing=False,
    )
    command = [sys.executable, "-m", "trainer.train", config]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rewards/box_accuracy_reward/mean" in done.stdout
    assert "'acr_wrong': '1'" in done.stdout
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.e2e
def test_an_interrupted_run_says_where_to_go_on(tmp_path: Path) -> None:
    options = {"max_steps": 100_000, "save_steps": 2, "save_strategy": "steps", "logging_steps": 1}
    command = [sys.executable, "-m", "trainer.train", str(TOY), "--output_dir", str(tmp_path)]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if "'acr'" in line and list(tmp_path.glob("checkpoint-*/trainer_state.json")):
                break
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=60)
    assert program.returncode == 130, err[-3000:]
    last = err.splitlines()[-1]
    assert "acr-train: interrupted after optimizer step" in last
    assert f"continue with --resume_from_checkpoint {tmp_path}/checkpoint-" in last
