"""Batches of dynamic sampling, through the real trainer; by torchrun, one rank of two."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from monitor_service.wire import Sampling, StepReport, observation
from tests.ranks import leave
from tests.trainer.methods.scenes import Recorder
from tests.trainer.toys import G, arguments, by_outcome, config
from trainer import GRPOConfig
from trainer.link import InProcessMonitor

ONE_IN_THREE = ["wrong", "mixed", "right"] * 8


class Listening(InProcessMonitor):
    """Keeps the reports."""

    def __init__(self, args: GRPOConfig) -> None:
        super().__init__(args.initial_settings())
        self.reports: list[StepReport] = []

    def submit(self, report: StepReport) -> bool:
        self.reports.append(report)
        return super().submit(report)


class Sampler(Recorder):
    """Keeps every batch, as it is trained on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches: list[dict[str, Any]] = []

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        self.batches.append(
            {
                "advantages": batch["advantages"].tolist(),
                "prompts": [
                    self._tokenizer.decode(ids, skip_special_tokens=True)
                    for ids in batch["prompt_ids"]
                ],
                "lengths": batch["completion_mask"].sum(dim=1).tolist(),
            }
        )
        return batch


def trained(
    folder: Path,
    outcomes: list[str],
    *,
    reward: Any = by_outcome,
    resume: bool | str = False,
    **options: Any,
) -> tuple[Sampler, list[StepReport]]:
    """A trainer that is done, and what it reported."""
    args = config(folder, **{"dynamic_sampling": True, "reward_high": 2.0, **options})
    link = Listening(args)
    trainer = Sampler(**arguments(args, outcomes, reward), monitor=link)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, link.reports


def samplings(reports: list[StepReport]) -> list[Sampling]:
    found = [report.applied.sampling for report in reports if report.applied]
    assert all(sampling is not None for sampling in found)
    return [sampling for sampling in found if sampling]


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    # 3 groups of 4 in a batch: the second straddles the ranks, and refills have two at least.
    trainer, reports = trained(
        folder / str(rank), ONE_IN_THREE, per_device_train_batch_size=3 * G // 2
    )
    found = {
        "batches": trainer.batches,
        "sampling": [to_builtins(one) for one in samplings(reports)] if rank == 0 else [],
        "groups": [observation(report).rewards.shape[0] for report in reports],
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
