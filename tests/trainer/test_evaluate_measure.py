"""Counts and figures from a model in memory, and from completions that are known."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from monitor_service.errors import InvalidInput
from trainer import toy
from trainer.evaluate.estimate import paired_difference
from trainer.evaluate.generation import Completion, Sampling
from trainer.evaluate.measure import evaluate, measure
from trainer.rewards.exact import exact_match_reward
from trainer.rewards.math import box_accuracy_reward

GREEDY = Sampling(max_new_tokens=toy.MAX_ANSWER_TOKENS)
DRAWN = Sampling(max_new_tokens=toy.MAX_ANSWER_TOKENS, temperature=1.0)


@pytest.fixture(scope="module")
def warm():
    """A toy between guessing and knowing, and the problems of which it knows some."""
    tokenizer, model = toy.make_tokenizer(), toy.make_model()
    problems = toy.make_splits()[1].select(range(60))
    toy.warm_start(model, tokenizer, problems, num_steps=150, batch_size=16)
    return model, tokenizer, problems


class Scripted:
    """A generator that knows its answers."""

    def __init__(self, *groups):
        self._groups = groups

    def generate(self, prompts, num_samples, sampling, on_completions=None):
        return [
            [Completion(text=text, num_tokens=len(text), finished=text != "cut") for text in group]
            for group in self._groups
        ]


def test_greedy_accuracy_is_what_the_toy_measures_itself(warm):
    model, tokenizer, problems = warm
    result = evaluate(model, tokenizer, problems, reward=exact_match_reward, sampling=GREEDY)
    expected = toy.greedy_accuracy(model, tokenizer, problems)
    assert 0.1 < expected.value < 0.9
    assert result.accuracy == pytest.approx(expected.value)
    assert set(result.num_correct) == {0, 1}
    assert result.pass_at(1).method == "wilson"


def test_pass_at_k_rises_from_the_accuracy_of_the_samples(warm):
    model, tokenizer, problems = warm
    result = evaluate(
        model, tokenizer, problems, reward=exact_match_reward, num_samples=4, sampling=DRAWN
    )
    one, two, four = (result.pass_at(k) for k in (1, 2, 4))
    assert one.value < two.value < four.value
    assert one.value == result.accuracy == pytest.approx(np.mean(result.per_problem(1)))
    assert four.value == pytest.approx(np.mean([correct != 0 for correct in result.num_correct]))
    assert one.low < one.value < one.high
    assert (one.method, one.num_problems) == ("bootstrap", 60)


def test_a_model_in_training_goes_on_as_it_was(warm):
    model, tokenizer, problems = warm
    model.train()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    evaluate(model, tokenizer, problems, reward=exact_match_reward, sampling=GREEDY)
    assert model.training
    assert torch.rand(1) == expected
    model(torch.tensor([[5, 6]]), labels=torch.tensor([[5, 6]])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()


def test_two_models_are_compared_on_the_same_problems(warm):
    model, tokenizer, problems = warm
    untrained = toy.make_model(seed=5)
    better, worse = (
        evaluate(one, tokenizer, problems, reward=exact_match_reward, sampling=GREEDY)
        for one in (model, untrained)
    )
    gain = paired_difference(better.per_problem(1), worse.per_problem(1))
    assert gain.value == pytest.approx(better.accuracy - worse.accuracy)
    assert 0 < gain.low < gain.high


def test_counts_follow_from_the_completions():
    generator = Scripted(["\\boxed{1}", "\\boxed{2}"], ["cut", "\\boxed{2}"], ["cut", "cut"])
    result = measure(
        generator,
        ["a", "b", "c"],
        ["1", "2", "3"],
        reward=box_accuracy_reward,
        num_samples=2,
        sampling=DRAWN,
    )
    assert result.num_correct == [1, 1, 0]
    assert result.num_truncated == [0, 1, 2]
    assert result.num_tokens == [18, 12, 6]
    # 3 of 6 cut off, 36 characters in 6 completions, 2 of 6 right.
    assert (result.truncated, result.mean_tokens) == (0.5, 6.0)
    assert result.accuracy == pytest.approx(1 / 3)


def test_a_problem_whose_answer_is_unknown_is_in_no_figure():
    generator = Scripted(["4"], ["4"], ["5"])
    result = measure(
        generator,
        ["2+2", "?", "2+2"],
        ["4", None, "4"],
        reward=exact_match_reward,
        num_samples=1,
        sampling=GREEDY,
    )
    assert (result.num_correct, result.num_unscored) == ([1, None, 0], 1)
    assert (result.accuracy, result.pass_at(1).num_problems) == (0.5, 2)


def test_a_completion_that_alone_cannot_be_judged_counts_as_wrong():
    def reward(completions, **_):
        return [None if text == "odd" else 1.0 for text in completions]

    result = measure(
        Scripted(["odd", "4"]), ["2+2"], ["4"], reward=reward, num_samples=2, sampling=DRAWN
    )
    assert result.num_correct == [1]


@pytest.mark.parametrize(
    ("answers", "score", "words"),
    [
        ([], 1.0, "problems: must have at least one row"),
        ([None], None, "answer: must be readable in at least one problem"),
        (["1"], 0.5, "reward: must be 1 for right, 0 for wrong, None for unscored; got 0.5"),
    ],
)
def test_what_cannot_be_counted_is_refused(answers, score, words):
    with pytest.raises(InvalidInput, match=words):
        measure(
            Scripted(*([["x"]] * len(answers))),
            ["q"] * len(answers),
            answers,
            reward=lambda completions, **_: [score] * len(completions),
            num_samples=1,
            sampling=GREEDY,
        )


def test_an_empty_dataset_is_refused(warm):
    model, tokenizer, _ = warm
    empty = Dataset.from_dict({"prompt": [], "answer": []})
    with pytest.raises(InvalidInput, match="problems: must have at least one row"):
        evaluate(model, tokenizer, empty, reward=exact_match_reward)
