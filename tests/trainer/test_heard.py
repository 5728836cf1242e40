"""What is overheard of a batch: which completions were cut, and which prompt they answer."""

import numpy as np
import pytest
import torch

from trainer.heard import Heard, facts, prompt_number

END, PAD = 1, 0


@pytest.mark.parametrize(
    ("ids", "is_cut"), [([5, END], False), ([5, END, PAD], False), ([5, 6], True), ([], True)]
)
def test_a_completion_that_neither_ends_nor_pads_was_cut(ids: list[int], is_cut: bool) -> None:
    ((cut, _, length),) = facts([ids], ["p"], {END, PAD})
    assert (cut, length) == (is_cut, len(ids))


def test_facts_come_back_by_group() -> None:
    rows = facts([[5], [END], [5], [5]], ["p", "p", "q", "q"], {END})
    heard = Heard(rewards_BF=torch.zeros(4, 1), facts_BK=torch.tensor(rows))
    assert np.array_equal(heard.truncated(2), [[True, False], [True, True]])
    assert heard.prompts(2) == [str(prompt_number("p")), str(prompt_number("q"))]
    assert heard.lengths(2).tolist() == [[1, 1], [1, 1]]


def test_batches_join_and_part() -> None:
    first, second = (
        Heard(
            rewards_BF=torch.tensor([[float(at)], [at + 1.0]]),
            facts_BK=torch.tensor(facts([[5] * at, [END]], ["p", "q"], {END})),
        )
        for at in (1, 3)
    )
    both = first.joined(second)
    assert both.rewards_BF[:, 0].tolist() == [1, 2, 3, 4]
    part = both.at(torch.tensor([2, 1]))
    assert part.rewards_BF[:, 0].tolist() == [3, 2]
    assert part.lengths(1).tolist() == [[3], [1]]


def test_a_prompt_has_the_same_number_in_any_process_and_fits_a_tensor() -> None:
    # blake2b of "1+1=", 8 bytes, without its lowest bit: computed apart from this code.
    assert prompt_number("1+1=") == 5_764_399_801_130_698_764
    messages = [{"role": "user", "content": "1+1="}]
    assert prompt_number(messages) == prompt_number([{"content": "1+1=", "role": "user"}])
    assert prompt_number(messages) != prompt_number("1+1=")
    assert 0 <= prompt_number("\ud800") < 2**63  # Half a surrogate pair, as tokenizers make them.


def test_what_is_no_text_counts_by_its_type_alone() -> None:
    def seen(image: object) -> list[dict[str, object]]:
        return [{"role": "user", "content": [{"type": "image", "image": image}]}]

    assert prompt_number(seen(object())) == prompt_number(seen(object()))
    assert prompt_number(seen(object())) != prompt_number(seen(torch.zeros(1)))
