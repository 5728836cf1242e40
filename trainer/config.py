"""`GRPOConfig`: TRL's, with the knobs of AVSPO and the address of the monitor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trl

from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.wire import check_run_id
from trainer.link import WHEN_UNREACHABLE, WhenUnreachable

NO_INTERVENTION = "grpo"


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class GRPOConfig(trl.GRPOConfig):  # type: ignore[misc]
    """TRL's `GRPOConfig`; without `use_avspo` training is plain GRPO, watched.

    Raises:
        InvalidInput: (a ValueError) naming the parameter, its value and what is allowed.
    """

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
    monitor_url: str | None = field(
        default=None,
        metadata=_help("The monitor, such as http://127.0.0.1:8400; None runs it in-process."),
    )
    monitor_redis_url: str | None = field(
        default=None,
        metadata=_help("Redis to receive settings from; None takes them from HTTP replies."),
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
    settings_wait_s: float = field(
        default=0.0,
        metadata=_help(
            "How long a step may wait for the settings that follow from the step before; 0 never "
            "waits."
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check()
        if self.run_id is not None:
            check_run_id(self.run_id)
        if not 0 <= self.settings_wait_s <= 60:
            raise ValueError(
                f"settings_wait_s: must be in [0, 60] seconds; got {self.settings_wait_s}"
            )

    def _check(self) -> None:
        """Refuse bad settings under the names they have here."""
        names = {
            "threshold": "acr_threshold_init",
            "alpha": "virtual_sample_alpha",
            "profile": "avspo_profile",
        }
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
                "avspo_profile", self.avspo_profile, "one that intervenes: paper, guarded, observe"
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
        return changes

    def initial_settings(self) -> Settings:
        """The settings a run of this configuration starts with."""
        return from_profile(self.initial_profile, self.initial_changes())
