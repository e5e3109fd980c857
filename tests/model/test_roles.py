"""Roles on one base: apart from each other, saved in PEFT's own format, heads and new tokens included."""

from __future__ import annotations

import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import FAMILIES, make_model
from selfsame.data.prompt_format import CHAT_INTRODUCTION
from selfsame.errors import ConfigError, RunError
from selfsame.model.base import choose_device, choose_dtype, get_model_info, load_base_model, load_tokenizer
from selfsame.model.load import as_roles, load_roles
from selfsame.model.prefix_batch import prefix_batch, reply_logprobs
from selfsame.model.reward_model import RewardModel
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.types import Prompt

BATCH = ([[5, 6, 7], [8, 9]], [[[10, 11], [12]], [[13, 14, 15]]])


def load(folder, **settings):
    return load_roles(ModelSettings(base=str(folder), dtype="float32", max_length=128, **settings))


def scramble(roles, role, seed=1):
    torch.manual_seed(seed)
    for p in roles.parameters(role).values():
        torch.nn.init.normal_(p, std=0.2)


def with_sft(folder):
    """A model with an `sft` role that speaks unlike its base."""
    roles = load(folder)
    roles.add("sft")
    scramble(roles, "sft")
    return roles


def output(roles, role):
    with torch.no_grad(), roles.use(role) as model:
        return reply_logprobs(model, prefix_batch(*BATCH))[0]


def test_a_new_role_is_the_base_and_a_copy_is_its_origin(tiny_models):
    roles = load(tiny_models())
    plain = output(roles, None)
    roles.add("sft")
    assert torch.equal(output(roles, "sft"), plain)
    scramble(roles, "sft")
    roles.add("policy", like="sft")
    assert torch.equal(output(roles, "policy"), output(roles, "sft"))
    assert not torch.allclose(output(roles, "sft"), plain)
    assert torch.equal(output(roles, None), plain)


def test_training_one_role_leaves_the_others_and_the_base_alone(tiny_models):
    roles = load(tiny_models())
    roles.add("sft")
    scramble(roles, "sft")
    roles.add("policy", like="sft")
    before = {role: output(roles, role) for role in ("sft", None)}
    adam = torch.optim.SGD(list(roles.parameters("policy").values()), lr=1.0)
    with roles.use("policy") as model:
        reply_logprobs(model, prefix_batch(*BATCH))[0].sum().backward()
    adam.step()
    assert not torch.allclose(output(roles, "policy"), before["sft"])
    for role, was in before.items():
        assert torch.equal(output(roles, role), was)
    touched = {n for n, p in roles.base.named_parameters() if p.grad is not None}
    assert touched and all("policy" in n for n in touched)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_roles_come_back_whole(tiny_models, tmp_path, family):
    folder = tiny_models(family)
    roles = load(folder)
    for role in ("sft", "reward"):
        roles.add(role)
        scramble(roles, role)
        roles.save(role, str(tmp_path / role))
    again = load(folder)
    for role in ("reward", "sft"):
        again.load(role, str(tmp_path / role))
        assert torch.equal(output(again, role), output(roles, role))
        for name, tensor in roles.state(role).items():
            assert torch.equal(tensor, again.state(role)[name]), name
    prompts, replies = [Prompt(("I have two dogs.",), ("Hi!",))], [["Two dogs.", "None."]]
    assert RewardModel(again).score(prompts, replies) == RewardModel(roles).score(prompts, replies)
    assert RewardModel(again).score(prompts, replies)[0][0] != 0


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_adapters_in_the_upper_blocks_only(tmp_path, tiny_models, family):
    roles = load(tiny_models(family, chat=True), lora=LoraSettings(rank=4, layers=1))
    for role in ("sft", "policy"):  # the second is made when the first is there already
        roles.add(role)
        scramble(roles, role)
        names = [n for n in roles.parameters(role) if "lora_" in n]
        assert names and all(".1." in n and ".0." not in n for n in names)
    every = load(tiny_models(family, chat=True), lora=LoraSettings(rank=4))
    every.add("sft")
    assert sum("lora_" in n for n in every.parameters("sft")) == 2 * len(names)
    roles.save("sft", tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tiny_models(family, chat=True), dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(tmp_path))
    with torch.no_grad():
        theirs = reply_logprobs(model.get_base_model(), prefix_batch(*BATCH))[0]
    torch.testing.assert_close(output(roles, "sft"), theirs, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="the model has 2 blocks"):
        load(tiny_models(family, chat=True), lora=LoraSettings(layers=3))


def test_a_role_that_is_a_head_alone(tmp_path, tiny_models):
    roles = load(tiny_models())
    roles.add("reward")
    scramble(roles, "reward")
    roles.add_head("value", like="reward")
    assert roles.names == ("reward", "value") and len(roles.parameters("value")) == 2
    roles.save("value", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["head.safetensors"]
    with pytest.raises(RunError, match="is a head alone"), roles.use("value"):
        pass
    with pytest.raises(RunError, match="incomplete"):
        roles.load("reward", tmp_path)  # a reward role has an adapter
    torch.nn.init.zeros_(roles.heads["value"].linear.weight)
    assert not torch.equal(roles.heads["value"].linear.weight, roles.heads["reward"].linear.weight)
    roles.load("value", tmp_path)
    for name, tensor in roles.heads["reward"].state_dict().items():
        assert torch.equal(tensor, roles.state("value")[f"head.{name}"])
    roles.remove("value")
    assert roles.names == ("reward",)


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mistral"])
def test_a_saved_role_is_complete_for_peft_alone(tmp_path, tiny_models, family, chat):
    """Tokenizer, template, base and the rows of new tokens, those of a head that is not tied too: nothing of ours is needed."""
    roles = load(tiny_models(family, chat=chat))
    roles.add("sft")
    scramble(roles, "sft")
    roles.save("sft", tmp_path)
    prompt = Prompt(("I have two dogs.",), ("Hi", "Hello.", "Any pets?"))
    ids = [*roles.processor.encode_prompt(prompt), *roles.processor.encode_reply("Two dogs.")]
    theirs = AutoPeftModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad(), roles.use("sft") as ours:
        mine, other = (m(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1) for m in (ours, theirs))
        merged = theirs.merge_and_unload()(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    assert mine.shape[1] == len(roles.processor.tokenizer) and len(roles.new_tokens) == (0 if chat else 4)
    torch.testing.assert_close(other, mine, atol=1e-4, rtol=0)
    torch.testing.assert_close(merged, mine, atol=1e-3, rtol=0)
    messages = [{"role": "system", "content": (CHAT_INTRODUCTION if chat else "") + "I have two dogs."}]
    messages += [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(prompt.history)]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert theirs == roles.processor.encode_prompt(prompt)


@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_only_the_rows_of_new_tokens_are_stored(tmp_path, tiny_models, family):
    roles = load(tiny_models(family))
    roles.add("sft")
    roles.save("sft", tmp_path)
    shapes = [t.shape for n, t in load_file(tmp_path / "adapter_model.safetensors").items() if "lora_" not in n]
    assert shapes == [(4, 32)] * (2 if family == "mistral" else 1)
    again = load(tiny_models(family))
    again.load("sft", tmp_path)
    assert again.state("sft").keys() == roles.state("sft").keys()  # the head's rows stay the base's, as in training


def test_a_role_of_a_hub_model_names_the_commit_that_it_was_trained_on(tmp_path, tiny_models):
    roles = load(tiny_models())
    roles.base.config._commit_hash = "0123456789abcdef"
    roles.add("sft")
    roles.save("sft", tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (saved["base_model_name_or_path"], saved["revision"]) == (str(tiny_models()), "0123456789abcdef")


def test_a_base_that_is_named_relatively_is_saved_by_its_path(tmp_path, tiny_models, monkeypatch):
    monkeypatch.chdir(tiny_models().parent)
    roles = load(tiny_models().name)
    roles.add("sft")
    roles.save("sft", tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(tiny_models())


def test_new_markers_are_trained_and_start_the_same_every_time(tiny_models):
    one, two = load(tiny_models("gpt2")), load(tiny_models("gpt2"))
    weight = one.base.get_input_embeddings().weight
    assert len(one.new_tokens) == 4 and weight.shape[0] == max(one.new_tokens) + 1
    assert torch.equal(weight, two.base.get_input_embeddings().weight)
    assert not torch.equal(weight[one.new_tokens[0]], weight[one.new_tokens[1]])
    one.add("sft")
    (name,) = [n for n in one.parameters("sft") if "token" in n]
    prompt = one.processor.encode_prompt(Prompt(("I teach.",), ("Hi",)))
    with one.use("sft") as model:
        reply_logprobs(model, prefix_batch([prompt], [[[10, 11]]]))[0].sum().backward()
    assert float(one.parameters("sft")[name].grad.abs().sum()) > 0


def test_reward_head_normalises_to_mean_zero_and_deviation_one(tiny_models):
    roles = load(tiny_models())
    roles.add("reward")
    scramble(roles, "reward")
    model = RewardModel(roles)
    prompts, replies = [[5, 6, 7]] * 4, [[[10 + k, 11, 12 + j] for j in range(3)] for k in range(4)]
    roles.heads["reward"].normalise(torch.tensor(model.score_ids(prompts, replies)).flatten())
    scores = torch.tensor(model.score_ids(prompts, replies)).flatten()
    assert abs(float(scores.mean())) < 1e-4 and abs(float(scores.std()) - 1) < 1e-4


def test_compute_reward_is_the_batched_score(tiny_models):
    roles = load(tiny_models())
    roles.add("reward")
    scramble(roles, "reward")
    model = RewardModel(roles)
    context = ["Hi", "Hello", "Any pets?"]
    one = model.compute_reward(["I have two dogs."], context, "Two dogs.")
    prompt = Prompt(("I have two dogs.",), tuple(context))
    batched = model.score([prompt, Prompt(("I sing.",), ("Yo",))], [["Two dogs.", "No."], ["La."]])
    assert one == pytest.approx(batched[0][0], abs=1e-4) and batched[0][0] != batched[0][1]


def test_a_role_of_other_settings_is_refused(tiny_models, tmp_path):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    roles.add("sft")
    roles.save("sft", tmp_path / "sft")
    with pytest.raises(RunError, match="another model or other adapter settings"):
        load(tiny_models(), lora=LoraSettings(rank=8)).load("sft", tmp_path / "sft")
    (tmp_path / "sft" / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match="incomplete or damaged"):
        load(tiny_models(), lora=LoraSettings(rank=4)).load("sft", tmp_path / "sft")
    with pytest.raises(RunError, match="no role 'policy'"), roles.use("policy"):
        pass


def test_unusable_models_are_one_line(tmp_path, tiny_models):
    for name in ("no/such-model", str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(ConfigError) as error:
            load_tokenizer(name)
        assert "\n" not in str(error.value) and name in str(error.value)
    broken = make_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="no usable causal language model"):
        load(broken)
    config = json.loads((tiny_models() / "config.json").read_text())
    assert config["max_position_embeddings"] == 256
    with pytest.raises(ConfigError, match="reads at most 256"):
        load_roles(ModelSettings(base=str(tiny_models()), max_length=300))
    with pytest.raises(ConfigError, match="more than the model's hidden size"):
        load(tiny_models(), lora=LoraSettings(rank=64))


def test_device_and_dtype():
    assert choose_device("cpu").type == "cpu" and choose_dtype("float16", torch.device("cpu")) == torch.float16
    assert choose_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            choose_device("cuda")


def test_turing_gpus_get_float16(monkeypatch):
    """A T4 says that it can do bfloat16, meaning emulation."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_dtype("auto", torch.device("cuda")) == torch.float16


def test_model_info(tiny_models):
    settings = ModelSettings(base=str(tiny_models()), dtype="float32")
    model = load_base_model(settings, load_tokenizer(settings.base))
    info = get_model_info(model)
    assert (info.family, info.layers, info.hidden_size, info.context, info.trainable) == ("llama", 2, 32, 256, 0)
    assert info.parameters == sum(p.numel() for p in model.parameters())


def test_a_plain_hugging_face_model_becomes_roles(tiny_models):
    tokenizer = load_tokenizer(str(tiny_models()))
    model = AutoModelForCausalLM.from_pretrained(tiny_models())
    roles = as_roles(model, tokenizer)
    assert as_roles(roles) is roles and len(roles.new_tokens) == 4
    with pytest.raises(ConfigError, match="tokenizer"):
        as_roles(model)
