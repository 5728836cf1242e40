"""The tokenizer and the untrained model that all toy tasks share."""

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
SYMBOLS = (PAD, BOS, EOS, UNK, *"0123456789+= ")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character of `SYMBOLS`, padded on the left; adds no special tokens itself."""
    vocabulary = {symbol: token_id for token_id, symbol in enumerate(SYMBOLS)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    backend.pre_tokenizer = Split(Regex("."), behavior="isolated")
    backend.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_model(*, seed: int = 0) -> Qwen2ForCausalLM:
    """An untrained float32 Qwen2 for `make_tokenizer`; leaves the global random state alone."""
    config = Qwen2Config(
        vocab_size=len(SYMBOLS),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=SYMBOLS.index(PAD),
        bos_token_id=SYMBOLS.index(BOS),
        eos_token_id=SYMBOLS.index(EOS),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)
