import json
import os
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"acr_treshold_init": 0.4}, "acr_treshold_init"),
        ({"rewards": ["accuracy"]}, "box_accuracy"),
        ({"acr_threshold_init": 7}, "threshold"),
        ({"dataset_name": "x.jsonl"}, "the toy brings its own data"),
        ({"model_name_or_path": None}, "model_name_or_path is missing"),
    ],
)
def test_a_mistake_ends_with_one_line_that_names_it(
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["acr-train", written(tmp_path, **changes)])
    with pytest.raises(SystemExit) as ended:
        train.main()
    message = str(ended.value)
    assert message.startswith("acr-train: ")
    assert words in message


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
