"""From a name to a model in memory: the toy, a folder that training left, or the hub.

A folder may hold a whole model, a LoRA adapter, or the shards of a DeepSpeed checkpoint alone.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from monitor_service.errors import InvalidInput
from trainer import toy

ADAPTER = "adapter_config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
DEEPSPEED = "latest"
"""The file that names the newest folder of shards."""
FSDP = "pytorch_model_fsdp_0"
DTYPES = ("auto", "float32", "bfloat16", "float16")
_PATH_STARTS = ("/", "./", "../", "~")

logger = logging.getLogger(__name__)


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str | None = None,
    seed: int = 0,
    toy_cache_dir: str | None = None,
) -> tuple[Any, Any]:
    """A model in evaluation mode, and its tokenizer.

    Args:
        name: "toy" or "toy:TASK", the warm-started model where GRPO on that task begins; a folder;
            or an id on the hub. An adapter is merged into its base, which its configuration names.
        dtype: one of `DTYPES`; auto is the one the weights were saved in.
        device: such as "cuda:1"; None is the accelerator where there is one, else the CPU.
        seed: of a toy.
        toy_cache_dir: keeps warm-started toys.

    Raises:
        InvalidInput: there is no such folder, model or device, or no weights in it.
    """
    if dtype not in DTYPES:
        raise InvalidInput("dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    place = _device(device)
    if toy.is_toy(name):
        started = toy.warm_started(toy.find(name), seed, toy_cache_dir, _log_warm_start)
        return started.model.to(place).eval(), started.tokenizer
    folder = local_folder(name)
    if folder is not None:
        _check_weights(folder)
    with _named(name, folder):
        model = _model(name if folder is None else str(folder), dtype)
        tokenizer = _tokenizer(name if folder is None else str(folder))
    return model.to(place).eval(), tokenizer


def load_tokenizer(name: str) -> Any:
    """The tokenizer alone, for an engine that loads the model itself.

    Raises:
        InvalidInput: as `load`; or the name is that of a toy or of an adapter.
    """
    folder = None if toy.is_toy(name) else local_folder(name)
    if toy.is_toy(name) or (folder is not None and (folder / ADAPTER).is_file()):
        allowed = "must be a whole model for vLLM; the transformers backend takes toys and adapters"
        raise InvalidInput("model", name, allowed)
    with _named(name, folder):
        return _tokenizer(name if folder is None else str(folder))


def local_folder(name: str) -> Path | None:
    """The folder that `name` is; None for an id on the hub.

    Raises:
        InvalidInput: it can only be a folder, and is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    # An id on the hub is NAME or OWNER/NAME; what begins with a folder that exists is a slip.
    begins_here = "/" in name and path.parent.is_dir()
    if name.startswith(_PATH_STARTS) or name.count("/") != 1 or begins_here:
        raise InvalidInput("model", name, "no such folder")
    return None


def identity(name: str) -> dict[str, Any]:
    """What tells a model from another of the same name: a folder's weights may be replaced."""
    folder = None if toy.is_toy(name) else local_folder(name)
    if folder is None:
        return {"name": name}
    stats = [path.stat() for path in _weight_files(folder)]
    return {
        "name": str(folder.resolve()),
        "num_bytes": sum(stat.st_size for stat in stats),
        "modified_ns": max((stat.st_mtime_ns for stat in stats), default=0),
    }


def _weight_files(folder: Path) -> list[Path]:
    return [path for pattern in (*WEIGHTS, DEEPSPEED) for path in sorted(folder.glob(pattern))]


def _check_weights(folder: Path) -> None:
    if _weight_files(folder):
        return
    allowed = f"must hold {', '.join(WEIGHTS)}, or a DeepSpeed checkpoint"
    if (folder / FSDP).is_dir():
        allowed = f"holds FSDP shards; first: accelerate merge-weights {folder / FSDP} {folder}"
    elif checkpoints := sorted(path.name for path in folder.glob("checkpoint-*")):
        allowed += f"; there are {', '.join(checkpoints)} in it"
    raise InvalidInput("model", str(folder), allowed)


@contextmanager
def _named(name: str, folder: Path | None) -> Iterator[None]:
    """One line for what transformers raises, which may be several."""
    try:
        yield
    except (OSError, ValueError) as error:
        where = "no folder here, nor found on the hub" if folder is None else "cannot be loaded"
        raise InvalidInput("model", name, f"{where}: {' '.join(str(error).split())}") from error


def _tokenizer(name: str) -> Any:
    adapter = Path(name) / ADAPTER
    if adapter.is_file() and not (Path(name) / "tokenizer_config.json").is_file():
        return _tokenizer(json.loads(adapter.read_text())["base_model_name_or_path"])
    return AutoTokenizer.from_pretrained(name)


def _model(name: str, dtype: str) -> Any:
    folder = Path(name)
    if (folder / ADAPTER).is_file():
        from peft import PeftModel

        base = json.loads((folder / ADAPTER).read_text())["base_model_name_or_path"]
        model = PeftModel.from_pretrained(_model(base, dtype), name)
        return model.merge_and_unload()
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        config = AutoConfig.from_pretrained(name)
        chosen = config.dtype if dtype == "auto" else getattr(torch, dtype)
        model = AutoModelForCausalLM.from_config(config, dtype=chosen)
        zero_to_fp32 = import_module("deepspeed.utils.zero_to_fp32")
        with redirect_stdout(sys.stderr):  # It prints, where results may be expected.
            weights = zero_to_fp32.get_fp32_state_dict_from_zero_checkpoint(name)
        model.load_state_dict(weights, strict=not config.tie_word_embeddings)
        return model
    return AutoModelForCausalLM.from_pretrained(name, dtype=dtype)


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        # Fails where there is no such device, and not only at the first batch.
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInput("device", device, f"not usable here: {reason}") from error


def _log_warm_start(step: int, num_steps: int) -> None:
    if step % 500 == 0:
        logger.info("warm start of the toy: step %d of %d", step, num_steps)
