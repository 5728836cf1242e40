"""`GRPOConfig`: TRL's, with the methods' options and the address of the monitor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trl

from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.wire import check_run_id
from trainer import compat
from trainer.link import WHEN_UNREACHABLE, WhenUnreachable
from trainer.methods import registry
from trainer.methods.adaptive_kl import AdaptiveKL
from trainer.spool import DEFAULT_SPOOL_BYTES

NO_INTERVENTION = "grpo"
MAX_TRIES = 1_000


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class GRPOConfig(trl.GRPOConfig):  # type: ignore[misc]
    """TRL's `GRPOConfig`; as it stands training is plain GRPO, watched.

    Raises:
        InvalidInput: (a ValueError) naming the parameter, its value and what is allowed.
    """

    _VALID_DICT_FIELDS = [*trl.GRPOConfig._VALID_DICT_FIELDS, "avspo_settings"]  # noqa: RUF012 - TRL's

    method: str = field(
        default="grpo",
        metadata=_help(
            f"What to do about collapsed groups: {', '.join(registry.METHODS)}. Sets those options "
            "of the method that stand at their default."
        ),
    )
    use_avspo: bool = field(
        default=False, metadata=_help("Give collapsed groups a virtual signal (AVSPO).")
    )
    acr_threshold_init: float | None = field(
        default=None,
        metadata=_help(
            "Inject when the rate that decides is above this (default: the profile's; 0.5 for "
            "paper, which adapts it from there)."
        ),
    )
    virtual_sample_alpha: float = field(
        default=0.5, metadata=_help("K = ceil(G * ACR^alpha) virtual rewards, in (0, 1].")
    )
    avspo_profile: str = field(
        default="paper", metadata=_help("Bundle of settings that use_avspo starts from.")
    )
    avspo_settings: dict[str, Any] | str | None = field(
        default=None,
        metadata=_help("Further settings on top of the profile, such as {target: wrong}."),
    )
    r_anchor: float | None = field(
        default=None,
        metadata=_help(
            "Largest virtual reward of an all-wrong group, a fraction of the reward range "
            "(default 0.1; has to be given with scale_rewards='none')."
        ),
    )
    reward_low: float | None = field(
        default=0.0,
        metadata=_help("Reward of a wrong answer; null, both of them: the reward has no bounds."),
    )
    reward_high: float | None = field(default=1.0, metadata=_help("Reward of a right answer."))
    primary_reward: str | None = field(
        default=None,
        metadata=_help(
            "Name of the reward function that tells right from wrong, when there are several "
            "(default: their weighted sum)."
        ),
    )
    loss_mask: bool = field(
        default=False,
        metadata=_help("Collapsed groups leave the loss and its divisor (AGPO)."),
    )
    agpo_length_reward: bool = field(
        default=False,
        metadata=_help("Up to 0.1 more for the shorter ones of the right answers to a prompt."),
    )
    overlong_fraction: float = field(
        default=0.0,
        metadata=_help(
            "Share of max_completion_length, at its end, over which DAPO's soft overlong "
            "punishment grows from 0 to -1; 0: none. The paper's is 0.2."
        ),
    )
    dynamic_sampling: bool = field(
        default=False,
        metadata=_help("Sample more prompts until the batch has only groups that differ (DAPO)."),
    )
    sampling_max_tries: int = field(
        default=10, metadata=_help("Tries of dynamic sampling for one batch, the first included.")
    )
    sampling_max_tokens: int | None = field(
        default=None,
        metadata=_help(
            "Completion tokens for one batch, over all ranks, after which dynamic sampling makes "
            "no further try (default: no limit)."
        ),
    )
    zvp_alpha: float = field(
        default=0.1, metadata=_help("Factor on the entropies in method=rl_zvp, above 0.")
    )
    kl_target: float | None = field(
        default=None,
        metadata=_help(
            "KL to the reference policy, nats per token, that beta is moved to keep (default: beta "
            "stays as it is)."
        ),
    )
    kl_horizon: float = field(
        default=10_000.0,
        metadata=_help("Completions over which a KL off target moves beta by up to 20 %."),
    )
    beta_min: float = field(default=1e-4, metadata=_help("Lowest beta that kl_target leads to."))
    beta_max: float = field(default=1.0, metadata=_help("Highest beta that kl_target leads to."))
    monitor_url: str | None = field(
        default=None,
        metadata=_help("The monitor, such as http://127.0.0.1:8400; None runs it in-process."),
    )
    monitor_redis_url: str | None = field(
        default=None,
        metadata=_help("Redis to receive settings from; None takes them from HTTP replies."),
    )
    monitor_token: str | None = field(
        default=None,
        repr=False,
        metadata=_help(
            "Token to report to the monitor with (default: that of ACR_TOKEN, where it is safer)."
        ),
    )
    monitor_unreachable: WhenUnreachable = field(
        default="grpo",
        metadata=_help(
            "When no monitor answers at the start: train as plain GRPO until it does, hold the "
            "initial settings, or fail."
        ),
    )
    run_id: str | None = field(
        default=None, metadata=_help("Name of the run in the monitor (default: made up).")
    )
    kill_file: str | None = field(
        default=None,
        metadata=_help(
            "While this file exists nothing intervenes, and not after it until a person re-arms "
            "(default: ACR_KILL in output_dir)."
        ),
    )
    spool_dir: str | None = field(
        default=None,
        metadata=_help(
            "Folder for reports that the monitor did not take yet (default: acr_spool in "
            "output_dir)."
        ),
    )
    spool_max_bytes: int = field(
        default=DEFAULT_SPOOL_BYTES,
        metadata=_help("Largest size of that folder; beyond it the oldest reports are dropped."),
    )
    settings_wait_s: float = field(
        default=0.0,
        metadata=_help(
            "How long a step may wait for the settings that follow from the step before; 0 never "
            "waits."
        ),
    )

    def __post_init__(self) -> None:
        registry.fill_in(self)
        try:
            super().__post_init__()
        except (ValueError, ImportError, ZeroDivisionError):
            compat.explain(self)
            raise
        registry.check_combination(self)
        self._check()
        self._check_numbers()
        if self.run_id is not None:
            check_run_id(self.run_id)
        if not 0 <= self.settings_wait_s <= 60:
            raise ValueError(
                f"settings_wait_s: must be in [0, 60] seconds; got {self.settings_wait_s}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled, as into the `training_args.bin` of every checkpoint: no token."""
        return {**self.__dict__, "monitor_token": None}

    def _check_numbers(self) -> None:
        if not 0 <= self.overlong_fraction <= 1:
            raise InvalidInput("overlong_fraction", self.overlong_fraction, "in [0, 1]")
        if not 1 <= self.sampling_max_tries <= MAX_TRIES:
            raise InvalidInput("sampling_max_tries", self.sampling_max_tries, f"1 to {MAX_TRIES}")
        if self.sampling_max_tokens is not None and self.sampling_max_tokens < 1:
            raise InvalidInput(
                "sampling_max_tokens", self.sampling_max_tokens, "1 or more, or null"
            )
        if not 0 < self.zvp_alpha < float("inf"):
            raise InvalidInput("zvp_alpha", self.zvp_alpha, "a finite number above 0")
        self.adaptive_kl()

    def adaptive_kl(self) -> AdaptiveKL | None:
        """The controller of beta; None where beta stays as it is.

        Raises:
            InvalidInput: a number of it is out of range.
        """
        if self.kl_target is None:
            return None
        return AdaptiveKL(
            self.beta,
            target=self.kl_target,
            horizon=self.kl_horizon,
            beta_min=self.beta_min,
            beta_max=self.beta_max,
        )

    def _check(self) -> None:
        """Refuse bad settings under the names they have here."""
        names = {
            "threshold": "acr_threshold_init",
            "alpha": "virtual_sample_alpha",
            "profile": "avspo_profile",
        }
        if not isinstance(self.avspo_settings, dict | None):
            raise InvalidInput("avspo_settings", self.avspo_settings, "a mapping")
        try:
            is_inert = from_profile(self.avspo_profile, {}).mode == "off"
            self.initial_settings()
        except InvalidInput as error:
            name = names.get(error.field, error.field)
            if not hasattr(self, name):
                raise  # A setting that has no name here.
            raise InvalidInput(name, getattr(self, name), error.allowed) from error
        if self.use_avspo and is_inert:
            raise InvalidInput(
                "avspo_profile",
                self.avspo_profile,
                "one that intervenes: paper, guarded, observe, constant",
            )
        if self.monitor_unreachable not in WHEN_UNREACHABLE:
            raise InvalidInput(
                "monitor_unreachable",
                self.monitor_unreachable,
                f"one of {', '.join(WHEN_UNREACHABLE)}",
            )

    @property
    def initial_profile(self) -> str:
        """The profile a run of this configuration starts from."""
        return self.avspo_profile if self.use_avspo else NO_INTERVENTION

    @property
    def kill_file_path(self) -> Path:
        """The file that kills every intervention."""
        return (
            Path(self.output_dir) / "ACR_KILL" if self.kill_file is None else Path(self.kill_file)
        )

    @property
    def spool_path(self) -> Path:
        """The folder for reports that wait for the monitor."""
        return (
            Path(self.output_dir) / "acr_spool" if self.spool_dir is None else Path(self.spool_dir)
        )

    def initial_changes(self) -> dict[str, Any]:
        """Settings on top of the profile."""
        changes: dict[str, Any] = {
            "alpha": self.virtual_sample_alpha,
            "reward_low": self.reward_low,
            "reward_high": self.reward_high,
            "seed": self.seed,
        }
        if self.acr_threshold_init is not None:
            changes["threshold"] = self.acr_threshold_init
        if self.r_anchor is not None:
            changes["r_anchor"] = self.r_anchor
        if isinstance(self.avspo_settings, dict):
            changes.update(self.avspo_settings)
        return changes

    def initial_settings(self) -> Settings:
        """The settings a run of this configuration starts with."""
        return from_profile(self.initial_profile, self.initial_changes())
