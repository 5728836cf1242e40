import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import toy, train

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
        ({"acr_threshold_init": 7}, "threshold"),
        ({"acr_threshold_init": "high"}, "invalid float value: 'high'"),
        ({"monitor_unreachable": "panic"}, "'panic'"),
        ({"num_generations": [8]}, "wrong type"),
        ({"resume_from_checkpoint": "/nowhere/checkpoint-1"}, "/nowhere/checkpoint-1"),
        ({"resume_from_checkpoint": True}, "no checkpoint in"),
        ({"dataset_name": "x.jsonl"}, "the toy brings its own data"),
        ({"model_name_or_path": None}, "model_name_or_path is missing"),
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
