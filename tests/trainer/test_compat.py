"""What is refused before anything heavy is built: versions, servers, launchers, batches."""

import sys
import threading
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version
from trl import import_utils

from monitor_service.errors import InvalidInput
from tests.trainer.toys import arguments, config
from trainer import GRPOConfig, GRPOTrainer, compat
from trainer.compat import UnsupportedTrainer

ROOT = Path(__file__).parents[2]


class Pretender:
    """Installs distributions that consist of their metadata."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self, package: str, version: str) -> None:
        info = self._folder / f"{package}-{version}.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        (info / "METADATA").write_text(text)


@pytest.fixture
def pretender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretender:
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return Pretender(folder)


@contextmanager
def server(*statuses: int) -> Iterator[str]:
    """Answers one after the other, the last one for ever."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/health"
            self.send_response((left.pop(0) if len(left) > 1 else left[0]) if found else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def with_vllm(folder: Path, **changes: object) -> GRPOConfig:
    return config(folder, use_vllm=True, **changes)


def test_a_trainer_is_not_built_for_vllm_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTrainer) as caught:
        GRPOTrainer(**arguments(with_vllm(tmp_path), ["mixed", "right"]))
    assert "use_vllm: vllm is not installed" in str(caught.value)
    assert "pip install 'vllm<=0.31.0,>=0.22.0'" in str(caught.value)


@pytest.mark.parametrize("version", ["0.21.9", "0.31.1", "0.33.0", "0.33.0+cu129"])
def test_another_vllm_than_trl_accepts_is_refused_by_name(
    version: str, tmp_path: Path, pretender: Pretender
) -> None:
    pretender.install("vllm", version)
    with pytest.raises(UnsupportedTrainer) as caught:
        compat.check_environment(with_vllm(tmp_path))
    for part in (f"vllm {version} is installed", "TRL 1.16", "accepts vllm <=0.31.0,>=0.22.0"):
        assert part in str(caught.value)


@pytest.mark.parametrize("version", ["0.22.0", "0.22.0rc1", "0.24.0+cu129", "0.31.0"])
def test_a_vllm_that_trl_accepts_is_accepted(
    version: str, tmp_path: Path, pretender: Pretender
) -> None:
    pretender.install("vllm", version)
    compat.check_environment(with_vllm(tmp_path))


@pytest.mark.parametrize("version", ["0.21.9", "0.22.0", "0.31.0", "0.31.1"])
def test_the_bounds_are_those_that_trl_warns_by(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm.py").write_text(f"__version__ = {version!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_utils.is_vllm_available()
    del sys.modules["vllm"]
    warned = any("supports vLLM versions" in str(warning.message) for warning in caught)
    assert warned != compat.accepted_versions("vllm").contains(version)


@pytest.mark.parametrize("package", ["vllm", "deepspeed"])
def test_our_extra_allows_only_what_trl_accepts(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["optional-dependencies"][package]
    (ours,) = [one.specifier for one in map(Requirement, texts) if one.name == package]
    versions = [Version(f"0.{minor}.{patch}") for minor in range(60) for patch in range(20)]
    allowed = [version for version in versions if version in ours]
    assert allowed
    accepted = compat.accepted_versions(package)
    assert [version for version in allowed if version not in accepted] == []


def test_a_server_that_is_still_loading_is_waited_for(tmp_path: Path, pretender: Pretender) -> None:
    pretender.install("vllm", "0.30.0")
    with server(503, 200) as url:
        compat.check_environment(
            with_vllm(tmp_path, vllm_mode="server", vllm_server_base_url=f"{url}/")
        )


def test_a_server_that_never_gets_ready_ends_the_wait(tmp_path: Path, pretender: Pretender) -> None:
    pretender.install("vllm", "0.30.0")
    with server(503) as url:
        args = with_vllm(
            tmp_path, vllm_mode="server", vllm_server_base_url=url, vllm_server_timeout=0.2
        )
        with pytest.raises(UnsupportedTrainer) as caught:
            compat.check_environment(args)
    for part in (f"{url} answers 503", "vllm_server_timeout=0.2 s", "vllm serve MODEL"):
        assert part in str(caught.value)


def test_no_server_at_all_is_named_with_its_address(tmp_path: Path, pretender: Pretender) -> None:
    pretender.install("vllm", "0.30.0")
    with server(200) as url:
        port = int(url.rpartition(":")[2])
    args = with_vllm(
        tmp_path,
        vllm_mode="server",
        vllm_server_host="127.0.0.1",
        vllm_server_port=port,
        vllm_server_timeout=0.0,
    )
    with pytest.raises(UnsupportedTrainer, match=f"http://127.0.0.1:{port} does not answer"):
        compat.check_environment(args)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vllm_mode": "remote"}, "vllm_mode: colocate or server; got 'remote'"),
        ({"vllm_tensor_parallel_size": 2}, "vllm_tensor_parallel_size: must divide the 1 "),
        (
            {"vllm_mode": "server", "vllm_server_base_url": "gpu7:8000"},
            "vllm_server_base_url: must be like http://host:8000",
        ),
    ],
)
def test_vllm_options_that_cannot_work_are_refused_at_once(
    changes: dict[str, object], words: str, tmp_path: Path, pretender: Pretender
) -> None:
    pretender.install("vllm", "0.30.0")
    with pytest.raises(InvalidInput, match="^" + words):
        compat.check_environment(with_vllm(tmp_path, **changes))


def test_another_deepspeed_than_trl_accepts_is_refused(
    tmp_path: Path, pretender: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretender.install("deepspeed", "0.17.1")
    args = config(tmp_path)
    compat.check_environment(args)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UnsupportedTrainer, match=r"deepspeed 0.17.1 is installed; .* >=0.18.6"):
        compat.check_environment(args)


def test_processes_that_would_each_train_alone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = config(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    compat.check_environment(args)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UnsupportedTrainer, match=r"started 2 processes, but 1 .* use_cpu: true"):
        compat.check_environment(args)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 3},
            r"num_generations: must divide the completions of a generation batch, which are "
            r"per_device_train_batch_size 6 \* 1 ranks \* steps_per_generation 3 = 18 "
            r"\(it may be 2, 3, 6, 9, 18\); got 4",
        ),
        ({"num_generations": 1}, "num_generations: at least 2: .*; got 1"),
        ({"num_generations": 0}, "num_generations: at least 2: .*; got 0"),
        (
            {"generation_batch_size": 12},
            r"generation_batch_size: a multiple of per_device_train_batch_size 8 \* 1 ranks = 8; "
            "got 12",
        ),
        (
            {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 6},
            "per_device_eval_batch_size: times 1 ranks must be a multiple of the 4 generations",
        ),
        (
            {"per_device_train_batch_size": 0, "generation_batch_size": 8},
            "per_device_train_batch_size: at least 1; got 0",
        ),
    ],
)
def test_batches_that_hold_no_whole_groups_are_refused_with_the_arithmetic(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=words):
        config(tmp_path, **changes)


def test_what_trl_says_well_itself_is_left_to_trl(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can not be both configured") as caught:
        config(tmp_path, generation_batch_size=8, steps_per_generation=1)
    assert not isinstance(caught.value, InvalidInput)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bf16_without_a_gpu_names_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"bf16: .* set use_cpu: true and bf16: false; got True"):
        config(tmp_path, use_cpu=False, bf16=None)
