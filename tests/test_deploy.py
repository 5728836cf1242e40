"""What `deploy/` and the compose file start is what they say, and what the docs say of it."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from accelerate.commands import launch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "deploy" / "accelerate"
KINDS = {
    "cpu": (DistributedType.MULTI_GPU, 2),
    "one_gpu": (DistributedType.NO, 1),
    "several_gpus": (DistributedType.MULTI_GPU, 8),
    "zero2": (DistributedType.DEEPSPEED, 8),
    "zero3": (DistributedType.DEEPSPEED, 8),
    "fsdp": (DistributedType.FSDP, 8),
}

COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

Launch = Callable[..., tuple[str, argparse.Namespace]]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Launch:
    """What `accelerate launch` would start, and with which arguments."""
    started: list[tuple[str, argparse.Namespace]] = []
    for name in ("deepspeed", "multi_gpu", "simple"):

        def keep(arguments: argparse.Namespace, name: str = name) -> None:
            started.append((name, arguments))

        monkeypatch.setattr(launch, f"{name}_launcher", keep)

    def run(name: str, *options: str) -> tuple[str, argparse.Namespace]:
        line = ["--config_file", str(CONFIGS / f"{name}.yaml"), *options, "train.py"]
        launch.launch_command(launch.launch_command_parser().parse_args(line))
        return started.pop()

    return run


def test_every_size_has_its_configuration() -> None:
    assert {file.stem for file in CONFIGS.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_it_and_knows_every_key(name: str) -> None:
    found = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    kind, processes = KINDS[name]
    assert (found.distributed_type, found.num_processes) == (kind, processes)
    # The trainer's configuration has the precision; a second value could contradict it.
    assert found.mixed_precision is None


@pytest.mark.parametrize("name", KINDS)
def test_it_begins_with_what_it_is_for_and_how_to_start_it(name: str) -> None:
    first, *others = (CONFIGS / f"{name}.yaml").read_text().splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    start = f"#   accelerate launch --config_file deploy/accelerate/{name}.yaml"
    assert any(line.startswith(start) for line in others)


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_gets_the_stage_and_leaves_the_batch_to_the_trainer(
    name: str, stage: int, launched: Launch
) -> None:
    launcher, arguments = launched(name)
    assert launcher == "deepspeed"
    _, environment = prepare_deepspeed_cmd_env(arguments)
    prefix = "ACCELERATE_DEEPSPEED_"
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment[f"{prefix}ZERO_STAGE"] == str(stage)
    assert environment[f"{prefix}ZERO3_INIT"] == str(stage == 3).lower()
    # Without it a checkpoint of ZeRO-3 holds no model that `from_pretrained` could read.
    saves_model = environment.get(f"{prefix}ZERO3_SAVE_16BIT_MODEL")
    assert saves_model == ("true" if stage == 3 else None)
    for name_of_other in ("GRADIENT_ACCUMULATION_STEPS", "GRADIENT_CLIPPING"):
        assert f"ACCELERATE_{name_of_other}" not in environment


def test_fsdp_is_the_second_version_and_saves_whole_models(
    monkeypatch: pytest.MonkeyPatch, launched: Launch
) -> None:
    launcher, arguments = launched("fsdp")
    assert launcher == "multi_gpu"
    for key, value in prepare_multi_gpu_env(arguments).items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert type(plugin.cpu_offload).__name__ == "OffloadPolicy"  # Not CPUOffloadPolicy.


def test_the_hint_for_two_nodes_is_understood(launched: Launch) -> None:
    hint = "--num_machines 2 --num_processes 16 --machine_rank 1 --main_process_ip 10.0.0.1"
    for name in ("several_gpus", "zero2", "zero3", "fsdp"):
        text = (CONFIGS / f"{name}.yaml").read_text()
        assert "--num_machines 2 --num_processes 16 --machine_rank 0" in text
        launcher, arguments = launched(name, *hint.split(), "--main_process_port", "29500")
        prepare = {"deepspeed": prepare_deepspeed_cmd_env, "multi_gpu": prepare_multi_gpu_env}
        prepare[launcher](arguments)
        assert (arguments.nnodes, arguments.nproc_per_node) == ("2", "8")
        assert int(arguments.node_rank) == 1


@pytest.mark.e2e
def test_the_configuration_for_cpus_starts_two_ranks_of_one_run(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(CONFIGS / "cpu.yaml"), "--main_process_port", "0"),
        *("--module", "trainer.train", str(ROOT / "examples" / "toy.yaml")),
        *("--output_dir", str(tmp_path), "--max_steps", "1", "--save_strategy", "steps"),
        *("--save_steps", "1", "--per_device_train_batch_size", "8"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # One generator per rank of one run; a run alone has rng_state.pth.
    saved = {file.name for file in (tmp_path / "checkpoint-1").glob("rng_state*")}
    assert saved == {"rng_state_0.pth", "rng_state_1.pth"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_watched_and_reached_from_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or re.search(r":v?\d+\.\d+\.\d+", service["image"])
    assert service["stop_grace_period"]
    # The trainer ends by itself.
    assert "healthcheck" in service or service["restart"] == "no"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_the_operations_page_lists_a_service_with_its_image_and_port(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}`.*$", OPERATIONS, re.MULTILINE)
    service = SERVICES[name]
    assert f"`{service.get('image') or service['build']['dockerfile']}`" in row
    for port in service.get("ports", []):
        variable, default = re.findall(r"\$\{(\w+):-(\d+)\}", port)[0]
        assert f"| {default} | `{variable}` |" in row


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"\$\{(\w+)", COMPOSE))))
def test_the_operations_page_explains_every_variable_of_the_compose_file(variable: str) -> None:
    assert f"`{variable}`" in OPERATIONS


def test_what_the_compose_file_mounts_is_there() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    mounted = {re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0] for volume in volumes}
    files = {place for place in mounted if place.startswith(".")}
    assert "./deploy/prometheus" in files
    assert all((ROOT / place).exists() for place in files)


def test_grafana_opens_on_a_dashboard_that_is_there() -> None:
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, name = os.path.split(home)
    assert f"./dashboards/json:{folder}:ro" in SERVICES["grafana"]["volumes"]
    assert (ROOT / "dashboards" / "json" / name).exists()
