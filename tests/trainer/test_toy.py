"""The toy: everything it promises follows from its seed."""

from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainer import toy

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy.yaml"


@pytest.fixture(scope="module")
def tokenizer():
    return toy.make_tokenizer()


@pytest.fixture(scope="module")
def splits():
    return toy.make_splits(seed=0)


@given(st.text(alphabet="0123456789+= "))
def test_text_survives_the_tokenizer_one_token_per_character(tokenizer, text):
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_the_tokenizer_pads_on_the_left_and_knows_its_special_tokens(tokenizer):
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = tokenizer(["1+1=", "12+7=" + toy.EOS], padding=True)["input_ids"]
    # "12+7=" and the end are 6 tokens, "1+1=" is 4.
    assert ids[0][:2] == [pad, pad]
    assert ids[1][-1] == eos
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == ["1+1=", "12+7="]
    assert tokenizer("x")["input_ids"] == [tokenizer.unk_token_id]
    assert len(tokenizer) == 17


def test_the_answers_are_right_and_fit_the_completion(splits):
    for split in splits:
        for row in split:
            a, b = row["prompt"].removesuffix("=").split("+")
            assert row["answer"] == str(int(a) + int(b))
            assert len(row["answer"]) + 1 <= toy.MAX_ANSWER_TOKENS


def test_no_held_out_sum_is_trained_on_in_either_order(splits):
    train, held_out = (
        {frozenset(prompt.removesuffix("=").split("+")) for prompt in split["prompt"]}
        for split in splits
    )
    assert not train & held_out
    # Unordered pairs of 100 operands: 100 * 101 / 2 = 5050.
    assert len(train) + len(held_out) == 5050
    assert len(held_out) == toy.NUM_EVAL_PROBLEMS


def test_the_splits_follow_from_the_seed(splits):
    assert toy.make_splits(seed=0)[0]["prompt"][:] == splits[0]["prompt"][:]
    assert toy.make_splits(seed=1)[0]["prompt"][:] != splits[0]["prompt"][:]


def test_the_model_is_tiny_and_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    model = toy.make_model()
    assert torch.equal(torch.get_rng_state(), before)
    # embedding 17*64; per layer: 4*64*64 + 3*64 attention, 3*64*256 MLP, 2*64 norms; last norm 64:
    # 1088 + 2 * (16576 + 49152 + 128) + 64 = 132864
    assert sum(parameter.numel() for parameter in model.parameters()) == 132_864


def test_model_and_warm_start_follow_from_the_seed(tokenizer, splits):
    def weights(seed):
        model = toy.make_model(seed=seed)
        toy.warm_start(model, tokenizer, splits[0], num_steps=3, seed=seed)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_the_warm_start_reports_every_step_and_teaches_a_sum(tokenizer, splits):
    one_problem = splits[0].select([0])
    model = toy.make_model()
    steps = []
    toy.warm_start(
        model, tokenizer, one_problem, num_steps=40, on_step=lambda *step: steps.append(step)
    )
    assert steps == [(step, 40) for step in range(1, 41)]
    assert toy.greedy_accuracy(model, tokenizer, one_problem).value == 1.0


@pytest.mark.parametrize("training", [True, False])
def test_greedy_accuracy_counts_and_leaves_the_mode_of_the_model(tokenizer, splits, training):
    model = toy.make_model().train(training)
    accuracy = toy.greedy_accuracy(model, tokenizer, splits[1].select(range(7)), batch_size=3)
    assert accuracy == toy.Accuracy(value=0.0, num_problems=7)
    assert model.training is training


def test_an_accuracy_knows_its_standard_error():
    # sqrt(0.5 * 0.5 / 100) = 0.05
    assert toy.Accuracy(value=0.5, num_problems=100).standard_error == pytest.approx(0.05)


def test_no_problems_have_no_accuracy(tokenizer, splits):
    with pytest.raises(ValueError, match="no rows"):
        toy.greedy_accuracy(toy.make_model(), tokenizer, splits[1].select([]))


def test_the_example_configuration_carries_the_default_hyper_parameters():
    example = yaml.safe_load(EXAMPLE.read_text())
    assert {key: example[key] for key in toy.GRPO_DEFAULTS} == dict(toy.GRPO_DEFAULTS)
