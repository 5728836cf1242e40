"""Models from folders as training leaves them; the hub is never reached."""

import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from monitor_service.errors import InvalidInput
from trainer import toy
from trainer.evaluate import models


@pytest.fixture
def saved(tmp_path):
    """A folder with a whole model, and the model."""
    model = toy.make_model(seed=1)
    model.save_pretrained(tmp_path / "model")
    toy.make_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model", model


def same_weights(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x.float(), y.float()) for (a, x), (b, y) in pairs)


def test_a_folder_is_loaded_for_evaluation(saved):
    folder, trained = saved
    model, tokenizer = models.load(str(folder), device="cpu")
    assert same_weights(model, trained)
    assert not model.training
    assert tokenizer("1+1=")["input_ids"] == toy.make_tokenizer()("1+1=")["input_ids"]


def test_the_type_of_the_weights_can_be_chosen(saved):
    model, _ = models.load(str(saved[0]), dtype="bfloat16", device="cpu")
    assert model.dtype == torch.bfloat16


def test_a_lora_adapter_is_merged_into_its_base(saved, tmp_path):
    folder, _ = saved
    base, tokenizer = models.load(str(folder), device="cpu")
    config = LoraConfig(r=2, target_modules=["v_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
    adapted.save_pretrained(tmp_path / "adapter")
    model, own_tokenizer = models.load(str(tmp_path / "adapter"), device="cpu")
    ids = torch.tensor([tokenizer("1+1=")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, adapted.eval()(ids).logits)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    # The adapter's folder has no tokenizer: it is the base's.
    assert own_tokenizer.vocab_size == tokenizer.vocab_size


def write_zero3_shards(folder: Path, model, num_ranks=2):
    """As DeepSpeed 0.19 writes them: each parameter is cut into equal parts, padded at the end."""
    parameters = dict(model.named_parameters())
    flat: list[list[torch.Tensor]] = [[] for _ in range(num_ranks)]
    for parameter in parameters.values():
        size = math.ceil(parameter.numel() / num_ranks)
        padded = torch.zeros(size * num_ranks)
        padded[: parameter.numel()] = parameter.detach().flatten()
        for parts, part in zip(flat, padded.split(size), strict=True):
            parts.append(part)
    (folder / "global_step7").mkdir()
    (folder / "latest").write_text("global_step7")
    for rank, parts in enumerate(flat):
        start = folder / "global_step7" / f"zero_pp_rank_{rank}_mp_rank_00"
        state = {
            "module": {},
            "buffer_names": [],
            "param_shapes": [{name: each.shape for name, each in parameters.items()}],
            "frozen_param_shapes": {},
            "frozen_param_fragments": {},
            "shared_params": {"lm_head.weight": "model.embed_tokens.weight"},
            "ds_version": "0.19.8",
        }
        torch.save(state, f"{start}_model_states.pt")
        shard = {
            "zero_stage": 3,
            "partition_count": num_ranks,
            "fp32_flat_groups": [torch.cat(parts)],
        }
        torch.save({"optimizer_state_dict": shard}, f"{start}_optim_states.pt")


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own, at its import.
def test_the_shards_of_a_deepspeed_checkpoint_are_enough(saved, capsys):
    pytest.importorskip("deepspeed")
    folder, trained = saved
    (folder / "model.safetensors").unlink()
    write_zero3_shards(folder, trained)
    model, _ = models.load(str(folder), device="cpu")
    assert same_weights(model, trained)
    assert capsys.readouterr().out == ""


def test_a_replaced_model_is_another_one(saved):
    folder, _ = saved
    before = models.identity(str(folder))
    assert before["name"] == str(folder)
    toy.make_model(seed=2).save_pretrained(folder)
    assert models.identity(str(folder)) != before
    assert models.identity("Qwen/Qwen2.5-0.5B") == {"name": "Qwen/Qwen2.5-0.5B"}


@pytest.mark.parametrize(
    "name", ["./model", "/nowhere/model", "~/nowhere/at-all", "a/b/c", "model-of-nobody"]
)
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(name):
    with pytest.raises(InvalidInput, match=r"^model: no such folder"):
        models.load(name)


def test_a_slip_below_an_existing_folder_is_no_id_on_the_hub(saved, monkeypatch):
    monkeypatch.chdir(saved[0].parent)
    with pytest.raises(InvalidInput, match=r"^model: no such folder; got 'model/checkpoint-9'"):
        models.load("model/checkpoint-9")


def test_an_unknown_id_on_the_hub_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InvalidInput, match=r"^model: no folder here, nor found on the hub"
    ) as caught:
        models.load("nobody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], r"must hold \*\.safetensors, pytorch_model\*\.bin, or a DeepSpeed checkpoint"),
        (["checkpoint-20/config.json"], "there are checkpoint-20 in it"),
        (["pytorch_model_fsdp_0/.metadata"], "holds FSDP shards; first: accelerate merge-weights"),
    ],
)
def test_a_folder_without_weights_says_what_it_has(tmp_path, files, words):
    for name in files:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(InvalidInput, match=f"^model: .*{words}"):
        models.load(str(tmp_path))


def test_weights_without_a_configuration_are_one_line(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InvalidInput, match=r"^model: cannot be loaded") as caught:
        models.load(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "int8"}, "dtype: must be one of auto, float32, bfloat16, float16; got 'int8'"),
        ({"device": "cuda:97"}, "device: not usable here"),
        ({"device": "gpu"}, "device: not usable here"),
    ],
)
def test_a_type_or_device_that_does_not_exist_is_refused(saved, options, words):
    with pytest.raises(InvalidInput, match=f"^{words}"):
        models.load(str(saved[0]), **options)


@pytest.mark.parametrize("name", ["toy", "adapter"])
def test_vllm_takes_whole_models_only(name, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"^model: must be a whole model for vLLM"):
        models.load_tokenizer(name if name == "toy" else str(tmp_path / name))
