"""Each fast path computes what the slow one computes: attention as matrix products, LoRA as one operation."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from test_prefix_batch import PROMPTS, REPLIES, load
from transformers import AutoModelForCausalLM, GPTJConfig, GptOssConfig, LlamaConfig

from conftest import FAMILIES, make_tokenizer
from selfsame.model.attention import MATMUL, matmul_attention
from selfsame.model.base import load_base_model
from selfsame.model.fused import FusedLinear
from selfsame.model.load import load_roles
from selfsame.model.prefix_batch import prefix_batch, reply_logprobs
from selfsame.model.settings import LoraSettings, ModelSettings


def gradients(roles, role="sft"):
    parameters = roles.parameters(role)
    with roles.use(role) as model:
        logprobs_NR, _ = reply_logprobs(model, prefix_batch(PROMPTS, REPLIES))
    weights_NR = torch.linspace(0.5, 1.5, logprobs_NR.numel()).view_as(logprobs_NR)
    return logprobs_NR.detach(), torch.autograd.grad((logprobs_NR * weights_NR).sum(), list(parameters.values()))


def as_peft(roles):
    """Back to PEFT's own layers."""
    layers = [m for m in roles.peft.modules() if isinstance(m, LoraLinear)]
    assert layers and all(type(layer) is FusedLinear for layer in layers)
    for layer in layers:
        layer.__class__ = LoraLinear


def assert_same(ours, theirs):
    """Log-probabilities within 1e-5, gradients within 1e-4 of the largest."""
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-5)
    assert len(ours[1]) == len(theirs[1]) > 4
    for one, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()) + 1e-7, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_matmul_attention_is_attention(tiny_models, family):
    roles = load(tiny_models(family))
    roles.base.set_attn_implementation("eager")
    expected = gradients(roles)
    roles.base.set_attn_implementation(MATMUL)
    assert_same(gradients(roles), expected)
    ids = torch.tensor([PROMPTS[0], PROMPTS[0][::-1]])
    keep = torch.tensor([[1] * 11, [0] * 4 + [1] * 7])
    with roles.use("sft") as model, torch.no_grad():
        ours = model(input_ids=ids, attention_mask=keep).logits
        roles.base.set_attn_implementation("eager")
        theirs = model(input_ids=ids, attention_mask=keep).logits
    torch.testing.assert_close(ours[keep.bool()], theirs[keep.bool()], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_lora_is_pefts_lora(tiny_models, family):
    roles = load(tiny_models(family))
    fused = gradients(roles)
    as_peft(roles)
    assert_same(fused, gradients(roles))


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # Linear and Conv1D
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_gradients_a_layer_gives_the_same_bits(tiny_models, family, dtype):
    base = str(tiny_models(family))
    roles = load_roles(ModelSettings(base=base, dtype=dtype, max_length=128, lora=LoraSettings(rank=4)))
    roles.add("sft")
    with roles.use("sft") as model:
        layers = [layer for layer in model.modules() if type(layer) is FusedLinear]
        assert layers
        for layer in layers:
            torch.nn.init.normal_(layer.lora_B["sft"].weight)
            x = torch.randn(2, 3, layer.in_features, dtype=getattr(torch, dtype))
            with torch.enable_grad():
                wanted = layer(x)
            assert wanted.requires_grad
            for without in (torch.no_grad, torch.inference_mode):
                with without():
                    assert torch.equal(layer(x), wanted)


def test_a_layer_falls_back_to_pefts_code_where_it_must(tiny_models, monkeypatch):
    roles = load_roles(
        ModelSettings(base=str(tiny_models()), dtype="float32", max_length=128, lora=LoraSettings(rank=4, dropout=0.5))
    )
    roles.add("sft")
    calls = []
    plain = LoraLinear.forward
    monkeypatch.setattr(LoraLinear, "forward", lambda *a, **k: calls.append(1) or plain(*a, **k))
    batch = prefix_batch(PROMPTS, REPLIES)
    with roles.use("sft") as model:
        reply_logprobs(model, batch)
    assert not calls  # out of training nothing is dropped
    with roles.training("sft") as model:
        reply_logprobs(model, batch)
    dropped = len(calls)
    assert dropped > 0
    with roles.use(None) as model:
        reply_logprobs(model, batch)
    assert len(calls) > dropped


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_base_stays_close_to_pefts_float32_adapters(tiny_models, dtype):
    """The adapter's product is rounded like the layer's own: log-probabilities move by the rounding of the layer."""
    roles = load_roles(ModelSettings(base=str(tiny_models()), dtype=dtype, max_length=128))
    roles.add("sft")
    torch.manual_seed(1)
    for p in roles.parameters("sft").values():
        torch.nn.init.normal_(p, std=0.05)
    exact = load_roles(ModelSettings(base=str(tiny_models()), dtype="float32", max_length=128))
    exact.add("sft")
    exact.load_state("sft", roles.state("sft"))
    wanted, slopes = gradients(exact)

    def error():
        found, grads = gradients(roles)
        lengths = [g.norm() for g in slopes]
        turned = sum((g - s).norm() for g, s in zip(grads, slopes, strict=True)) / sum(lengths)
        return float((found - wanted).abs().mean()), float(turned)

    fused = error()
    as_peft(roles)
    peft = error()
    assert fused[0] < 1.5 * peft[0] + 0.01 and fused[1] < 1.5 * peft[1] + 0.01, (fused, peft)


def test_lora_with_a_bias_or_a_base_that_learns_is_left_to_peft(tiny_models):
    for change in ("lora_bias", "base"):
        roles = load(tiny_models())
        layer = next(m for m in roles.peft.modules() if isinstance(m, FusedLinear))
        x = torch.randn(3, layer.in_features)
        if change == "base":
            layer.base_layer.weight.requires_grad_(True)
            layer(x).sum().backward()
            assert layer.base_layer.weight.grad is not None
        else:
            layer.lora_bias["sft"] = True
            layer.lora_B["sft"].bias = torch.nn.Parameter(torch.full((layer.out_features,), 5.0))
            torch.testing.assert_close(layer(x), LoraLinear.forward(layer, x))


# transformers' modules look their attention up by name in a table of their own (GPT-J), need sinks (GPT-OSS), or take it from
# the registry (Llama).
@pytest.mark.parametrize(("kind", "expected"), [("llama", MATMUL), ("gptj", "eager"), ("gpt_oss", "eager")])
def test_attention_is_chosen_by_hardware_and_family(tmp_path, kind, expected):
    sizes = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {
        "llama": lambda: LlamaConfig(intermediate_size=64, **sizes),
        "gptj": lambda: GPTJConfig(vocab_size=400, n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
        "gpt_oss": lambda: GptOssConfig(
            intermediate_size=32, num_local_experts=2, num_experts_per_tok=1, num_key_value_heads=2, head_dim=8, **sizes
        ),
    }[kind]()
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer = make_tokenizer()
    for dtype, wanted in (("bfloat16", expected), ("float32", "eager" if expected == "eager" else "sdpa")):
        model = load_base_model(ModelSettings(base=str(tmp_path), dtype=dtype), tokenizer)
        assert model.config._attn_implementation == wanted
        assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()


def test_what_the_attention_does_not_know_is_refused():
    states = torch.randn(1, 2, 3, 4)
    for extra in ({"dropout": 0.1}, {"s_aux": torch.zeros(2)}):
        with pytest.raises(NotImplementedError):
            matmul_attention(None, states, states, states, None, **extra)
    bias = torch.randn(1, 2, 3, 3)
    ours, _ = matmul_attention(None, states, states, states, None, position_bias=bias)
    theirs = torch.nn.functional.scaled_dot_product_attention(states, states, states, attn_mask=bias)
    torch.testing.assert_close(ours, theirs.transpose(1, 2))
