"""The toy: everything it promises follows from its seed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from trainer import toy
from trainer.toy import __main__ as measurement
from trainer.toy import lapses, tasks

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


def brief(steps=3):
    """A task that is warm in a moment."""

    def warm_start(self, model, tokenizer, dataset, *, seed=0, on_step=None):
        lapses.warm_start(model, tokenizer, dataset, num_steps=steps, seed=seed, on_step=on_step)

    return type("Brief", (toy.LapseTask,), {"warm_start": warm_start, "__slots__": ()})(
        name="brief", summary="for tests", levels=(0.0, 0.5, 1.0), num_steps=2
    )


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_tasks_are_found_by_name_and_the_addition_is_the_default():
    assert toy.find("toy") is toy.find("toy:addition") is toy.TASKS["addition"]
    assert toy.find("toy:mixed") is toy.TASKS["mixed"]
    assert all(task.name == name for name, task in toy.TASKS.items())
    assert toy.is_toy("toy")
    assert toy.is_toy("toy:unheard-of")
    assert not any(map(toy.is_toy, (None, "toyota/model", "mixed")))


@pytest.mark.parametrize("name", ["toy:", "toy:unheard-of", "mixed", "toys", ""])
def test_an_unknown_task_is_refused_with_the_names_of_all(name):
    with pytest.raises(ValueError, match=r"toy task: .*allowed: toy, toy:addition, toy:mixed"):
        toy.find(name)


def test_the_default_task_is_the_toy_as_it_always_was(tokenizer, splits):
    task = toy.TASKS["addition"]
    assert task.grpo_defaults == dict(toy.GRPO_DEFAULTS)
    assert task.make_splits(seed=0)[0].to_list() == splits[0].to_list()


@pytest.mark.parametrize(
    ("a", "b", "wrong"), [(17, 25, 32), (12, 25, 47), (99, 99, 188), (0, 0, 10), (5, 5, 0)]
)
def test_a_lapse_drops_a_carry_or_makes_one_up(a, b, wrong):
    assert lapses.lapse(a, b) == wrong


def test_a_lapse_task_pads_its_problems_and_never_calls_a_right_answer_a_lapse():
    for part in toy.TASKS["mixed"].make_splits(seed=1):
        for row in part:
            a, b = map(int, row["prompt"].removesuffix("=").split("+"))
            assert (len(row["prompt"]), len(row["answer"]), len(row["lapse"])) == (6, 3, 3)
            assert int(row["answer"]) == a + b
            assert abs(int(row["lapse"]) - int(row["answer"])) == 10


@pytest.mark.parametrize("name", ["mixed", "hard", "easy"])
def test_levels_hold_for_whole_families_and_make_subsets_of_both_splits(name):
    task = toy.TASKS[name]
    assert isinstance(task, toy.LapseTask)
    train, held_out = task.make_splits(seed=2)
    levels: dict[frozenset[str], float] = {}
    for row in [*train, *held_out]:
        tens = frozenset((row["prompt"][0], row["prompt"][3]))
        assert levels.setdefault(tens, row["right_share"]) == row["right_share"]
    assert len(levels) == 55
    # 55 families over 5 levels: 11 each, of 100 pairs, or 55 where the tens are equal.
    for part in (train, held_out):
        for level in task.levels:
            subset = part.filter(lambda row, level=level: row["right_share"] == level)
            assert 0.1 < len(subset) / len(part) < 0.3


def test_the_warm_start_shows_answers_and_lapses_in_the_share_of_the_level():
    prompts = {"01+02=": 0.0, "03+04=": 0.25, "05+06=": 1.0}
    shown = {}

    def spy(model, tokenizer, texts, draw, **_):
        generator = torch.Generator().manual_seed(0)
        drawn = [texts[row] for _ in range(100) for row in draw(generator).tolist()]
        for prompt, share in prompts.items():
            answers = [answer for shown_prompt, answer in drawn if shown_prompt == prompt]
            shown[share] = answers.count("right") / len(answers)

    dataset = Dataset.from_list(
        [
            {"prompt": prompt, "answer": "right", "lapse": "wrong", "right_share": share}
            for prompt, share in prompts.items()
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lapses, "fit", spy)
        lapses.warm_start(None, None, dataset, batch_size=60)
    # About 2,000 draws per problem: sqrt(0.25 * 0.75 / 2000) = 0.01.
    assert shown[0.0] == 0.0
    assert shown[0.25] == pytest.approx(0.25, abs=0.04)
    assert shown[1.0] == 1.0


def test_both_procedures_are_learnt_from_one_problem(tokenizer):
    one = toy.TASKS["mixed"].make_splits(seed=0)[0].select([0]).to_list()[0]
    dataset = Dataset.from_list([{**one, "right_share": 0.5}])
    model = toy.make_model()
    lapses.warm_start(model, tokenizer, dataset, num_steps=150)
    (right,) = toy.sampled_correct(model, tokenizer, dataset, num_samples=200)
    other = Dataset.from_list([{**one, "answer": one["lapse"]}])
    (wrong,) = toy.sampled_correct(model, tokenizer, other, num_samples=200)
    # The last few of the 150 draws of 64 leave a share near 0.5; neither may be forgotten.
    assert min(right, wrong) > 0.2 * 200
    assert right + wrong > 0.7 * 200


def test_a_warm_start_is_kept_and_read_back_to_the_bit(tmp_path):
    steps = []
    first = toy.warm_started(brief(), 1, tmp_path, on_step=lambda *step: steps.append(step))
    again = toy.warm_started(brief(), 1, tmp_path, on_step=lambda *step: steps.append(step))
    alone = toy.warm_started(brief(), 1)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for other in (again, alone):
        assert torch.equal(weights(first.model), weights(other.model))
        assert first.train.to_list() == other.train.to_list()
        assert first.eval.to_list() == other.eval.to_list()
    assert again.model.training
    assert len(list(tmp_path.glob("*.pt"))) == 1


def test_another_seed_or_parameter_is_another_file_and_other_weights(tmp_path):
    one = toy.warm_started(brief(), 1, tmp_path)
    for task, seed in ((brief(), 2), (replace(brief(), levels=(0.0, 1.0)), 1)):
        other = toy.warm_started(task, seed, tmp_path)
        assert not torch.equal(weights(one.model), weights(other.model))
    assert len(list(tmp_path.glob("*.pt"))) == 3


def test_other_code_is_another_file(tmp_path, monkeypatch):
    shutil.copytree(Path(tasks.__file__).parent, tmp_path / "toy")
    before = tasks._fingerprint(brief())
    monkeypatch.setattr(tasks, "__file__", str(tmp_path / "toy" / "tasks.py"))
    assert tasks._fingerprint(brief()) == before
    with (tmp_path / "toy" / "lapses.py").open("a") as source:
        source.write("# changed")
    assert tasks._fingerprint(brief()) != before


def test_an_interrupted_warm_start_leaves_nothing_to_read_back(tmp_path):
    def interrupt(step, num_steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.warm_started(brief(), 1, tmp_path, on_step=interrupt)
    assert not list(tmp_path.glob("*.pt"))
    toy.warm_started(brief(), 1, tmp_path)
    assert list(tmp_path.glob("*.pt"))


WARM_UP = """
import sys, zlib
import torch
from trainer import toy

class Brief(toy.Task):
    def warm_start(self, *args, **options):
        toy.warm_start(*args, num_steps=20, **options)

torch.set_num_threads(1)
steps = []
task = Brief(name="brief", summary="")
model = toy.warm_started(task, 0, sys.argv[1], on_step=lambda *step: steps.append(step)).model
weights = b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())
print(len(steps), zlib.crc32(weights))
"""


def test_processes_share_a_cache_and_one_of_them_warms_up(tmp_path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WARM_UP, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(child.communicate(timeout=120)[0].split() for child in children)
    assert [int(steps) for steps, _ in said] == [0, 20]
    assert said[0][1] == said[1][1]


def test_sampled_counts_agree_with_greedy_answers_of_a_cold_temperature(tokenizer, splits):
    few = splits[0].select(range(6))
    model = toy.make_model()
    toy.warm_start(model, tokenizer, few.select([0]), num_steps=40)
    cold = toy.sampled_correct(model, tokenizer, few, num_samples=4, temperature=1e-4, batch_size=9)
    assert cold.dtype == np.int64
    assert set(cold.tolist()) <= {0, 4}
    assert cold[0] == 4
    assert cold.mean() / 4 == toy.greedy_accuracy(model, tokenizer, few).value


def test_sampled_counts_follow_from_the_seed_and_leave_model_and_random_state_alone(tokenizer):
    start = toy.warm_started(brief(60), 0)
    some = start.train.select(range(50))
    state = torch.get_rng_state()
    counts = [
        toy.sampled_correct(start.model, tokenizer, some, num_samples=8, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert start.model.training
    assert counts[0].tolist() == counts[1].tolist() != counts[2].tolist()
    assert counts[0].shape == (50,)


def test_no_problems_have_no_counts(tokenizer, splits):
    counts = toy.sampled_correct(toy.make_model(), tokenizer, splits[1].select([]))
    assert counts.shape == (0,)


@pytest.mark.parametrize(
    "bad", [{"num_samples": 0}, {"temperature": 0.0}, {"num_samples": 8, "batch_size": 7}]
)
def test_sampling_refuses_what_cannot_be(tokenizer, splits, bad):
    with pytest.raises(ValueError, match=list(bad)[-1]):
        toy.sampled_correct(toy.make_model(), tokenizer, splits[1], **bad)


def test_a_measurement_trains_and_tells_what_happened(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(toy, "TASKS", {"brief": brief()})
    measurement.main(["brief", "--seeds", "4", "--learning-rate", "1e-6", "--cache", str(tmp_path)])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["task"], figures["seed"], figures["steps"]) == ("brief", 4, 2)
    assert figures["learning_rate"] == 1e-6
    # After three steps of warm start hardly an answer is right.
    assert figures["acr_wrong"]["run"] > 0.9
    assert figures["acr_correct"]["run"] == 0.0
    assert figures["greedy"][0] < 0.05


def test_a_measurement_of_no_steps_is_refused(capsys):
    with pytest.raises(SystemExit):
        measurement.main(["addition", "--steps", "0"])
    assert "--steps: must be at least 1; got 0" in capsys.readouterr().err
