"""Plans: what is read from them, what is refused before anything runs, and those we ship."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor_service.errors import InvalidInput
from trainer import toy
from trainer.compare import cell, plan
from trainer.compare.plan import Cell
from trainer.difficulty.levels import level_of

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
BASE = {"model_name_or_path": "toy", "rewards": ["exact_match"], "use_cpu": True, "bf16": False}


def written(folder: Path, **changes: Any) -> Path:
    values = {
        "name": "trial",
        "base": BASE,
        "arms": {"grpo": None, "avspo": {"use_avspo": True}},
        "baseline": "grpo",
        "seeds": [3, 4],
        **changes,
    }
    path = folder / "plan.yaml"
    present = {key: value for key, value in values.items() if value != "-"}
    path.write_text(yaml.safe_dump(present, sort_keys=False))
    return path


def test_an_arm_is_the_base_with_its_changes_and_its_settings(tmp_path):
    found = plan.load(
        written(
            tmp_path,
            base={**BASE, "use_avspo": True, "settings": {"target": "wrong", "alpha": 0.3}},
            arms={"one": {"beta": 0.1, "settings": {"alpha": 0.7}}, "two": {"settings": None}},
            baseline="two",
        )
    )
    assert found.values_of("one") == {
        **plan.DEFAULTS,
        **BASE,
        "use_avspo": True,
        "beta": 0.1,
        "settings": {"target": "wrong", "alpha": 0.7},
    }
    script, training, model = cell.configure(Cell(plan=found, arm="one", seed=4), tmp_path, None)
    settings = training.initial_settings()
    assert (settings.target, settings.alpha, training.beta) == ("wrong", 0.7, 0.1)
    assert (training.seed, model.model_name_or_path, script.rewards) == (4, "toy", ["exact_match"])
    assert training.monitor_url is None


def test_cells_come_seed_by_seed_the_baseline_first(tmp_path):
    found = plan.load(written(tmp_path, baseline="avspo"))
    assert [one.name for one in found.cells()] == ["avspo-3", "grpo-3", "avspo-4", "grpo-4"]
    assert next(found.cells()).run_id == "trial-avspo-3"


def test_the_hash_follows_what_the_result_follows_from(tmp_path):
    def hashes(**changes):
        found = plan.load(written(tmp_path, **changes))
        return [one.settings_hash for one in found.cells()]

    first = hashes()
    assert len(set(first)) == 4
    assert (
        hashes(title="Another", question="Why?", arms={"grpo": {}, "avspo": {"use_avspo": True}})
        == first
    )
    renamed = hashes(arms={"grpo": None, "avspo": {"use_avspo": True, "beta": 0.1}})
    assert [one == other for one, other in zip(first, renamed, strict=True)] == [True, False] * 2
    assert not set(hashes(evaluate={"samples": 16})) & set(first)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": "-"}, r"arms: is required"),
        ({"arms": {"grpo": {}}}, "arms: must be two or more"),
        ({"arms": [{"use_avspo": True}, {}]}, r"arms: expected `object`, got `array`"),
        ({"arms": {"": {}, "grpo": {}}}, "arms: must be 1 to 48 of letters"),
        ({"arms": {"a/b": {}, "grpo": {}}}, "arms: must be 1 to 48 of letters"),
        ({"baseline": "plain"}, "baseline: one of the arms: grpo, avspo; got 'plain'"),
        ({"baseline": "-"}, "baseline: is required"),
        ({"seeds": [0]}, "one seed cannot show what noise is"),
        ({"seeds": [1, 1]}, "all different"),
        ({"seeds": [-1, 0]}, r"seeds\[0\]"),
        ({"seed": 3}, "seed: is not a field of this version"),
        ({"evaluate": {"tries": 3}}, r"evaluate.tries: is not a field"),
        ({"evaluate": {"samples": 4, "k": [1, 8]}}, "at most evaluate.samples, which is 4; got 8"),
        ({"evaluate": {"k": [2, 2]}}, "evaluate.k: one or more numbers, all different"),
        ({"base": {**BASE, "seed": 1}}, "base.seed: is set by the harness; got 1"),
        ({"base": {**BASE, "settings": [1]}}, "base.settings: must be a mapping"),
        ({"base": {**BASE, "avspo_settings": {}}}, "base.avspo_settings: use settings here"),
        (
            {"arms": {"a": {"settings": {"tresholt": 0.3}}, "grpo": {}}},
            "arms.a.settings.tresholt: no setting",
        ),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(tmp_path, changes, words):
    with pytest.raises(InvalidInput, match=words):
        plan.load(written(tmp_path, **changes))


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: trial\narms: {grpo: {}, grpo: {use_avspo: true}}\n")
    with pytest.raises(ValueError, match="is not YAML: the key 'grpo' stands twice"):
        plan.load(path)


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({"grpo": {}, "a": {"use_avspoo": True}}, "arms.a.use_avspoo: .*did you mean use_avspo"),
        ({"grpo": {}, "a": {"acr_threshold_init": 7}}, "arms.a: is no configuration: .*threshold"),
        ({"grpo": {}, "a": {"num_generations": [8]}}, "arms.a: is no configuration: .*wrong type"),
        ({"grpo": {}, "a": {"method": "grpo"}}, "arms.a: equals the arm grpo"),
        ({"grpo": {}, "a": {"settings": {"eta": 9}}}, "arms.a: is no configuration: eta"),
    ],
)
def test_an_arm_that_cannot_be_built_or_is_another_is_refused(tmp_path, arms, words):
    found = plan.load(written(tmp_path, arms=arms))
    with pytest.raises(InvalidInput, match=words):
        cell.check(found)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_plan_we_ship_can_be_run(path):
    found = plan.load(path)
    cell.check(found)
    assert found.name == path.stem
    assert found.question
    assert len(found.seeds) >= 5
    task = toy.find(found.base["model_name_or_path"])
    defaults = task.grpo_defaults
    assert {key: found.base.get(key) for key in defaults} == defaults
    assert found.base["max_steps"] == task.num_steps


def test_the_toy_has_problems_of_every_level_that_a_plan_trains_on():
    found = plan.load(next(path for path in SHIPPED if path.stem == "difficulty"))
    task = toy.find(found.base["model_name_or_path"])
    there = set(task.make_splits(seed=0)[0][found.base["difficulty_column"]])
    arms = [arm or {} for arm in found.arms.values()]
    wanted = {level for arm in arms for level in arm.get("difficulty_levels", [])}
    assert wanted == {level_of(share) for share in there}


def test_the_plans_are_those_of_the_documentation():
    assert {path.stem for path in SHIPPED} == {
        *("remedies", "remedies-hard", "strategies", "scale", "thresholds", "difficulty"),
    }
