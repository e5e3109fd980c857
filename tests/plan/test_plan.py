"""What is planned is what happens: parameters, kept activations and the cache against the real trainers, advice that holds."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stages import examples, ppo_trainer
from test_roles import load
from transformers import LlamaConfig, LlamaForCausalLM

from selfsame.config import Config, merge_configs
from selfsame.data.processor import EncodedDialogue
from selfsame.model.load import load_roles
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.plan.advise import advise
from selfsame.plan.estimate import Plan, make_probe, plan
from selfsame.plan.hardware import DECODING_SHARE, GPUS, TRAINING_SHARE, Hardware, hardware
from selfsame.plan.probe import decoding_pass
from selfsame.plan.skeleton import add_role, base_parameters, find_processor, role_parameters, skeleton
from selfsame.plan.stages import Probe
from selfsame.plan.workload import Workload, assumed, spread
from selfsame.rollout.decoding import DecodingState
from selfsame.training.settings import PPOSettings, SFTSettings
from selfsame.training.sft import SFTTrainer

CPU = Hardware("cpu", 64e9, {"float32": 1e11, "bfloat16": 2e11}, 1e10, launch=0.0)
FACTOR = 1.5
FAMILIES = ("llama", "gpt2", "qwen3", "gemma2")


def settings_of(folder: Any, **more: Any) -> ModelSettings:
    return ModelSettings(base=str(folder), lora=LoraSettings(rank=4), **{"dtype": "float32", "max_length": 128} | more)


def kept(roles: Any, loss: Any) -> float:
    """Bytes that autograd keeps for the backward pass of `loss()`, beside weights and adapters."""
    weights = {p.untyped_storage().data_ptr() for p in roles.peft.parameters()}
    found: dict[int, tuple[int, Any]] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # kept, so that no address is used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss()
    return float(sum(size for size, _ in found.values()))


def probe_on(settings: ModelSettings, work: Workload, training: dict[str, Any] | None = None) -> Probe:
    config = merge_configs(
        Config(),
        {
            "model": settings.model_dump(),
            "training": training or {},
            "sampling": {"max_new_tokens": 10},
        },
    )
    return make_probe(config, CPU, work)


def a_workload(rows: Any = (), prompts: Any = ()) -> Workload:
    rows, prompts = sorted(rows, key=lambda row: len(row.ids)), sorted(prompts, key=len)
    return Workload(tuple(rows), tuple(prompts), (([0] * 9, [0] * 3, [0] * 4),), len(rows), 0, "a test")


# --- against the real thing


@pytest.mark.parametrize("four_layers", [None, 2])
def test_parameters_are_those_of_the_bundled_model(four_layers):
    settings = ModelSettings(lora=LoraSettings(layers=four_layers))
    real, ghost = load_roles(settings), skeleton(settings, CPU, find_processor(settings))
    assert sum(p.numel() for p in base_parameters(ghost).values()) == sum(p.numel() for p in real.base.parameters())
    for role in ("sft", "reward"):
        add_role(ghost, role)
        real.add(role)
        assert role_parameters(ghost, role) == sum(p.numel() for p in real.parameters(role).values()) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_of_other_families_with_new_tokens(tiny_models, family):
    settings = settings_of(tiny_models(family))
    real, ghost = load_roles(settings), skeleton(settings, CPU, find_processor(settings))
    assert sum(p.numel() for p in base_parameters(ghost).values()) == sum(p.numel() for p in real.base.parameters())
    assert ghost.new_tokens == real.new_tokens
    add_role(ghost, "sft")
    real.add("sft")
    assert role_parameters(ghost, "sft") == sum(p.numel() for p in real.parameters("sft").values())


@pytest.mark.parametrize(
    ("family", "dtype"),
    [("bundled", "float32"), ("bundled", "bfloat16"), *((family, "float32") for family in FAMILIES)],
)
def test_sft_keeps_what_was_planned(tiny_models, family, dtype):
    settings = settings_of("selfsame-9m" if family == "bundled" else tiny_models(family), dtype=dtype)
    roles = load_roles(settings)
    trainer = SFTTrainer(roles, train=examples(), settings=SFTSettings(batch_size=3))
    rows = trainer.collect(0)
    (part,) = next(iter(trainer.minibatches(rows, 0)))
    trainer.roles.parameters("sft")
    real = kept(roles, lambda: trainer.loss(part))
    probe = probe_on(settings, a_workload(rows, [[0] * 20]), {"sft": {"batch_size": 3}})
    groups = probe.groups("sft", probe.config)
    assert groups.count == 1
    assert groups.tokens == part.batch.ids_BT.numel()
    assert 1 / FACTOR < groups.worst.saved / real < FACTOR, (groups.worst.saved, real)
    assert groups.worst.peak >= groups.worst.saved
    assert 0 < groups.worst.vocabulary < groups.worst.peak


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_scores_of_attention_are_counted_where_they_are_kept(tiny_models, dtype):
    """On a long row they are most of what is kept (bfloat16 on CPUs), or are not kept at all (PyTorch's fused attention)."""
    settings = settings_of(tiny_models(), dtype=dtype, max_length=250)
    row = EncodedDialogue([5] * 250, [(240, 250)], (0, 1))
    trainer = SFTTrainer(load_roles(settings), train=examples(), settings=SFTSettings())
    if dtype == "bfloat16":
        trainer.roles.base.set_attn_implementation("matmul")  # as `use_matmul` does wherever it is fast
    (part,) = next(iter(trainer.minibatches([row], 0)))
    trainer.roles.parameters("sft")
    real = kept(trainer.roles, lambda: trainer.loss(part))
    probe = probe_on(settings, a_workload([row], [[0] * 20]), {"sft": {"batch_size": 1}})
    saved = probe.groups("sft", probe.config).worst.saved
    assert 1 / FACTOR < saved / real < FACTOR, (saved, real)
    scores = 2 * 4 * 250**2 * (4 if dtype == "float32" else 2)  # layers, heads
    assert (saved > scores) == (dtype == "bfloat16")


@pytest.mark.parametrize("value_model", ["adapter", "reward_states", "policy_states"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_ppo_keeps_what_was_planned(tiny_models, family, value_model):
    """Every part of a real update against the planned worst one of the same lengths."""
    trainer = ppo_trainer(tiny_models(family), value_model=value_model, minibatches=1)
    trainer.roles.processor.end_id = -1  # no reply ends early
    experience = trainer.collect(0)
    reals = []
    for part in next(iter(trainer.minibatches(experience, 0))):
        trainer.roles.parameters(part.role)
        reals.append(kept(trainer.roles, lambda p=part: trainer.loss(p)))
    chosen = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_new_tokens": 10, "value_model": value_model}
    probe = probe_on(settings_of(tiny_models(family)), a_workload(prompts=experience.rollout.prompts), {"ppo": chosen})
    probe.prepare("sft", "reward")
    worst = probe.groups("ppo", probe.config).worst
    assert 1 / FACTOR < worst.saved / max(reals) < FACTOR, (worst.saved, reals)


def test_the_cache_is_the_real_one(tiny_models):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    roles.add("policy")
    prompts = [[5] * 12, [6] * 9]
    with torch.no_grad(), roles.use("policy") as model:
        state = DecodingState(model, prompts, 3, 8, 0)
    real = sum(t.untyped_storage().nbytes() for layer in state.cache.layers for t in (layer.keys, layer.values))
    settings = settings_of(tiny_models())
    ghost = skeleton(settings, CPU, find_processor(settings))
    add_role(ghost, "policy")
    made = decoding_pass(ghost, "policy", prompts, 3, 8, True)
    assert made.cache == real
    assert made.peak > made.cache
    assert made.prefill > made.step > 0


def test_the_shares_of_the_peak_are_those_of_the_record():
    record = json.loads((Path(__file__).parents[2] / "benchmarks/results/cpu-10m.json").read_text())
    shares = {}
    for case, flops in record["flops"].items():
        ours = [m for m in record["measurements"] if m["case"] == case and m["engine"] == "ours"]
        seconds = statistics.fmean(s for m in ours for s in m["seconds"])
        shares[case] = flops / seconds / record["gemm"]["bfloat16"]
    for case, share in shares.items():
        planned = DECODING_SHARE if case.startswith("generation") else TRAINING_SHARE
        assert 1 / FACTOR < planned / share < FACTOR, (case, share)


# --- whole plans


def small(folder: Any, **more: Any) -> Config:
    return merge_configs(
        Config(), {"model": settings_of(folder, max_length=256).model_dump(), "data": {"limit": 40}}, more
    )


@pytest.fixture(scope="module")
def whole(tiny_models: Any) -> tuple[Config, Plan]:
    config = small(tiny_models(), run={"stages": ["sft", "reward", "ppo", "dpo", "evaluate"]})
    return config, plan(config, CPU)


def test_a_plan_of_all_stages(whole):
    _, made = whole
    assert [stage.stage for stage in made.stages] == ["sft", "reward", "ppo", "dpo", "evaluate"]
    assert made.fits
    for stage in made.stages:
        parts = stage.weights + stage.adapters + max(stage.activations + stage.logits, stage.cache) + stage.runtime
        assert stage.total == parts > stage.runtime
        assert stage.seconds > 0
        assert stage.steps > 0
    assert made.seconds == sum(stage.seconds for stage in made.stages)
    by_name = {stage.stage: stage for stage in made.stages}
    assert by_name["ppo"].adapters > by_name["reward"].adapters > by_name["sft"].adapters


def test_twice_the_budget_keeps_twice_as_much(tiny_models):
    def activations(**sft: Any) -> float:
        config = small(tiny_models(), training={"sft": {"batch_size": 64, **sft}}, run={"stages": ["sft"]})
        return plan(config, CPU).stages[0].activations

    assert activations(token_budget=1024) == pytest.approx(2 * activations(token_budget=512), rel=0.2)


def test_selfplay_takes_time_in_proportion(tiny_models):
    def seconds(**evaluation: Any) -> float:
        config = small(tiny_models(), evaluation=evaluation, run={"stages": ["evaluate"]})
        return plan(config, CPU).stages[0].seconds

    none, some = seconds(selfplay_size=0), seconds(selfplay_size=24, selfplay_turns=10)
    assert none < some
    assert seconds(selfplay_size=24, selfplay_turns=20) - none == pytest.approx(2 * (some - none))
    assert seconds(selfplay_size=12, selfplay_turns=10) < some


def test_more_devices_take_less_time_and_no_less_weight(tiny_models):
    config = small(tiny_models(), run={"stages": ["sft", "ppo"]})
    one, two = (plan(config, replace(CPU, count=count)) for count in (1, 2))
    assert two.seconds == pytest.approx(one.seconds / 2, rel=0.2)
    assert two.stages[0].weights == one.stages[0].weights


def test_advice_makes_it_fit_in_memory_and_time(tiny_models):
    config = small(tiny_models(), run={"stages": ["sft", "ppo", "evaluate"]}, sampling={"batch_size": 8})
    made = plan(config, CPU)
    tight = replace(CPU, memory=made.stages[1].total - 2**20)  # PPO's passes take most
    hours = made.seconds / 3600 / 3
    assert not plan(config, tight, hours).fits
    advice = advise(config, tight, hours)
    assert advice.plan.fits
    assert any(name.endswith("token_budget") for name in advice.changes)
    changed = config
    for name, (before, after) in advice.changes.items():
        room = value = {}
        *path, last = name.split(".")
        for part in path:
            room = room.setdefault(part, {})
        room[last] = after
        changed = merge_configs(changed, value)
        assert before != after
    again = plan(changed, tight, hours)
    assert again.fits
    assert again.seconds == pytest.approx(advice.plan.seconds, rel=0.05)


def test_what_cannot_fit_is_said(whole):
    config, made = whole
    advice = advise(config, replace(CPU, memory=made.stages[0].runtime * 0.9))
    assert not advice.plan.fits


def test_half_precision_and_four_bits_are_advised(tiny_models):
    """On a GPU with room for a quarter of the weights."""
    config = small(tiny_models(), run={"stages": ["sft"]})
    gpu = GPUS["t4"]
    full = plan(config, gpu).stages[0]
    advice = advise(config, replace(gpu, memory=full.runtime + 0.9 * full.weights))
    assert advice.changes["model.dtype"] == ("float32", "float16")
    four_bit = plan(merge_configs(config, {"model": {"dtype": "float16", "four_bit": True}}), gpu).stages[0]
    assert four_bit.weights < 0.45 * full.weights


def test_of_a_split_base_a_device_holds_its_part_and_six_blocks(tmp_path):
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    real = LlamaForCausalLM(LlamaConfig(vocab_size=50, num_hidden_layers=12, **shape))
    real.config.save_pretrained(tmp_path)
    whole, blocks = (4 * sum(p.numel() for p in part.parameters()) for part in (real, real.model.layers))
    config = merge_configs(
        Config(), {"model": settings_of(tmp_path, shard=True).model_dump(), "run": {"stages": ["sft"]}}
    )
    one, four = (plan(config, replace(CPU, count=count)) for count in (1, 4))
    assert one.stages[0].weights == whole and four.stages[0].weights == whole - blocks + blocks / 4 + blocks / 2
    assert four.notes[-1].startswith("a split base") and not one.notes[-1].startswith("a split base")
    tight = advise(config, replace(GPUS["t4"], count=4, memory=1e6))
    assert "model.four_bit" not in tight.changes  # no split base has 4 bits


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["cluster", "kaggle-2xt4"])
def test_large_models_need_no_weights(tmp_path, preset):
    """7B on eight H100; 0.5B on two T4: both from a configuration alone, without tokenizer or data."""
    from transformers import Qwen2Config

    from selfsame.config import load_config

    wide = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    half = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    shape = wide | {"num_key_value_heads": 4} if preset == "cluster" else half | {"num_key_value_heads": 2}
    tied = preset != "cluster"
    Qwen2Config(vocab_size=152064, max_position_embeddings=4096, tie_word_embeddings=tied, **shape).save_pretrained(
        tmp_path
    )
    config = load_config(preset=preset, values={"model": {"base": str(tmp_path)}})
    made = plan(config, hardware("h100", 8) if preset == "cluster" else hardware("t4", 2))
    assert made.parameters == pytest.approx(7.6e9 if preset == "cluster" else 4.94e8, rel=0.01)
    assert made.fits
    assert "not on this machine" in made.notes[0]
    assert made.dtype == ("bfloat16" if preset == "cluster" else "float16")


def test_assumed_lengths_fit_any_context():
    for length in (40, 64, 200, 512, 4096):
        config = merge_configs(
            Config(),
            {
                "model": {"max_length": length},
                "training": {"ppo": {"max_new_tokens": 8}},
                "sampling": {"max_new_tokens": 8},
            },
        )
        work = assumed(config, "why")
        assert len(work.dialogues[0].ids) <= length
        assert len(work.prompts[0]) + 8 <= length
        assert sum(map(len, work.pairs[0])) <= 2 * length
        assert work.dialogues[0].spans
    assert spread([1, 2, 3, 4], 2) == [3, 4]
    assert spread([7], 3) == [7, 7, 7]


def test_ppo_settings_have_the_names_that_are_advised():
    assert {"steps", "prompts_per_step", "token_budget", "value_model"} <= set(PPOSettings.model_fields)
