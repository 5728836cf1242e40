import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl
from peft import LoraConfig

from monitor_service.engine.settings import KNOBS
from tests.trainer.steered import (
    OUTCOMES,
    Steered,
    a_batch,
    applied,
    ignored,
    log_probabilities,
    plain_log_probabilities,
    steered,
)
from tests.trainer.toys import G, arguments, config
from trainer import toy
from trainer.knobs import Knobs

NEVER_CLIPS = "no batch outlives an optimizer step"
OFF_POLICY: dict[str, Any] = {"per_device_train_batch_size": G, "steps_per_generation": 2}
"""Two optimizer steps on each batch: at the second, the probability ratio is no longer 1."""


def test_only_what_is_requested_is_reported_and_nothing_else_is_touched(tmp_path: Path) -> None:
    trainer = steered(tmp_path, **OFF_POLICY)
    before = dict(vars(trainer))
    assert trainer.knobs.apply({}) == {}
    assert trainer.knobs.apply(dict.fromkeys(KNOBS)) == {}
    assert vars(trainer) == before
    assert trainer.knobs.apply({"epsilon_high": 0.28, "beta": None}) == {
        "epsilon_high": applied(0.28)
    }


def test_a_name_that_is_no_knob_is_ignored(tmp_path: Path) -> None:
    reports = steered(tmp_path).knobs.apply({"num_generations": 16, "loss_type": None})
    assert list(reports) == ["num_generations"]
    ignored(reports, "num_generations", None, "no such knob")


# The clip range ----------------------------------------------------------------------------------


def loss_at(trainer: Steered, ratio: float, advantage: float) -> float:
    batch = a_batch(trainer, advantages=torch.full((4,), advantage))
    batch["old_per_token_logps"] = log_probabilities(trainer, batch) - math.log(ratio)
    return trainer._compute_loss(trainer.model, batch).item()


def test_the_loss_clips_where_the_knobs_say(tmp_path: Path) -> None:
    trainer = steered(tmp_path, **OFF_POLICY)
    # 12 tokens, num_items_in_batch 12: the loss is -min(ratio * A, clip(ratio) * A).
    trainer.args.steps_per_generation = 1  # Of `a_batch`: not a part of a larger one.
    assert loss_at(trainer, 1.25, +1) == pytest.approx(-1.2)  # clip(1.25) = 1 + 0.2
    assert loss_at(trainer, 0.75, -1) == pytest.approx(+0.8)  # clip(0.75) = 1 - 0.2
    reports = trainer.knobs.apply({"epsilon_low": 0.16, "epsilon_high": 0.28})
    assert reports == {"epsilon_low": applied(0.16), "epsilon_high": applied(0.28)}
    assert loss_at(trainer, 1.25, +1) == pytest.approx(-1.25)  # below 1.28: not clipped
    assert loss_at(trainer, 0.75, -1) == pytest.approx(+0.84)  # 1 - 0.16
    trainer.knobs.apply({"epsilon_high": 0.28})
    assert (trainer.epsilon_low, trainer.epsilon_high) == (0.2, 0.28)
    trainer.knobs.apply({})
    assert loss_at(trainer, 1.25, +1) == pytest.approx(-1.2)


def test_a_clip_range_that_is_never_reached_is_applied_and_said_to_be_without_effect(
    tmp_path: Path,
) -> None:
    # TRL's defaults: one optimizer step uses up the batch, so old and new probabilities are one.
    trainer = steered(tmp_path, {1: {"epsilon_high": 0.28}}, max_steps=1)
    trainer.train()
    report = trainer.reports[0]["epsilon_high"]
    assert (report.status, report.value) == ("applied", 0.28)
    assert report.reason is not None
    assert NEVER_CLIPS in report.reason


def test_a_loss_that_clips_otherwise_refuses_what_it_does_not_read(tmp_path: Path) -> None:
    cispo = steered(tmp_path, loss_type="cispo", epsilon_high=5.0, **OFF_POLICY)
    assert cispo.knobs.apply({"epsilon_high": 6.0}) == {"epsilon_high": applied(6.0)}
    reports = cispo.knobs.apply({"epsilon_low": 0.1, "epsilon_high": 0.28})
    ignored(reports, "epsilon_low", 0.2, "clips no ratio from below")
    # min(ratio, 0.28) would cut every gradient to less than a third.
    ignored(reports, "epsilon_high", 6.0, "caps the ratio itself")
    sapo = steered(tmp_path, loss_type="sapo", **OFF_POLICY)
    ignored(sapo.knobs.apply({"epsilon_high": 0.28}), "epsilon_high", 0.2, "from above")


# KL and entropy ----------------------------------------------------------------------------------


def test_the_loss_weighs_the_kl_divergence_as_the_knob_says(tmp_path: Path) -> None:
    trainer = steered(tmp_path, beta=0.1)
    batch = a_batch(trainer)
    # ref / policy = 2 at every token: KL = 2 - ln 2 - 1 = 0.306853.
    batch["ref_per_token_logps"] = log_probabilities(trainer, batch) + math.log(2)
    assert trainer._compute_loss(trainer.model, batch).item() == pytest.approx(0.0306853)
    assert trainer.knobs.apply({"beta": 0.3}) == {"beta": applied(0.3)}
    assert trainer._compute_loss(trainer.model, batch).item() == pytest.approx(0.0920558)
    trainer.knobs.apply({})
    assert trainer.beta == 0.1


def test_beta_goes_to_zero_and_back_between_batches_that_last_two_steps(tmp_path: Path) -> None:
    # Of a batch, the reference probabilities are computed when it is generated and read at both
    # steps: a change in between would miss them.
    script = {2: {"beta": 0.0}, 3: {"beta": 0.2}}
    trainer = steered(tmp_path, script, beta=0.1, max_steps=8, **OFF_POLICY)
    trainer.train()
    assert trainer.reports == [{}, {"beta": applied(0.0)}, {"beta": applied(0.2)}, {}]
    logged = ["kl" in line for line in trainer.state.log_history if "loss" in line]
    assert logged == [True, True, False, False, True, True, True, True]
    assert trainer.beta == 0.1


def test_beta_stays_where_no_reference_model_was_loaded(tmp_path: Path) -> None:
    trainer = steered(tmp_path, {1: {"beta": 0.1}}, max_steps=1)
    trainer.train()
    ignored(trainer.reports[0], "beta", 0.0, "no reference model")
    assert trainer.beta == 0.0
    # What is in force anyway is applied, whether it can be changed or not.
    assert trainer.knobs.apply({"beta": 0}) == {"beta": applied(0.0)}


def test_the_entropy_bonus_weighs_what_the_knob_says(tmp_path: Path) -> None:
    trainer = steered(tmp_path, entropy_coef=0.01)
    batch = a_batch(trainer)
    first = trainer._compute_loss(trainer.model, batch).item()
    entropy = trainer._metrics["train"]["entropy"][-1]
    assert first == pytest.approx(-0.01 * entropy)
    assert trainer.knobs.apply({"entropy_coef": 0.05}) == {"entropy_coef": applied(0.05)}
    assert trainer._compute_loss(trainer.model, batch).item() == pytest.approx(-0.05 * entropy)
    trainer.knobs.apply({})
    assert trainer.entropy_coef == 0.01


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "not 0 from the start"), ({"use_adaptive_entropy": True}, "TRL moves it itself")],
)
def test_an_entropy_bonus_that_is_off_or_moved_by_trl_is_left_alone(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    trainer = steered(tmp_path, **changes)
    ignored(trainer.knobs.apply({"entropy_coef": 0.01}), "entropy_coef", 0.0, words)
    assert trainer.entropy_coef == 0.0


# Temperature -------------------------------------------------------------------------------------


def test_the_temperature_changes_in_sampling_and_in_the_loss_together(tmp_path: Path) -> None:
    trainer = steered(tmp_path, beta=0.1)
    batch = a_batch(trainer)
    reference = trainer.ref_model
    assert trainer.knobs.apply({"temperature": 2.0}) == {"temperature": applied(2.0)}
    assert trainer.temperature == 2.0
    assert trainer.generation_config.temperature == 2.0
    assert trainer.generation_kwargs["temperature"] == 2.0
    for model in (trainer.model, reference):
        found = log_probabilities(trainer, batch, model)
        wanted = plain_log_probabilities(model, batch, 2.0)
        assert torch.allclose(found, wanted, atol=1e-6)
        assert not torch.allclose(found, plain_log_probabilities(model, batch, 1.0), atol=1e-3)
    trainer.knobs.apply({})
    assert trainer.temperature == trainer.generation_config.temperature == 1.0
    assert trainer.generation_kwargs["temperature"] == 1.0
    for model in (trainer.model, reference):
        wanted = plain_log_probabilities(model, batch, 1.0)
        assert torch.allclose(log_probabilities(trainer, batch, model), wanted, atol=1e-6)


def test_a_run_samples_at_the_temperature_that_was_set(tmp_path: Path) -> None:
    trainer = steered(tmp_path, {2: {"temperature": 0.01}}, max_steps=3)
    distinct: list[int] = []
    original = trainer.reward_funcs[0]

    def counting(completions: list[str], **more: Any) -> list[float | None]:
        distinct.append(len(set(completions[:G])))
        return original(completions=completions, **more)

    trainer.reward_funcs[0] = counting
    trainer.train()
    # An untrained model has nearly even odds among its 17 symbols: it never says the same 4 times,
    # unless it says only what is likeliest.
    assert distinct[1] == 1
    assert min(distinct[0], distinct[2]) > 1
    entropies = [line["entropy"] for line in trainer.state.log_history if "entropy" in line]
    assert entropies[1] < entropies[0] / 2
    assert entropies[2] > entropies[1] * 2


@pytest.mark.parametrize("kind", ["bf16", "peft"])
def test_the_temperature_of_the_loss_is_found_within_wrappers(tmp_path: Path, kind: str) -> None:
    if kind == "bf16":
        # accelerate wraps the forward of both models, of the reference before we see it.
        trainer = steered(tmp_path, beta=0.1, bf16=True, max_steps=2)
        models = [trainer.model, trainer.ref_model]
    else:
        lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
        trainer = steered(tmp_path, given={"peft_config": lora}, max_steps=2)
        models = [trainer.model]
    trainer.script = {2: {"temperature": 3.0}}
    trainer.train()
    assert trainer.reports == [{}, {"temperature": applied(3.0)}]
    batch = a_batch(trainer)
    for model in models:
        found = log_probabilities(trainer, batch, model)
        assert torch.allclose(found, plain_log_probabilities(model, batch, 3.0), atol=2e-2)
        assert not torch.allclose(found, plain_log_probabilities(model, batch, 1.0), atol=1e-1)


def test_a_sampler_in_vllm_gets_the_temperature_too(tmp_path: Path) -> None:
    trainer = steered(tmp_path)
    trainer.use_vllm, trainer.vllm_generation = True, SimpleNamespace(temperature=1.0)
    knobs = Knobs(trainer)
    assert knobs.apply({"temperature": 1.1}) == {"temperature": applied(1.1)}
    assert trainer.vllm_generation.temperature == trainer.temperature == 1.1
    knobs.apply({})
    assert trainer.vllm_generation.temperature == trainer.temperature == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rollout_func": lambda prompts, trainer: None}, "samples at a temperature of its own"),
        ({"args": SimpleNamespace(generation_kwargs={"temperature": 0.7})}, "apart from that of"),
        ({"model": torch.nn.Linear(1, 1)}, "was not found in this TRL"),
        ({"liger_grpo_loss": object()}, "use_liger_kernel"),
    ],
)
def test_a_temperature_that_cannot_change_everywhere_changes_nowhere(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    trainer = steered(tmp_path)
    stand_in = SimpleNamespace(**{**vars(trainer), **change})
    ignored(Knobs(stand_in).apply({"temperature": 1.1}), "temperature", 1.0, words)
    assert trainer.generation_config.temperature == stand_in.temperature == 1.0


def test_a_temperature_that_would_end_the_training_is_refused(tmp_path: Path) -> None:
    knobs = steered(tmp_path).knobs
    for value in (0.0, -1.0):
        ignored(knobs.apply({"temperature": value}), "temperature", 1.0, "above 0")


# Whatever happens, training goes on --------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, "fast", [1]])
def test_a_value_that_is_no_finite_number_changes_nothing(tmp_path: Path, value: Any) -> None:
    trainer = steered(tmp_path, entropy_coef=0.01, beta=0.1)
    for report in trainer.knobs.apply(dict.fromkeys(KNOBS, value)).values():
        assert report.status == "ignored"
        assert report.reason
    assert (trainer.beta, trainer.temperature, trainer.entropy_coef) == (0.1, 1.0, 0.01)


def test_a_trainer_of_another_make_has_no_knobs_and_no_accidents() -> None:
    knobs = Knobs(object())
    reports = knobs.apply(dict.fromkeys(KNOBS, 0.5))
    assert reports.keys() == KNOBS.keys()
    assert {report.status for report in reports.values()} == {"ignored"}
    ignored(reports, "beta", None, "not found in this TRL: 'object' object has no attribute 'beta'")
    assert knobs.apply({}) == {}
    assert knobs.value("beta") is None
    knobs.load({"learning_rate_scale": "half"})


def test_a_place_that_refuses_puts_the_others_back(tmp_path: Path) -> None:
    class Fixed:
        temperature = property(lambda self: 1.0)

    trainer = steered(tmp_path)
    trainer.use_vllm, trainer.vllm_generation = True, Fixed()
    reports = Knobs(trainer).apply({"temperature": 1.5})
    ignored(reports, "temperature", 1.0, "AttributeError")
    batch = a_batch(trainer)
    wanted = plain_log_probabilities(trainer.model, batch, 1.0)
    assert torch.allclose(log_probabilities(trainer, batch), wanted, atol=1e-6)


def test_an_attribute_that_went_away_meanwhile_ends_nothing(tmp_path: Path) -> None:
    trainer = steered(tmp_path, **OFF_POLICY)
    trainer.knobs.apply({"epsilon_low": 0.1})
    del trainer.epsilon_low
    reports = trainer.knobs.apply({"epsilon_low": 0.16})
    ignored(reports, "epsilon_low", None, "AttributeError")
    assert trainer.knobs.value("epsilon_low") is None
    assert trainer.knobs.apply({}) == {}
    assert trainer.epsilon_low == 0.2


def test_a_loss_that_liger_copied_its_numbers_into_is_left_alone(tmp_path: Path) -> None:
    # Before 1.16 TRL computed the loss in Liger; there the numbers are those of the start.
    trainer = steered(tmp_path, entropy_coef=0.01, beta=0.1)
    trainer.liger_grpo_loss = object()
    knobs = Knobs(trainer)
    names = ("epsilon_low", "epsilon_high", "beta", "entropy_coef", "temperature")
    reports = knobs.apply(dict.fromkeys(names, 0.5))
    assert {report.status for report in reports.values()} == {"ignored"}
    assert {report.reason for report in reports.values()} == {
        "use_liger_kernel: the loss copied its numbers when the trainer was built"
    }


def test_the_switch_of_the_loss_mask_takes_on_and_off_only(tmp_path: Path) -> None:
    trainer = steered(tmp_path)
    assert trainer.knobs.apply({"loss_mask": True}) == {"loss_mask": applied(True)}
    assert trainer.knobs.value("loss_mask") is True
    ignored(trainer.knobs.apply({"loss_mask": 0.5}), "loss_mask", True, "on or off")
    assert trainer.knobs.apply({"loss_mask": 0.0}) == {"loss_mask": applied(False)}
    trainer.knobs.apply({"loss_mask": True})
    trainer.knobs.apply({})
    assert trainer.knobs.value("loss_mask") is False


def test_knobs_that_nobody_turns_leave_training_as_trl_has_it_bit_for_bit(tmp_path: Path) -> None:
    ours = steered(tmp_path)
    ours.train()
    theirs = trl.GRPOTrainer(**arguments(config(tmp_path), OUTCOMES))
    theirs.train()
    for mine, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_the_toy_is_what_the_entropy_of_these_tests_assumes() -> None:
    assert len(toy.SYMBOLS) == 17
