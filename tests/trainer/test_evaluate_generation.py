"""Generation with real models, tiny and untrained; vLLM through a stand-in of its API."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model

from monitor_service.errors import InvalidInput
from trainer import toy
from trainer.evaluate.generation import (
    Completion,
    HuggingFaceGenerator,
    Sampling,
    chosen_format,
    encode,
)
from trainer.evaluate.vllm_generation import VllmGenerator

PROMPTS = ["1+1=", "12+30=", "5+5=", "99+99="]
CHAT = (
    "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}={% endif %}"
)
GREEDY = Sampling(max_new_tokens=4)
DRAWN = Sampling(max_new_tokens=4, temperature=1.0, seed=7)


@pytest.fixture
def model():
    return toy.make_model(seed=1)


@pytest.fixture
def tokenizer():
    return toy.make_tokenizer()


def one_by_one(model, tokenizer, prompt, num_tokens):
    """Greedy decoding without generate, padding or batches."""
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    for _ in range(num_tokens):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_and_padding_change_no_answer_and_no_order(model, tokenizer, batch_size):
    generator = HuggingFaceGenerator(model, tokenizer, batch_size=batch_size)
    answers = generator.generate(PROMPTS, 1, GREEDY)
    expected = [one_by_one(model.eval(), tokenizer, prompt, 4) for prompt in PROMPTS]
    assert [one.text for [one] in answers] == expected


def test_a_seed_gives_the_same_samples_and_leaves_the_random_state_alone(model, tokenizer):
    generator = HuggingFaceGenerator(model, tokenizer)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = generator.generate(PROMPTS, 5, DRAWN)
    assert torch.rand(1) == expected
    assert generator.generate(PROMPTS, 5, DRAWN) == first
    other = Sampling(max_new_tokens=4, temperature=1.0, seed=8)
    assert generator.generate(PROMPTS, 5, other) != first
    assert [len(group) for group in first] == [5] * 4


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode_and_its_own_defaults(model, tokenizer, training):
    model.train(training)
    own = model.generation_config
    HuggingFaceGenerator(model, tokenizer).generate(PROMPTS, 1, GREEDY)
    assert model.training is training
    assert model.generation_config is own


def test_a_failure_restores_them_too(model, tokenizer):
    model.train()
    own = model.generation_config

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HuggingFaceGenerator(model, tokenizer).generate(PROMPTS, 1, GREEDY, stop)
    assert model.training
    assert model.generation_config is own


def test_defaults_of_the_models_folder_do_not_alter_what_is_drawn(model, tokenizer):
    generator = HuggingFaceGenerator(model, tokenizer)
    plain = generator.generate(PROMPTS, 4, DRAWN)
    model.generation_config.update(
        repetition_penalty=50.0, top_k=1, temperature=0.01, min_new_tokens=4
    )
    assert generator.generate(PROMPTS, 4, DRAWN) == plain


def test_top_p_and_a_low_temperature_narrow_the_draw(model, tokenizer):
    generator = HuggingFaceGenerator(model, tokenizer)
    [[greedy]] = generator.generate(PROMPTS[:1], 1, GREEDY)
    cold = Sampling(max_new_tokens=4, temperature=1e-4)
    narrow = Sampling(max_new_tokens=4, temperature=1.0, top_p=1e-6)
    for sampling in (cold, narrow):
        [group] = generator.generate(PROMPTS[:1], 8, sampling)
        assert {one.text for one in group} == {greedy.text}
    [group] = generator.generate(PROMPTS[:1], 8, DRAWN)
    assert len({one.text for one in group}) > 1


def test_a_completion_says_how_long_it_is_and_whether_it_ended(model, tokenizer):
    [group] = HuggingFaceGenerator(model, tokenizer).generate(["1+1="], 64, DRAWN)
    assert {one.finished for one in group} == {True, False}
    for one in group:
        # One token a character; the end counts and is not shown. <unk> and its like are not
        # shown either.
        assert len(one.text) <= one.num_tokens - one.finished
        assert one.finished or one.num_tokens == 4


def test_the_models_own_end_token_ends_a_completion_too(model, tokenizer):
    generator = HuggingFaceGenerator(model, tokenizer)
    before = generator.generate(["1+1="], 1, GREEDY)[0][0]
    assert not before.finished
    first_token = tokenizer(before.text)["input_ids"][0]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, first_token]
    after = generator.generate(["1+1="], 1, GREEDY)[0][0]
    assert (after.num_tokens, after.finished) == (1, True)


def test_no_pad_token_is_needed(model, tokenizer):
    expected = HuggingFaceGenerator(model, tokenizer).generate(PROMPTS, 1, GREEDY)
    tokenizer.pad_token = None
    assert HuggingFaceGenerator(model, tokenizer).generate(PROMPTS, 1, GREEDY) == expected


def test_a_model_with_a_lora_adapter_generates_as_such(model, tokenizer):
    plain = HuggingFaceGenerator(model, tokenizer).generate(PROMPTS, 1, GREEDY)
    config = LoraConfig(r=2, target_modules=["v_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    generator = HuggingFaceGenerator(adapted, tokenizer)
    assert generator.generate(PROMPTS, 1, GREEDY) == plain
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert generator.generate(PROMPTS, 1, GREEDY) != plain


def test_progress_counts_every_completion(model, tokenizer):
    done: list[int] = []
    HuggingFaceGenerator(model, tokenizer, batch_size=5).generate(PROMPTS, 3, DRAWN, done.append)
    assert done == [5, 5, 2]


def test_a_conversation_goes_through_the_chat_template(tokenizer):
    tokenizer.chat_template = CHAT
    [chat, raw] = encode(tokenizer, [[{"role": "user", "content": "1+1"}], "1+1="])
    assert (tokenizer.decode(chat), tokenizer.decode(raw)) == ("1+1 =", "1+1=")


def test_auto_is_chat_where_the_model_can_and_raw_where_not(tokenizer):
    assert chosen_format(["1"], tokenizer, "auto") == ["1"]
    tokenizer.chat_template = CHAT
    as_chat = [[{"role": "user", "content": "1"}]]
    assert chosen_format(["1"], tokenizer, "auto") == as_chat
    assert chosen_format(["1"], tokenizer, "chat") == as_chat
    assert chosen_format(as_chat, tokenizer, "chat") == as_chat
    assert chosen_format(["1"], tokenizer, "raw") == ["1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, r"max_new_tokens: must be in \[1, 1048576\]; got 0"),
        ({"max_new_tokens": 1 << 30}, "max_new_tokens: must be in"),
        ({"temperature": 0.0}, "temperature: must be above 0 and finite; leave it out for greedy"),
        ({"temperature": -1.0}, "temperature: must be above 0"),
        ({"temperature": float("nan")}, "temperature: must be above 0"),
        ({"top_p": 0.0, "temperature": 1.0}, r"top_p: must be in \(0, 1\]; got 0"),
        ({"top_p": 0.9}, "top_p: must be 1 without a temperature"),
        ({"seed": -1}, "seed: must be in"),
    ],
)
def test_a_sampling_that_means_nothing_is_refused(options, words):
    with pytest.raises(InvalidInput, match=words):
        Sampling(**options)


@pytest.mark.parametrize(
    ("prompts", "num_samples", "sampling", "words"),
    [
        (PROMPTS, 2, GREEDY, "num_samples: must be 1 without a temperature: greedy"),
        (PROMPTS, 0, DRAWN, "num_samples: must be at least 1; got 0"),
        ([""], 1, GREEDY, "prompt: must have at least one token"),
        (
            PROMPTS,
            1,
            Sampling(max_new_tokens=60),
            "max_new_tokens: must be at most 58: a context of 64 less 6 tokens of prompt; got 60",
        ),
        (["1" * 64], 1, GREEDY, "max_new_tokens: has no room: the longest prompt, 64, fills"),
        ([[{"role": "user", "content": "1"}]], 1, GREEDY, "prompt_format: .* no chat template"),
    ],
)
def test_what_cannot_be_generated_is_refused_at_once(
    model, tokenizer, prompts, num_samples, sampling, words
):
    with pytest.raises(InvalidInput, match=words):
        HuggingFaceGenerator(model, tokenizer).generate(prompts, num_samples, sampling)


@pytest.mark.parametrize(
    ("prompt_format", "words"),
    [
        ("chat", "prompt_format: must be raw or auto.* no chat template"),
        ("alpaca", "prompt_format: must be one of auto, chat, raw; got 'alpaca'"),
    ],
)
def test_a_format_that_cannot_be_is_refused(tokenizer, prompt_format, words):
    with pytest.raises(InvalidInput, match=words):
        chosen_format(["1"], tokenizer, prompt_format)


def test_an_empty_batch_is_refused(model, tokenizer):
    with pytest.raises(InvalidInput, match="batch_size: must be at least 1; got 0"):
        HuggingFaceGenerator(model, tokenizer, batch_size=0)


class StandInForLLM:
    """The part of `vllm.LLM` that is used; answers with the prompt's length and its seed."""

    def __init__(self, *, model, **options):
        self.options = {"model": model, **options}
        self.calls = []
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))

    def generate(self, prompts, *, sampling_params, use_tqdm):
        assert not use_tqdm
        self.calls.append((prompts, sampling_params))
        return [
            SimpleNamespace(
                outputs=[
                    SimpleNamespace(
                        text=f"{len(prompt['prompt_token_ids'])}/{number}",
                        token_ids=[4, 5, 2],
                        finish_reason="length" if number else "stop",
                    )
                    for number in range(params.n)
                ]
            )
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]


@pytest.fixture
def vllm(monkeypatch):
    module = ModuleType("vllm")
    vars(module).update(LLM=StandInForLLM, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.mark.usefixtures("vllm")
def test_vllm_gets_token_ids_and_a_seed_for_each_prompt(tokenizer):
    generator = VllmGenerator("m", tokenizer, batch_size=6, dtype="auto", seed=7)
    done: list[int] = []
    completions = generator.generate(PROMPTS, 2, DRAWN, done.append)
    assert generator._engine.options == {"model": "m", "dtype": "auto", "seed": 7}
    assert [[one.text for one in group] for group in completions] == [
        ["4/0", "4/1"],
        ["6/0", "6/1"],
        ["4/0", "4/1"],
        ["6/0", "6/1"],
    ]
    assert completions[0] == [
        Completion(text="4/0", num_tokens=3, finished=True),
        Completion(text="4/1", num_tokens=3, finished=False),
    ]
    # Lots of 6 sequences are 3 prompts of 2.
    assert done == [6, 2]
    params = [one for _, lot in generator._engine.calls for one in lot]
    assert len({one.seed for one in params}) == len(PROMPTS)
    assert {(one.n, one.temperature, one.top_p, one.max_tokens) for one in params} == {
        (2, 1.0, 1.0, 4)
    }


@pytest.mark.usefixtures("vllm")
def test_vllm_is_greedy_at_temperature_zero_and_bounded_by_its_context(tokenizer):
    generator = VllmGenerator("m", tokenizer)
    generator.generate(PROMPTS, 1, GREEDY)
    assert generator._engine.calls[0][1][0].temperature == 0.0
    with pytest.raises(InvalidInput, match="max_new_tokens: must be at most 58"):
        generator.generate(PROMPTS, 1, Sampling(max_new_tokens=60))


def test_a_missing_vllm_is_said_in_one_line(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InvalidInput, match=r"backend: needs vLLM.*pip install 'acr-monitor\[vllm"):
        VllmGenerator("m", tokenizer)
