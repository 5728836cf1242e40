"""One definition of what the keys of other people's logs mean in our words.

A key is normalised first (case, blanks around slashes, prefixes such as `train/`); then each figure
lists its names in order of preference. A file may hold several names of one figure (`kl` and
`approx_kl`); the first with any number in it is used for the whole file, and the report says which.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Merge = Literal["mean", "largest", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a step.

    Attributes:
        name: ours.
        title: for people.
        aliases: normalised keys, the preferred first.
        merge: what several rows of one step become; `largest` is by magnitude, so that one spike
            of the gradient among many updates is not averaged away.
        must_be_finite: whether NaN or infinity in it is a finding, not just a gap.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    merge: Merge = "mean"
    must_be_finite: bool = False


_ALL = (
    Figure(
        name="reward_mean",
        title="reward",
        aliases=(
            *("reward", "critic/score/mean", "critic/rewards/mean", "mean_reward", "reward_mean"),
            *("reward/mean", "reward/reward", "rewards/mean", "env/all/reward/total"),
            *("reward/total", "rewards/total_reward", "train_reward", "avg_reward"),
            *("average_reward", "reward/all/mean", "objective/scores", "score/mean", "rm"),
            *("rewards", "raw_reward", "score"),
        ),
        must_be_finite=True,
    ),
    Figure(
        name="reward_std",
        title="reward std",
        aliases=(
            *("reward_std", "std_reward", "reward/std", "group_reward_std"),
            *("critic/score/std", "critic/rewards/std", "rewards/std"),
        ),
    ),
    Figure(
        name="zero_std",
        title="groups without signal",
        aliases=(
            *("acr", "frac_reward_zero_std", "zero_std_ratio", "frac_zero_std", "zero_std"),
            *("reward/frac_zero_std", "collapse_rate", "zero_adv_ratio", "zero_variance_ratio"),
        ),
    ),
    Figure(
        name="mixed",
        title="groups with signal",
        aliases=("env/all/by_group/frac_mixed", "by_group/frac_mixed", "frac_mixed"),
    ),
    Figure(
        name="acr_wrong",
        title="all-wrong groups",
        aliases=(
            *("acr_wrong", "env/all/by_group/frac_all_bad", "by_group/frac_all_bad"),
            *("frac_all_bad", "solve_none", "reward/solve_none", "batch/solve_none"),
        ),
    ),
    Figure(
        name="acr_correct",
        title="all-correct groups",
        aliases=(
            *("acr_correct", "env/all/by_group/frac_all_good", "by_group/frac_all_good"),
            *("frac_all_good", "solve_all", "reward/solve_all", "batch/solve_all"),
        ),
    ),
    Figure(
        name="num_wrong",
        title="all-wrong groups (count)",
        aliases=("all_fail_groups",),
        merge="mean",
    ),
    Figure(
        name="num_correct",
        title="all-correct groups (count)",
        aliases=("all_pass_groups",),
        merge="mean",
    ),
    Figure(
        name="num_groups", title="groups", aliases=("num_groups", "num_prompts", "num_questions")
    ),
    Figure(
        name="entropy",
        title="entropy",
        aliases=(
            *("entropy", "actor/entropy", "token_entropy", "entropy/mean", "mean_entropy"),
            *("policy_entropy", "policy/entropy", "policy/policy_entropy", "optim/entropy"),
            *("policy/entropy_avg", "actor/entropy_loss", "entropy_loss"),
        ),
        must_be_finite=True,
    ),
    Figure(
        name="kl",
        title="KL",
        aliases=(
            *("kl", "reference_kl", "actor/kl_loss", "critic/kl", "actor/reward_kl_penalty"),
            *("kl_loss", "objective/kl", "policy_kl", "policy/policy_kl", "kl_divergence"),
            *("mean_kl", "kl_mean", "kl/mean", "approx_kl", "actor/ppo_kl", "ppo_kl"),
            *("policy/approxkl_avg", "optim/kl_sample_train_v2", "optim/kl_sample_train_v1"),
        ),
        merge="largest",
        must_be_finite=True,
    ),
    Figure(
        name="grad_norm",
        title="gradient norm",
        aliases=(
            *("grad_norm", "actor/grad_norm", "optim/grad_norm", "policy/grad_norm"),
            *("raw_grad_norm", "policy/raw_grad_norm", "gradient_norm", "actor_grad_norm"),
        ),
        merge="largest",
        must_be_finite=True,
    ),
    Figure(
        name="clip_fraction",
        title="clipped updates",
        aliases=(
            *("clip_ratio/region_mean", "clip_ratio", "clip_fraction", "actor/pg_clipfrac"),
            *("pg_clipfrac", "ppo_clip_ratio", "policy/ppo_clip_ratio", "policy/clipfrac_avg"),
            *("clipfrac", "clip_frac"),
        ),
    ),
    Figure(
        name="completion_length_mean",
        title="completion length",
        aliases=(
            *("completions/mean_length", "completion_length", "response_length/mean"),
            *("response_length", "avg_response_token_length", "env/all/ac_tokens_per_turn"),
            *("response_length_mean", "completion_length_mean", "mean_completion_length"),
            *("mean_response_length", "avg_response_length", "seq_len/mean", "glen"),
            *("response_token_length", "completion_tokens", "completion_len", "response_len"),
        ),
    ),
    Figure(
        name="completion_length_max",
        title="longest completion",
        aliases=(
            *("completions/max_length", "response_length/max", "completion_length_max"),
            *("max_completion_length_seen", "seq_len/max"),
        ),
        merge="largest",
    ),
    Figure(
        name="truncated_fraction",
        title="truncated",
        aliases=(
            *("completions/clipped_ratio", "response_length/clip_ratio", "response_clip_ratio"),
            *("clipped_ratio", "truncated_fraction", "truncated_ratio", "is_truncated/mean"),
            *("truncation_rate", "length_clip_ratio"),
        ),
    ),
    Figure(
        name="learning_rate",
        title="learning rate",
        aliases=(
            *("learning_rate", "actor/lr", "optim/lr", "actor_lr", "policy_lr", "act_lr", "lr"),
            "policy/policy_lr",
        ),
        merge="last",
    ),
    Figure(name="temperature", title="temperature", aliases=("temperature",), merge="last"),
    Figure(
        name="loss",
        title="loss",
        aliases=("loss", "training loss", "actor/pg_loss", "policy_loss", "pg", "loss/mean"),
        must_be_finite=True,
    ),
)

FIGURES: Mapping[str, Figure] = MappingProxyType({figure.name: figure for figure in _ALL})
"""By our name, in the order of reports."""

_BY_ALIAS: Mapping[str, str] = MappingProxyType(
    {alias: figure.name for figure in _ALL for alias in figure.aliases}
)

STEP_KEYS = (
    *("step", "global_step", "grpo_step", "training/global_step", "trainer/global_step"),
    *("_step", "global_steps", "training_step", "train_step", "rollout_step", "iteration", "iter"),
    *("update", "progress/batch", "optimizer_step", "batch", "n_step"),
)

GROUP_KEYS = (
    *("group_id", "group", "prompt_id", "question_index", "question_id", "problem_id", "uid"),
    *("group_index", "prompt_index", "prompt_idx", "task_id", "example_id", "qid", "index"),
    *("prompt_uid", "prompt", "input", "question", "problem", "query", "instruction"),
)

REWARD_KEYS = (
    *(
        "reward",
        "total_reward",
        "reward_total",
        "score",
        "rewards",
        "scores",
        "total",
        "raw_reward",
    ),
    *("acc", "accuracy", "is_correct", "correct"),
)

_PREFIXES = ("train/", "training/", "train:", "policy/train/", "metrics/")
_EVALUATION = re.compile(r"^(eval|val|validation|test|val-core|val-aux)[_/-]")
_COMPONENT = re.compile(
    r"^(?:rewards/(?P<trl>.+?)(?:/(?P<trl_kind>mean|std))?"
    r"|reward/(?P<other>[^/]+)/(?P<other_kind>mean|std))$"
)


def normalised(key: str) -> str:
    """A key as the aliases are written.

    >>> normalised(" rewards / check_answer / mean")
    'rewards/check_answer/mean'
    >>> normalised("train/Reward"), normalised("train/global_step")
    ('reward', 'global_step')
    """
    text = re.sub(r"\s*/\s*", "/", key.strip()).lower()
    for prefix in _PREFIXES:
        if text.startswith(prefix) and len(text) > len(prefix):
            return text.removeprefix(prefix)
    return text


def figure_of(key: str) -> str | None:
    """Our name of the figure that a normalised key holds; None when it is not one of ours."""
    return _BY_ALIAS.get(key)


def component_of(key: str) -> tuple[str, Literal["mean", "std"]] | None:
    """The reward function that a normalised key is about, and whether it holds mean or std.

    >>> component_of("rewards/format/std"), component_of("rewards/format"), component_of("kl")
    (('format', 'std'), ('format', 'mean'), None)
    """
    if figure_of(key) is not None or not (found := _COMPONENT.match(key)):
        return None
    kind = found["trl_kind"] or found["other_kind"]
    return found["trl"] or found["other"], "std" if kind == "std" else "mean"


def is_evaluation(key: str) -> bool:
    """Whether a normalised key is of an evaluation, not of training."""
    return _EVALUATION.match(key) is not None


def first_of(wanted: Iterable[str], present: Iterable[str]) -> str | None:
    """The first wanted name that is present."""
    there = set(present)
    return next((name for name in wanted if name in there), None)
