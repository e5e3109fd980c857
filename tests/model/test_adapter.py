"""Adapters of other tools: loaded as PEFT loads them, with their tokenizer and template, or refused for the true reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from conftest import CHATML, GROUPED, make_model
from selfsame.errors import ConfigError
from selfsame.model.adapter import load_adapter, read_adapter_config
from selfsame.model.settings import ModelSettings
from selfsame.types import Prompt

QV: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}
KINDS: dict[str, dict[str, Any]] = {
    "plain": QV,
    "pattern": {"target_modules": r".*\.(q|v)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "rslora": QV | {"use_rslora": True},
    "dora": QV | {"use_dora": True},
    "ranks": QV | {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r".*\.1\..*v_proj": 32}},
    "some layers": QV | {"layers_to_transform": [1]},
    "saved embeddings": QV | {"modules_to_save": ["embed_tokens", "lm_head"]},
    "embeddings as targets": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "biases": QV | {"bias": "lora_only"},
}
OTHER = CHATML.replace("<|im_start|>", "<|turn|>")


def save_adapter(folder: Path, base: Path, tokenizer: Any = None, rows: int = 0, **config: Any) -> Path:
    """An adapter as a tool saves it, far from zero; on a vocabulary of `rows` tokens, if that is given."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **config))
    for parameter in made.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    made.save_pretrained(str(folder))
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path, base: Path) -> Any:
    return load_adapter(folder, ModelSettings(base=str(base), dtype="float32", max_length=128), "policy")


def difference(roles: Any, folder: Path) -> float:
    """The largest difference between log-probabilities here and those of PEFT by itself."""
    prompt = Prompt(("I keep bees.",), ("Hello.", "Hi there!", "And you?"))
    ids = torch.tensor([[*roles.processor.encode_prompt(prompt), *roles.processor.encode_reply("Bees.")]])
    theirs = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad(), roles.use("policy") as ours:
        both = [model(input_ids=ids).logits[0].float().log_softmax(-1) for model in (ours, theirs)]
    with torch.no_grad(), roles.use(None) as base:
        assert not torch.allclose(base(input_ids=ids).logits[0].log_softmax(-1), both[0], atol=0.05)
    return float((both[0] - both[1]).abs().max())


def extended(base: Path, words: list[str], template: str | None = None) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": words})
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_lora_gives_pefts_own_probabilities(tiny_models, tmp_path, kind):
    base = tiny_models("llama", chat=True)
    folder = save_adapter(tmp_path / "a", base, AutoTokenizer.from_pretrained(base), **KINDS[kind])
    assert difference(load(folder, base), folder) < 1e-4


@pytest.mark.parametrize("size", ["tokenizer", "multiple", "smaller"])
@pytest.mark.parametrize("saved", [["embed_tokens", "lm_head"], None])
def test_new_tokens_come_with_the_adapters_tokenizer_and_template(tmp_path, size, saved):
    """Tools make the vocabulary as large as the tokenizer, or a multiple of 64; a base's spare rows may be dropped, too."""
    base = make_model(tmp_path / "base", "llama")
    if size == "smaller":
        padded = AutoModelForCausalLM.from_pretrained(base)
        padded.resize_token_embeddings(512)
        padded.save_pretrained(base)
    tokenizer = extended(base, ["<|turn|>", "<|im_end|>"], OTHER)
    rows = 448 if size == "multiple" else len(tokenizer)
    folder = save_adapter(tmp_path / "a", base, tokenizer, rows, **QV, modules_to_save=saved)
    roles = load(folder, base)
    assert roles.processor.render(Prompt(("x",))).startswith("<|turn|>system\n")
    assert roles.base.get_input_embeddings().weight.shape[0] == rows
    assert difference_of_saved(roles, folder, base, rows) < 1e-4


def difference_of_saved(roles: Any, folder: Path, base: Path, rows: int) -> float:
    """As `difference`, on a base that is resized first: `AutoPeft` only ever makes it as large as the tokenizer."""
    from peft import PeftModel

    plain = AutoModelForCausalLM.from_pretrained(base)
    plain.resize_token_embeddings(rows)
    theirs = PeftModel.from_pretrained(plain, str(folder)).eval()
    ids = torch.tensor([roles.processor.encode_prompt(Prompt(("I keep bees.",), ("Hello.",)))])
    with torch.no_grad(), roles.use("policy") as ours:
        both = [model(input_ids=ids).logits[0].float().log_softmax(-1) for model in (ours, theirs)]
    return float((both[0] - both[1]).abs().max())


def test_a_token_that_no_prompt_has_needs_no_embedding(tiny_models, tmp_path):
    base = tiny_models("llama", chat=True)
    folder = save_adapter(tmp_path / "a", base, extended(base, ["<|pad|>"]), **QV)
    assert load(folder, base).weighted == ("policy",)
    lacking = save_adapter(tmp_path / "b", base, extended(base, ["<|turn|>"], OTHER), **QV)
    with pytest.raises(ConfigError, match=r"holds no embedding for '<\|turn\|>': train it with modules_to_save"):
        load(lacking, base)


def test_without_a_tokenizer_it_speaks_as_its_base(tiny_models, tmp_path):
    base = tiny_models("llama", chat=True)
    roles = load(save_adapter(tmp_path / "a", base, **QV), base)
    assert roles.processor.format.end == "<|im_end|>"


def write_config(folder: Path, **changed: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return folder


def test_what_cannot_be_used_is_refused_for_the_true_reason(tiny_models, tmp_path):
    base = tiny_models("llama", chat=True)
    made = [save_adapter(tmp_path / name, base, **QV) for name in "abcdefg"]
    other = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]),
    )
    other.save_pretrained(str(tmp_path / "ia3"))
    tensors = load_file(made[2] / "adapter_model.safetensors")
    save_file({n: t for n, t in tensors.items() if "1.self_attn.v" not in n}, made[2] / "adapter_model.safetensors")
    save_file(tensors | {"base_model.model.score.weight": torch.ones(2, 2)}, made[3] / "adapter_model.safetensors")
    (made[4] / "adapter_model.safetensors").write_bytes(b"cut")
    (made[5] / "adapter_config.json").write_text("{")
    reasons = {
        tmp_path / "ia3": "an adapter of the kind IA3, and Selfsame reads LoRA: merge it",
        write_config(made[0], task_type="SEQ_CLS"): "an adapter for SEQ_CLS, not for text",
        write_config(made[1], target_modules=["c_attn"]): "does not fit the base .*c_attn.*--model.base",
        made[2]: r"holds no weights for .*1\.self_attn\.v_proj",
        made[3]: r"1 of its tensors have no place there, the first is base_model\.model\.score\.weight",
        made[4]: r"holds no readable adapter_model\.safetensors",
        made[5]: r"adapter_config\.json cannot be read",
        write_config(made[6], layer_replication=[[0, 2]]): r"repeats layers \(layer_replication is set\): merge it",
    }
    for folder, reason in reasons.items():
        with pytest.raises(ConfigError, match=reason):
            load(folder, base)


def test_another_base_is_named_as_the_cause(tiny_models, tmp_path):
    folder = save_adapter(tmp_path / "a", tiny_models("llama", chat=True), **QV)
    wide = make_model(tmp_path / "wide", "llama", CHATML)
    AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=402, **GROUPED | {"hidden_size": 64})).save_pretrained(wide)
    for base, reason in ((tiny_models("gpt2", chat=True), "q_proj"), (wide, "size mismatch")):
        with pytest.raises(ConfigError, match=f"does not fit the base .*{reason}.*name its own base by --model.base"):
            load(folder, base)
    assert read_adapter_config(folder).r == 4
