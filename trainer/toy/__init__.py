"""Tiny models and arithmetic tasks, for machines without weights and without a network.

A `Task` is everything one experiment needs: problems, a model of 133k parameters, a supervised warm
start, `GRPO_DEFAULTS`-like arguments and a reward. Everything is built in memory and follows from
its seed. Tasks are found by name:

    toy.TASKS                     name -> Task: "addition", "mixed", "hard", "easy"
    toy.find("toy:mixed")         the Task; "toy" alone is the addition; ValueError names the rest
    toy.is_toy("toy:mixed")       whether a `model_name_or_path` means one of them
    toy.warm_started(task, seed, cache_dir=None, on_step=None)
                                  -> (model, tokenizer, train, eval); the weights are read from
                                  `cache_dir` where they are, and written there where not
    task.grpo_defaults            arguments of a GRPOConfig, `max_steps` not among them
    task.num_steps                steps after which plain GRPO has moved clearly
    task.reward                   the reward function
    toy.greedy_accuracy(model, tokenizer, dataset) -> Accuracy
    toy.sampled_correct(model, tokenizer, dataset, num_samples=8, seed=0) -> int64 [P], right of n

Both splits have the columns `prompt` and `answer`. All tasks but the addition add `right_share`,
the share of right answers in the warm start. The trained model starts from about that pass rate, so
that `dataset.filter` on it makes subsets by difficulty.
"""

from trainer.toy.addition import (
    GRPO_DEFAULTS,
    MAX_ANSWER_TOKENS,
    MAX_OPERAND,
    NUM_EVAL_PROBLEMS,
    WARM_START_SUM_SCALE,
    make_splits,
    warm_start,
)
from trainer.toy.evaluation import Accuracy, greedy_accuracy, sampled_correct
from trainer.toy.model import BOS, EOS, PAD, SYMBOLS, UNK, make_model, make_tokenizer
from trainer.toy.supervised import IGNORED_LABEL
from trainer.toy.tasks import TASKS, LapseTask, Task, WarmStarted, find, is_toy, warm_started

__all__ = [
    "BOS",
    "EOS",
    "GRPO_DEFAULTS",
    "IGNORED_LABEL",
    "MAX_ANSWER_TOKENS",
    "MAX_OPERAND",
    "NUM_EVAL_PROBLEMS",
    "PAD",
    "SYMBOLS",
    "TASKS",
    "UNK",
    "WARM_START_SUM_SCALE",
    "Accuracy",
    "LapseTask",
    "Task",
    "WarmStarted",
    "find",
    "greedy_accuracy",
    "is_toy",
    "make_model",
    "make_splits",
    "make_tokenizer",
    "sampled_correct",
    "warm_start",
    "warm_started",
]
