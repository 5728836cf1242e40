"""Results of cells that nobody trained: figures by a law that the test knows."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from trainer.compare import results
from trainer.compare.plan import Plan
from trainer.compare.results import Result, Score, Series

NUM_PROBLEMS = 200
NUM_STEPS = 40


def plan(**changes: Any) -> Plan:
    """Two arms, three seeds."""
    values = {
        "name": "known",
        "arms": {"grpo": {}, "avspo": {"use_avspo": True}},
        "baseline": "grpo",
        "seeds": [0, 1, 2],
        "evaluate": {"samples": 4, "k": [1, 4]},
        **changes,
    }
    return msgspec.convert(values, Plan)


def found(of: Plan, effects: Mapping[str, float], **changes: Any) -> dict[tuple[str, int], Result]:
    """Results of every cell: pass rates that grow with the arm's effect, on the same problems."""
    return {
        (cell.arm, cell.seed): _result(results.begun(cell), effects.get(cell.arm, 0.0), **changes)
        for cell in of.cells()
    }


def _result(result: Result, effect: float, noise: float = 0.02) -> Result:
    hard = np.random.default_rng(result.seed).uniform(0, 1, NUM_PROBLEMS)
    own = np.random.default_rng([result.seed, *result.arm.encode()])
    rate = 0.4 + effect + noise * own.standard_normal()
    result.before = _score(hard, 0.4, np.random.default_rng(result.seed))
    result.after = _score(hard, rate, np.random.default_rng(result.seed))
    steps = np.arange(NUM_STEPS)
    acr = 0.5 + 0.002 * steps + 0.05 * own.standard_normal(NUM_STEPS)
    share = 0.3 + 0.002 * steps + effect * steps / NUM_STEPS
    result.series = Series(
        reward=(share + 0.03 * own.standard_normal(NUM_STEPS)).tolist(),
        accuracy=(share + 0.03 * own.standard_normal(NUM_STEPS)).tolist(),
        acr=acr.tolist(),
        acr_wrong=(0.7 * acr).tolist(),
        acr_correct=(0.3 * acr).tolist(),
        acr_effective=(acr if result.arm == "grpo" else 0.2 * acr).tolist(),
        entropy=[None, *(0.7 - 0.004 * steps + 0.02 * own.standard_normal(NUM_STEPS))[1:].tolist()],
        kl=[None] * NUM_STEPS,
        grad_norm=[None] * NUM_STEPS,
        injected_groups=[4] * NUM_STEPS,
        completions=[128] * NUM_STEPS,
        seconds=[0.1] * NUM_STEPS,
    )
    return result


def _score(hard: np.ndarray, rate: float, generator: np.random.Generator) -> Score:
    chances = np.clip(rate + 0.5 - hard, 0, 1)
    return Score(
        greedy=(chances > 0.5).astype(int).tolist(),
        num_samples=4,
        correct=generator.binomial(4, chances).tolist(),
        entropy=0.7 - rate + 0.01 * float(generator.standard_normal()),
    )
