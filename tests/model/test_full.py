"""Full fine-tuning: every role a model of its own, its gradients those of the plain model, no copy too many."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from stages import VARIANTS, examples, pairs, prompts
from test_roles import BATCH, load, output, scramble
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import FAMILIES
from selfsame.config import load_config
from selfsame.errors import ConfigError, RunError
from selfsame.model.full import FullRoles
from selfsame.model.load import load_roles
from selfsame.model.prefix_batch import prefix_batch, reply_logprobs
from selfsame.model.reward_model import RewardModel
from selfsame.model.settings import ModelSettings
from selfsame.serve.chatbot import load_chatbot
from selfsame.training.comparisons import PairSampler, matcher_of
from selfsame.training.dpo import DPOTrainer
from selfsame.training.optimiser import Optimiser
from selfsame.training.ppo import PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import DPOSettings, OptimiserSettings, PPOSettings, RewardSettings, SFTSettings
from selfsame.training.sft import SFTTrainer

LONE = ([[5, 6, 7]], [[[10, 11, 12]]])
"""A batch without shared prompts, which a plain model can compute too."""


def full(folder, **settings):
    roles = load(folder, tuning="full", **settings)
    assert isinstance(roles, FullRoles)
    return roles


def live_parameters():
    """Numbers in all models that are in memory."""
    gc.collect()
    tensors = {id(o): o for o in gc.get_objects() if type(o) is torch.nn.Parameter}
    return sum(t.numel() for t in tensors.values() if t.ndim)


def test_a_role_takes_the_base_over_and_a_copy_is_its_origin(tiny_models):
    roles = full(tiny_models())
    plain, base = output(roles, None), roles.base
    roles.add("sft")
    with roles.use("sft") as model:
        assert model is base  # no copy
    assert torch.equal(output(roles, "sft"), plain)
    scramble(roles, "sft")
    roles.add("policy", like="sft")
    assert torch.equal(output(roles, "policy"), output(roles, "sft"))
    assert not torch.allclose(output(roles, "sft"), plain)
    assert torch.equal(output(roles, None), plain)  # loaded again
    assert roles.base is not base
    assert roles.names == ("sft", "policy")


def test_no_model_is_in_memory_that_no_role_is(tiny_models):
    before = live_parameters()
    roles = full(tiny_models("llama", chat=True))
    size = live_parameters() - before
    for role in ("sft", "policy", "reward"):
        roles.add(role, like=None if role == "sft" else "sft")
    roles.add("policy", like="sft")  # replaced
    head = sum(p.numel() for p in roles.heads.parameters())
    assert live_parameters() - before == 3 * size + head
    roles.remove("reward")
    assert live_parameters() - before == 2 * size


def test_training_one_role_leaves_the_others_alone(tiny_models):
    roles = full(tiny_models())
    roles.add("sft")
    scramble(roles, "sft")
    roles.add("policy", like="sft")
    before = {role: output(roles, role) for role in ("sft", None)}
    optimiser = Optimiser(roles, ("policy",), OptimiserSettings(learning_rate=0.1), 4)
    with roles.use("policy") as model:
        optimiser.backward(reply_logprobs(model, prefix_batch(*BATCH))[0].sum())
    optimiser.step(1)
    assert not torch.allclose(output(roles, "policy"), before["sft"])
    for role, was in before.items():
        assert torch.equal(output(roles, role), was)
    assert all(p.grad is None for model in roles.models.values() for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_plain_model(tiny_models, family):
    folder = tiny_models(family, chat=True)
    roles = full(folder)
    roles.add("sft")
    parameters = roles.parameters("sft")
    with roles.training("sft") as model:
        reply_logprobs(model, prefix_batch(*LONE))[0].sum().backward()
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[*LONE[0][0], *LONE[1][0][0]]])
    logits = plain(input_ids=ids, use_cache=False).logits[0, 2:-1]
    logits.log_softmax(-1).gather(-1, ids[0, 3:, None]).sum().backward()
    theirs = {n: p.grad for n, p in plain.named_parameters()}
    assert theirs.keys() == parameters.keys()
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, theirs[name], atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_computes_near_float32_master_weights(tiny_models, family, dtype):
    folder = tiny_models(family, chat=True)
    settings = ModelSettings(base=str(folder), dtype=dtype, max_length=128, tuning="full")
    roles, exact = load_roles(settings), full(folder)
    assert roles.dtype == getattr(torch, dtype)
    for some in (roles, exact):
        some.add("reward")
    torch.nn.init.normal_(exact.heads["reward"].linear.weight)
    roles.load_state("reward", exact.state("reward"))
    parameters = roles.parameters("reward")
    with roles.training("reward") as model:
        logprobs = reply_logprobs(model, prefix_batch(*BATCH))[0]
        states = torch.randn(4, 32, requires_grad=True)
        values = roles.heads["reward"](states)
    with exact.use("reward") as model:
        wanted = reply_logprobs(model, prefix_batch(*BATCH))[0]
    error = (logprobs - wanted).abs().max()
    assert 0 < error < 0.05 * wanted.abs().max()  # rounded, and no more than that
    assert torch.equal(values, exact.heads["reward"](states))  # heads are float32 inside autocast too
    (logprobs.sum() + values.sum()).backward()
    assert all(p.dtype == torch.float32 and (p.grad is None or p.grad.dtype == p.dtype) for p in parameters.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_roles_come_back_whole(tiny_models, tmp_path, family):
    folder = tiny_models(family)
    roles = full(folder)
    for role in ("sft", "reward"):
        roles.add(role)
        scramble(roles, role)
        roles.save(role, tmp_path / role)
    again = full(folder)
    for role in ("reward", "sft"):
        again.load(role, tmp_path / role)
        for name, tensor in roles.state(role).items():
            assert torch.equal(tensor, again.state(role)[name]), name
        assert torch.equal(output(again, role), output(roles, role))
    assert RewardModel(again).score_ids([[5, 6]], [[[7, 8]]]) == RewardModel(roles).score_ids([[5, 6]], [[[7, 8]]])


def test_transformers_itself_reads_a_saved_role(tiny_models, tmp_path):
    roles = full(tiny_models("gpt2"))
    roles.add("sft")
    roles.save("sft", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.float32
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == theirs.get_input_embeddings().weight.shape[0]
    with torch.no_grad():
        torch.testing.assert_close(reply_logprobs(theirs.eval(), prefix_batch(*BATCH))[0], output(roles, "sft"))
    bot = load_chatbot(str(tmp_path))
    weight = bot.roles.base.lm_head.weight
    assert bot.role is None and torch.equal(weight, theirs.lm_head.weight.to(weight.dtype))


def test_a_saved_role_that_does_not_fit_is_one_line(tiny_models, tmp_path):
    roles, other = full(tiny_models()), full(tiny_models("llama", chat=True))
    for some, name in ((roles, "one"), (other, "other")):
        some.add("reward")
        some.save("reward", tmp_path / name)
    with pytest.raises(RunError, match="another model"):
        roles.load("reward", tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot speak"):
        load_chatbot(str(tmp_path / "one"))
    (tmp_path / "one" / "model.safetensors").write_bytes(b"cut")
    for broken in ("one", "missing"):
        with pytest.raises(RunError, match="incomplete or damaged") as error:
            roles.load("reward", tmp_path / broken)
        assert "\n" not in str(error.value)
    with pytest.raises(RunError, match="no role 'policy'"), roles.use("policy"):
        pass


def test_what_belongs_to_adapters_is_refused():
    options = {"tuning": "full", "four_bit": True, "lora": {"layers": 2}}
    with pytest.raises(ConfigError, match=r"leave out model\.four_bit, model\.lora\.layers") as error:
        load_config(values={"model": options})
    assert "\n" not in str(error.value)
    assert load_config(values={"model": {"tuning": "full"}}).model.tuning == "full"
    with pytest.raises(ConfigError, match=r"leave out model\.shard"):
        load_config(values={"model": {"tuning": "full", "shard": True}})
    with pytest.raises(ConfigError, match=r"leave model\.four_bit or model\.shard out"):
        load_config(values={"model": {"four_bit": True, "shard": True}})


def test_the_vocabulary_head_of_a_headed_role_is_not_trained(tiny_models):
    roles = full(tiny_models("llama"))  # untied
    roles.add("sft")
    roles.add("reward", like="sft")
    assert set(roles.parameters("sft")) - set(roles.parameters("reward")) == {"lm_head.weight"}
    roles = full(tiny_models("gpt2"))  # tied
    roles.add("value")
    assert "transformer.wte.weight" in roles.parameters("value")


SMALL = {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-3}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_stage_trains_the_whole_model_of_its_role(tiny_models, dtype):
    roles = load_roles(ModelSettings(base=str(tiny_models()), dtype=dtype, max_length=128, tuning="full"))
    base = {n: t.clone() for n, t in roles.base.state_dict().items()}
    SFTTrainer(roles, train=examples(), settings=SFTSettings(**SMALL)).train()
    assert all(not torch.equal(t, base[n]) for n, t in roles.state("sft").items())
    sft = copy.deepcopy(roles.state("sft"))
    reward = RewardSettings(**SMALL, normalise_samples=4)
    RewardTrainer(
        roles, pairs=pairs(), settings=reward, sampler=PairSampler(roles, reward, 0, 6, matcher_of(pairs()))
    ).train()
    frozen = {role: roles.state(role) for role in ("sft", "reward")}
    for variant, chosen in VARIANTS.items():
        settings = PPOSettings(steps=2, prompts_per_step=2, samples_per_prompt=2, max_new_tokens=6, **chosen)
        PPOTrainer(roles, prompts=prompts(), settings=settings).train()
        assert ("value" in roles.weighted) == (variant == "adapter")
        assert all(not torch.equal(t, sft[n]) for n, t in roles.state("policy").items())
    DPOTrainer(roles, pairs=pairs(), settings=DPOSettings(**SMALL)).train()
    for role, was in frozen.items():
        assert all(torch.equal(t, was[n]) for n, t in roles.state(role).items())
    assert all(p.grad is None for model in roles.models.values() for p in model.parameters())
