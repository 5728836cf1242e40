"""Refuses, with the reason, what the hook cannot serve and what this machine cannot run."""

import inspect
import logging
import os
import time
from importlib import metadata

import httpx
import torch
import trl
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available, strtobool

from monitor_service.errors import InvalidInput

TESTED_TRL = "1.16."
_HOOKS = {
    "_generate": ["self", "prompts"],
    "_get_train_sampler": ["self", "dataset"],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_compute_loss": ["self", "model", "inputs"],
    "_generate_and_score_completions": ["self", "inputs"],
}

_PROBE_TIMEOUT_S = 5.0
_PROBE_PAUSE_S = 1.0

log = logging.getLogger(__name__)


class UnsupportedTrainer(ValueError):
    """This TRL, or this configuration of it, cannot be hooked."""


def check_trl() -> None:
    """Raises UnsupportedTrainer when TRL's private methods are not the ones this was built on."""
    for name, expected in _HOOKS.items():
        method = getattr(trl.GRPOTrainer, name, None)
        found = list(inspect.signature(method).parameters) if method else None
        if found != expected:
            raise UnsupportedTrainer(
                f"TRL {trl.__version__}: GRPOTrainer.{name} takes {found}, expected {expected}; "
                f"install trl=={TESTED_TRL}*"
            )
    if not hasattr(trl.GRPOTrainer, "_get_per_token_logps_and_entropies"):
        raise UnsupportedTrainer(
            f"TRL {trl.__version__} computes entropies elsewhere; install trl=={TESTED_TRL}*"
        )
    if not trl.__version__.startswith(TESTED_TRL):
        log.warning(
            "TRL %s was never run with this hook (%s* was); its private methods look the same",
            trl.__version__,
            TESTED_TRL,
        )


def refusal(args: trl.GRPOConfig) -> str | None:
    """Why advantages cannot be injected under this configuration; None when they can."""
    if args.multi_objective_aggregation != "sum_then_normalize":
        return (
            f"multi_objective_aggregation={args.multi_objective_aggregation!r} normalises each "
            "reward function over the batch, so a group has no total std; use 'sum_then_normalize'"
        )
    if args.scale_rewards == "none" and getattr(args, "r_anchor", None) is None:
        return (
            "scale_rewards='none' leaves advantages in reward units, where r_anchor sets the size "
            "of the push on all-wrong groups; choose r_anchor (1.0 treats both sides alike)"
        )
    return None


def primary_index(args: trl.GRPOConfig, names: list[str]) -> int | None:
    """Position of the primary reward function; None when the sum itself is primary."""
    wanted = getattr(args, "primary_reward", None)
    if wanted is None:
        return None
    if wanted not in names:
        raise UnsupportedTrainer(
            f"primary_reward: must be one of {', '.join(names)}; got {wanted!r}"
        )
    if names.count(wanted) > 1:
        raise UnsupportedTrainer(f"primary_reward: {wanted!r} names several reward functions")
    return names.index(wanted)


def explain(args: trl.GRPOConfig) -> None:
    """Raises a plainer error for what TRL refused to build a configuration of.

    Called when TRL's `__post_init__` has raised. Returns where its own message has to do.

    Raises:
        InvalidInput: naming the field, its value and what is allowed.
        UnsupportedTrainer: DeepSpeed is asked for, and not here in a version TRL accepts.
    """
    for name in ("num_generations", "num_generations_eval"):
        size = getattr(args, name)
        if size is not None and size < 2:
            raise InvalidInput(name, size, "at least 2: one completion alone has no advantage")
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        if getattr(args, name) < 1:
            raise InvalidInput(name, getattr(args, name), "at least 1")
    for name in ("bf16", "bf16_full_eval"):
        has_bf16 = args.use_cpu or is_torch_bf16_gpu_available() or is_torch_xla_available()
        if getattr(args, name) and not has_bf16:
            remedy = "bf16: false" if torch.cuda.is_available() else "use_cpu: true and bf16: false"
            raise InvalidInput(name, True, f"TRL's default needs a GPU that has it; set {remedy}")
    if _wants_deepspeed(args):
        _check_installed("deepspeed", "deepspeed")
    _check_divisible(args)


def check_environment(args: trl.GRPOConfig) -> None:
    """Refuses what this machine cannot run, before a model is loaded.

    Waits for a vLLM server that generates for this run, on rank 0 and for at most
    `vllm_server_timeout` seconds.

    Raises:
        InvalidInput: naming the field, its value and what is allowed.
        UnsupportedTrainer: a package is missing, or in a version that TRL does not accept; no vLLM
            server answers; or several processes were started that would each train alone.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if "LOCAL_RANK" in os.environ and started != args.world_size:
        raise UnsupportedTrainer(
            f"the launcher started {started} processes, but {args.world_size} would train together "
            "and the others beside it, into the same folder; without a GPU set use_cpu: true"
        )
    if _wants_deepspeed(args):
        _check_installed("deepspeed", "deepspeed")
    if not args.use_vllm:
        return
    _check_installed("vllm", "use_vllm")
    if args.vllm_mode not in ("colocate", "server"):
        raise InvalidInput("vllm_mode", args.vllm_mode, "colocate or server")
    if args.vllm_mode == "server":
        if args.process_index == 0:
            _await_server(args)
    elif args.world_size % args.vllm_tensor_parallel_size:
        raise InvalidInput(
            "vllm_tensor_parallel_size",
            args.vllm_tensor_parallel_size,
            f"must divide the {args.world_size} processes",
        )


def accepted_versions(package: str) -> SpecifierSet:
    """The versions of an optional package that the installed TRL accepts, by its own metadata."""
    wanted = [Requirement(text) for text in metadata.requires("trl") or ()]
    accepted = SpecifierSet()
    for requirement in wanted:
        if requirement.name == package:
            accepted &= requirement.specifier
    return accepted


def _wants_deepspeed(args: trl.GRPOConfig) -> bool:
    by_launcher = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false")
    return bool(args.deepspeed) or bool(strtobool(by_launcher))


def _check_installed(package: str, field: str) -> None:
    accepted = accepted_versions(package)
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        found = None
    # As TRL compares: 0.24.0+cu129 is a 0.24.0.
    if found is not None and accepted.contains(Version(found).base_version):
        return
    state = f"{package} is not installed" if found is None else f"{package} {found} is installed"
    raise UnsupportedTrainer(
        f"{field}: {state}; TRL {trl.__version__} accepts {package} {accepted}. "
        f"Install it with: pip install '{package}{accepted}'"
    )


def _check_divisible(args: trl.GRPOConfig) -> None:
    """That batches hold whole groups; all numbers are at least 1."""
    if getattr(args, "distributed_state", None) is None or args.generation_batch_size is None:
        return  # Refused before TRL came to the batches.
    processes = args.world_size
    micro_batch = args.per_device_train_batch_size * processes
    in_words = f"per_device_train_batch_size {args.per_device_train_batch_size} * {processes} ranks"
    if args.generation_batch_size % micro_batch:
        raise InvalidInput(
            "generation_batch_size",
            args.generation_batch_size,
            f"a multiple of {in_words} = {micro_batch}",
        )
    if args.generation_batch_size % args.num_generations:
        steps = args.generation_batch_size // micro_batch
        raise InvalidInput(
            "num_generations",
            args.num_generations,
            f"must divide the completions of a generation batch, which are {in_words} * "
            f"steps_per_generation {steps} = {args.generation_batch_size} (it may be "
            f"{_divisors(args.generation_batch_size)})",
        )
    size = args.num_generations_eval or args.num_generations
    eval_batch = args.per_device_eval_batch_size * processes
    if args.do_eval and args.eval_strategy != "no" and eval_batch % size:
        raise InvalidInput(
            "per_device_eval_batch_size",
            args.per_device_eval_batch_size,
            f"times {processes} ranks must be a multiple of the {size} generations of a prompt",
        )


def _divisors(number: int) -> str:
    """Of 24: 2, 3, 4, 6, 8, 12, 24."""
    found = [str(size) for size in range(2, min(number, 64) + 1) if number % size == 0]
    return ", ".join(found) or "none up to 64"


def _await_server(args: trl.GRPOConfig) -> None:
    """Returns when the vLLM server says that it is healthy.

    TRL waits, too, but after the model was loaded, and for ever while the server answers anything
    but 200.
    """
    url = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"
    deadline = time.monotonic() + args.vllm_server_timeout
    while True:
        try:
            status = httpx.get(f"{url.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_S).status_code
            if status == httpx.codes.OK:
                return
            answer = f"answers {status}"
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise InvalidInput(
                "vllm_server_base_url",
                args.vllm_server_base_url,
                f"must be like http://host:8000 ({error})",
            ) from error
        except httpx.HTTPError as error:
            answer = f"does not answer ({str(error) or type(error).__name__})"
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise UnsupportedTrainer(
                f"vllm_mode: the vLLM server at {url} {answer}, not within "
                f"vllm_server_timeout={args.vllm_server_timeout:g} s. Start it first: "
                "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config "
                """'{"backend": "nccl"}' --logprobs-mode processed_logprobs --max-logprobs -1"""
            )
        log.warning("the vLLM server at %s %s; waiting %.0f s at most", url, answer, left_s)
        time.sleep(min(_PROBE_PAUSE_S, left_s))
