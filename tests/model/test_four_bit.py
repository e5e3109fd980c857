"""A 4-bit base: trains, and its gradients are those of the same weights in full precision."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from test_prefix_batch import PROMPTS, REPLIES
from transformers import LlamaConfig

import conftest
from conftest import make_model
from selfsame.model.load import load_roles
from selfsame.model.prefix_batch import prefix_batch, reply_logprobs
from selfsame.model.settings import LoraSettings, ModelSettings

functional = pytest.importorskip("bitsandbytes.functional", reason="the extra `quant` is not installed")
# Blocks of 64 numbers share a scale, so a layer must be at least that wide.
WIDE = LlamaConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256
)


def load(folder, four_bit):
    roles = load_roles(
        ModelSettings(base=str(folder), dtype="float32", max_length=128, four_bit=four_bit, lora=LoraSettings(rank=4))
    )
    roles.add("sft")
    torch.manual_seed(1)
    for p in roles.parameters("sft").values():
        torch.nn.init.normal_(p, std=0.1)
    return roles


def gradients(roles):
    parameters = roles.parameters("sft")
    with roles.use("sft") as model:
        total = reply_logprobs(model, prefix_batch(PROMPTS, REPLIES))[0].sum()
    return float(total.detach()), torch.autograd.grad(total, list(parameters.values()))


@pytest.fixture
def wide(tmp_path, monkeypatch):
    monkeypatch.setitem(conftest.FAMILIES, "llama", lambda v: LlamaConfig(**{**WIDE.to_dict(), "vocab_size": v}))
    return make_model(tmp_path, "llama")


def test_gradients_are_those_of_the_dequantised_weights(wide):
    four_bit, full = load(wide, True), load(wide, False)
    linear = dict(full.base.named_modules())
    quantised = 0
    for name, layer in four_bit.base.named_modules():
        if type(layer).__name__ == "Linear4bit":
            layer = getattr(layer, "base_layer", layer)
            target = linear[name.removesuffix(".base_layer")]
            target = getattr(target, "base_layer", target)
            target.weight.data = functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
            quantised += 1
    assert quantised >= 14
    (total, ours), (expected, theirs) = gradients(four_bit), gradients(full)
    assert total == pytest.approx(expected, rel=1e-3)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3 * float(other.abs().max()) + 1e-6, rtol=1e-2)
    assert sum(float(one.abs().max()) > 0 for one in ours) >= 28  # every LoRA matrix


def test_bitsandbytes_is_imported_for_4_bit_bases_alone(wide):
    """It takes 3 seconds of every start, for it imports PyTorch's compiler."""
    code = """
import sys, selfsame.pipeline
from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings

def kinds(four_bit):
    roles = load_roles(ModelSettings(base=sys.argv[1], max_length=128, four_bit=four_bit))
    roles.add("sft")
    return {type(layer).__name__ for layer in roles.peft.modules()}

assert "Linear4bit" not in kinds(False)
assert "bitsandbytes" not in sys.modules and "torch._inductor.compile_fx" not in sys.modules
assert "Linear4bit" in kinds(True) and "bitsandbytes" in sys.modules
import peft.helpers, peft.import_utils
assert peft.import_utils.is_bnb_4bit_available() and peft.helpers.bnb.functional.dequantize_4bit
"""
    done = subprocess.run([sys.executable, "-c", code, wide], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
