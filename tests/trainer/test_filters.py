"""Which problems are trained on, and what is said when none is left."""

import pytest
from datasets import Dataset

from trainer import toy
from trainer.data.filters import by_level, by_prompt_length, filtered
from trainer.data.templates import check_chat_template, num_tokens

# Levels 0, 3, 3, 6 and unknown.
PROBLEMS = Dataset.from_list(
    [
        {"prompt": prompt, "answer": "2", "pass_rate": rate}
        for prompt, rate in (
            ("1+1=", 1.0),
            ("1+1=", 0.3),
            ("10+10=", 0.5),
            ("1=", 0.0),
            ("=", None),
        )
    ]
)


def chat_tokenizer():
    tokenizer = toy.make_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.content }}{% endfor %}"
        "{% if add_generation_prompt %}={% endif %}"
    )
    return tokenizer


def kept(*filters):
    return filtered(PROBLEMS, filters, source="file")["prompt"][:]


def test_problems_are_chosen_by_level_and_an_unknown_rate_is_no_level():
    assert kept(by_level([3], "pass_rate")) == ["1+1=", "10+10="]
    assert kept(by_level(range(7), "pass_rate")) == ["1+1=", "1+1=", "10+10=", "1="]


def test_problems_are_chosen_by_the_tokens_of_their_prompt():
    tokenizer = toy.make_tokenizer()  # One token per character.
    assert kept(by_prompt_length(4, tokenizer)) == ["1+1=", "1+1=", "1=", "="]
    assert kept(by_level([3], "pass_rate"), by_prompt_length(4, tokenizer)) == ["1+1="]


def test_a_conversation_is_measured_through_the_chat_template():
    messages = [{"role": "system", "content": "1"}, {"role": "user", "content": "1+1"}]
    assert num_tokens(messages, chat_tokenizer(), {}) == 5


def test_no_filter_keeps_everything():
    assert filtered(PROBLEMS, [], source="file").to_list() == PROBLEMS.to_list()


def test_when_nothing_is_left_each_filter_says_how_many_it_took():
    filters = [by_level([3], "pass_rate"), by_prompt_length(2, toy.make_tokenizer())]
    words = r"no problem is left of the 5 in file: difficulty_levels \[3\] took 3, max_prompt_le"
    with pytest.raises(ValueError, match=words + "ngth 2 took 2$"):
        filtered(PROBLEMS, filters, source="file")


@pytest.mark.parametrize("levels", [[], [7], [-1], [3, 7]])
def test_a_level_that_does_not_exist_is_refused(levels):
    with pytest.raises(ValueError, match="allowed are levels from 0 to 6"):
        by_level(levels, "pass_rate")


def test_a_length_below_one_token_is_refused():
    with pytest.raises(ValueError, match="max_prompt_length 0: must be at least 1"):
        by_prompt_length(0, toy.make_tokenizer())


def test_a_rate_in_percent_is_refused():
    percent = Dataset.from_list([{"prompt": "1", "pass_rate": 40.0}])
    with pytest.raises(ValueError, match=r"pass rate must be in \[0, 1\]; got 40.0"):
        filtered(percent, [by_level([3], "pass_rate")], source="file")


def test_conversations_need_a_chat_template():
    conversation = [[{"role": "user", "content": "1"}]]
    check_chat_template(["1"], toy.make_tokenizer(), "org/base")
    check_chat_template(conversation, chat_tokenizer(), "org/chat")
    with pytest.raises(ValueError, match=r"'org/base' has no chat template.*instruction-tuned"):
        check_chat_template(conversation, toy.make_tokenizer(), "org/base")
