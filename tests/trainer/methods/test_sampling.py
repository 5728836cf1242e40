"""Dynamic sampling: batches of groups that differ, within a budget, and none of them lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.wire import observation
from tests.trainer.methods.sampled import ONE_IN_THREE, samplings, trained
from tests.trainer.toys import G, arguments, by_outcome, config
from trainer import GRPOTrainer
from trainer.compat import UnsupportedTrainer
from trainer.methods.sampling import Reserve


def test_methods_sample_until_every_group_differs(tmp_path: Path) -> None:
    trainer, reports = trained(tmp_path, ONE_IN_THREE)
    assert len(reports) == len(trainer.batches) == 3
    found = samplings(reports)
    for batch, sampling, report in zip(trainer.batches, found, reports, strict=True):
        groups = np.array(batch["advantages"]).reshape(-1, G)
        assert (groups.std(axis=1) > 0.1).all()
        assert groups.sum(axis=1) == pytest.approx(0.0, abs=1e-4)
        assert len(set(batch["prompts"][::G])) == 2
        assert all(len(set(batch["prompts"][at : at + G])) == 1 for at in (0, G))
        assert (sampling.kept, sampling.filled, sampling.stopped_by) == (2, 0, None)
        # What is reported is everything that was sampled, collapsed groups included.
        rewards = observation(report).rewards
        assert len(rewards) == sampling.sampled
        mixed = int((np.nanstd(rewards, axis=1) > 0).sum())
        assert mixed == sampling.kept + sampling.surplus
        assert report.applied is not None
        assert report.applied.effective_acr == 0.0
    assert any(sampling.tries > 1 for sampling in found)
    history = trainer.state.log_history
    for line, report in zip(history, reports, strict=False):
        rewards = observation(report).rewards
        assert line["acr"] == pytest.approx(float((np.nanstd(rewards, axis=1) < 1e-6).mean()))
        assert line["acr_effective"] == 0.0


def test_methods_sample_each_prompt_once_for_a_batch(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def reward(prompts: list[str], **columns: Any) -> list[float | None]:
        asked.append(prompts[::G])
        return by_outcome(**columns)

    _, reports = trained(tmp_path, ONE_IN_THREE, reward=reward, max_steps=2)
    tries = iter(asked)
    for sampling in samplings(reports):
        seen = [prompt for _ in range(sampling.tries) for prompt in next(tries)]
        assert len(seen) == len(set(seen)) == sampling.sampled


@pytest.mark.parametrize(
    ("outcomes", "options", "wanted"),
    [
        (["wrong"] * 40, {"sampling_max_tries": 3}, ("tries", 3)),
        (["wrong"] * 40, {"sampling_max_tokens": 1}, ("tokens", 1)),
        (["wrong"] * 5, {}, ("data", None)),
    ],
)
def test_methods_that_find_no_group_that_differs_go_on_and_learn_nothing(
    outcomes: list[str], options: dict[str, Any], wanted: tuple[str, int | None], tmp_path: Path
) -> None:
    trainer, reports = trained(tmp_path, outcomes, max_steps=2, **options)
    for sampling in samplings(reports):
        assert (sampling.kept, sampling.filled, sampling.stopped_by) == (0, 2, wanted[0])
        assert wanted[1] in (None, sampling.tries)
        assert wanted[0] != "data" or sampling.sampled == len(outcomes)
    assert all(set(batch["advantages"]) == {0.0} for batch in trainer.batches)
    assert trainer.losses == [0.0, 0.0]


def test_methods_never_lose_a_group_that_differs(tmp_path: Path) -> None:
    trainer, reports = trained(
        tmp_path, ["mixed", "wrong", "wrong", "wrong"], max_steps=1, shuffle_dataset=False
    )
    (sampling,) = samplings(reports)
    assert (sampling.sampled, sampling.kept, sampling.filled) == (4, 1, 1)
    groups = np.array(trainer.batches[0]["advantages"]).reshape(-1, G)
    assert groups[0].std() > 0.1
    assert set(groups[1]) == {0.0}
    assert trainer.batches[0]["prompts"][0] == "0+0="


def test_methods_judge_by_accuracy_not_by_the_shaped_reward(tmp_path: Path) -> None:
    def shape(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [-0.01 * sum(ids) for ids in completion_ids]

    args = config(tmp_path, dynamic_sampling=True, primary_reward="by_outcome", max_steps=1)
    given = {**arguments(args, ["wrong"] * 6), "reward_funcs": [by_outcome, shape]}
    trainer = GRPOTrainer(**given)
    trainer.train()
    # The sums differ inside every group; the accuracy does not, so nothing is learnt.
    assert set(trainer._logs["advantages"]) == {0.0}
    assert trainer.state.log_history[0]["acr_effective"] == 1.0


def test_methods_can_be_switched_on_in_a_running_trainer(tmp_path: Path) -> None:
    settings = {"dynamic_sampling": True, "min_groups_per_unit": 1, "threshold": 0.1}
    _, reports = trained(
        tmp_path,
        ONE_IN_THREE,
        dynamic_sampling=False,
        use_avspo=True,
        avspo_settings=settings,
        max_steps=1,
    )
    (report,) = reports
    assert report.applied is not None
    assert report.applied.knobs["dynamic_sampling"].status == "applied"
    assert report.applied.mode == "off"
    assert report.applied.note == "dynamic_sampling leaves no collapsed group to inject into"
    assert samplings(reports)[0].filled == 0


def test_methods_keep_what_reward_functions_log_with_its_rows(tmp_path: Path) -> None:
    def reward(completions: list[str], log_extra: Any, **columns: Any) -> list[float | None]:
        log_extra("text", list(completions))
        return by_outcome(**columns)

    trainer, _ = trained(tmp_path, ONE_IN_THREE, reward=reward, max_steps=1, logging_steps=100)
    assert list(trainer._logs["extra"]["text"]) == list(trainer._logs["completion"])
    assert len(trainer._logs["completion"]) == 2 * G


def test_methods_that_sample_resume_where_they_were(tmp_path: Path) -> None:
    _, straight = trained(tmp_path / "straight", ONE_IN_THREE, max_steps=4)
    trained(tmp_path / "parted", ONE_IN_THREE, max_steps=4, save_strategy="steps", save_steps=2)
    _, resumed = trained(
        tmp_path / "parted",
        ONE_IN_THREE,
        max_steps=4,
        resume=str(tmp_path / "parted" / "checkpoint-2"),
    )
    assert [report.step for report in resumed] == [3, 4]
    assert samplings(resumed) == samplings(straight)[2:]
    for one, other in zip(resumed, straight[2:], strict=True):
        assert np.array_equal(observation(one).rewards, observation(other).rewards)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (IterableDataset.from_generator(lambda: iter([{"prompt": "1+1="}])), "are a stream"),
        (Dataset.from_list([{"prompt": "1+1=", "image": None}]), "prompts with images"),
    ],
)
def test_methods_refuse_to_sample_what_cannot_be_dealt(
    data: Any, words: str, tmp_path: Path
) -> None:
    args = config(tmp_path, dynamic_sampling=True)
    given = {**arguments(args, ["mixed"]), "train_dataset": data}
    with pytest.raises(UnsupportedTrainer, match="dynamic_sampling: .*" + words):
        GRPOTrainer(**given)


@given(
    rows=st.integers(1, 30),
    counts=st.lists(st.integers(0, 40), max_size=8),
    stop=st.integers(0, 8),
)
def test_methods_draw_prompts_without_an_end_and_resume_the_draw(
    rows: int, counts: list[int], stop: int
) -> None:
    straight, parted = Reserve(rows, seed=3), Reserve(rows, seed=3)
    for at, count in enumerate(counts):
        if at == stop:
            state = parted.state()
            parted = Reserve(rows, seed=3)
            parted.load(json.loads(json.dumps(state)))
        drawn = straight.draw(count, lambda _: True)
        assert drawn == parted.draw(count, lambda _: True)
        assert len(drawn) == min(count, rows)
        assert set(drawn) <= set(range(rows))
    passes = Reserve(rows, seed=3)
    for _ in range(3):
        assert sorted(passes.draw(rows, lambda _: True)) == list(range(rows))
    assert passes.draw(1, lambda _: False) == []


@pytest.mark.e2e
def test_methods_sample_alike_on_two_ranks(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *("-m", "tests.trainer.methods.sampled", str(tmp_path)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first["groups"] == [sampling["sampled"] for sampling in first["sampling"]]
    assert any(sampling["tries"] > 1 for sampling in first["sampling"])
    for here, there, sampling in zip(
        first["batches"], second["batches"], first["sampling"], strict=True
    ):
        assert (sampling["kept"], sampling["filled"]) == (3, 0)
        groups = np.array(here["advantages"] + there["advantages"]).reshape(-1, G)
        assert (groups.std(axis=1) > 0.1).all()
        assert groups.sum(axis=1) == pytest.approx(0.0, abs=1e-4)
        asked = here["prompts"] + there["prompts"]
        assert all(len(set(asked[at : at + G])) == 1 for at in range(0, 3 * G, G))
        assert len(set(asked[::G])) == 3
