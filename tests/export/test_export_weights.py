"""What leaves speaks as the bot inside: adapters by PEFT, merged weights by transformers, GGUF files by llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from outside import CUTS, GREETED, NOBODY, PROMPTS, LlamaCpp, cut_by, ended, greedy, split_by, tuned
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

import conftest
from commands import Command
from conftest import CHATML, make_model
from selfsame.data.processor import DataProcessor
from selfsame.errors import ConfigError
from selfsame.export import bot as exports
from selfsame.export.bot import Wanted, export
from selfsame.export.template import messages_of, other_prompts
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chatbot import load_chatbot

LIMIT, END_OF_TEXT = 12, 0
TEXTS = (
    "I have 12345 dogs, 7 cats;  and  IT'S we'll (9 o'clock)!!\n\n\tYes?  \n hello you're",
    "persona profile dialogue teach chemistry Größe 你好世界 ١٢٣ e\u0301 \U0001f600...\r\n end ",
)
FAMILIES = [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", True), ("gpt2", True), ("gpt2", False)]


@pytest.fixture
def base_of(tmp_path) -> Any:
    """A tiny base whose probabilities are near enough to those of real ones: float32 is exact to 0.0001 nats."""
    return lambda family="llama", chat=True: make_model(tmp_path / "base", family, CHATML if chat else None, scale=8.0)


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models) -> Command:
    return Command(capsys, tiny_models())


def inside(adapter: Path):
    """The prompts and greedy replies of a bot as tokens."""
    bot = load_chatbot(str(adapter), model={"dtype": "float32"})
    processor = bot.roles.processor
    prompts = [processor.encode_prompt(prompt) for prompt in PROMPTS]
    with bot.roles.use(bot.role) as model:
        return processor, prompts, [greedy(model, ids, LIMIT) for ids in prompts]


@pytest.mark.parametrize(("family", "chat"), FAMILIES)
def test_every_form_gives_the_same_replies(base_of, tmp_path, family, chat):
    adapter = tuned(tmp_path / "tuned", base_of(family, chat))
    processor, prompts, expected = inside(adapter)
    for form, dtype in (("adapter", None), ("merged", "float32"), ("gguf", "f32")):
        lines = export(Wanted(str(adapter), form, tmp_path / form, dtype=dtype))
        assert lines[0] == f"tuned: {form} in {tmp_path / form}" and not any("other tokens" in line for line in lines)
    for form, reader in (("adapter", AutoPeftModelForCausalLM), ("merged", AutoModelForCausalLM)):
        model = reader.from_pretrained(tmp_path / form, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / form)
        end = tokenizer.eos_token_id
        assert end == processor.end_id
        for prompt, ids, reply in zip(PROMPTS, prompts, expected, strict=True):
            rendered = tokenizer.apply_chat_template(messages_of(prompt), add_generation_prompt=True, return_dict=False)
            assert rendered == ids
            assert greedy(model, rendered, LIMIT) == reply
    outside = LlamaCpp(next((tmp_path / "gguf").glob("*.gguf")))
    for prompt in (GREETED, NOBODY):
        assert outside.tokens(outside.prompt(messages_of(prompt))) == processor.encode_prompt(prompt)
    for prompt, ids, reply in zip(PROMPTS, prompts, expected, strict=True):
        assert outside.tokens(outside.prompt(messages_of(prompt))) == ids
        reply = ended(reply, processor.end_id, END_OF_TEXT)  # which ends a reply in llama.cpp too
        assert ended(outside.reply(ids, LIMIT), processor.end_id, END_OF_TEXT) == reply
        said = processor.tokenizer.decode(reply, skip_special_tokens=True)
        assert outside.chat(messages_of(prompt), LIMIT).strip(" \n\ufffd") == said.strip(" \n\ufffd")  # half a letter


@pytest.mark.parametrize("name", CUTS)
def test_llama_cpp_cuts_texts_as_the_tokenizer_does(tmp_path, name):
    base = cut_by(tmp_path / "base", name, CHATML)
    export(Wanted(str(base), "gguf", tmp_path / "out", dtype="f16"))
    outside, tokenizer = LlamaCpp(next((tmp_path / "out").glob("*.gguf"))), AutoTokenizer.from_pretrained(base)
    for text in (*TEXTS, "<|im_start|>user\n".join(TEXTS)):
        assert outside.tokens(text) == tokenizer(text)["input_ids"], text


def test_a_tokenizer_that_llama_cpp_does_not_know_is_refused_with_its_converter(tmp_path, tiny_models):
    base = make_model(tmp_path / "base", "llama", CHATML)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.backend_tokenizer.pre_tokenizer = split_by(r"\p{L}+|\p{N}{2}|.")
    tokenizer.save_pretrained(base)
    command = r"--to merged DIR, then run llama.cpp's `python convert_hf_to_gguf.py DIR --outtype q8_0`"
    with pytest.raises(ConfigError, match="cuts texts in a way that has no name here") as error:
        export(Wanted(str(base), "gguf", tmp_path / "out", dtype="q8_0"))
    assert command in str(error.value)
    with pytest.raises(ConfigError, match="the family gemma is not among llama, qwen2, qwen3, gpt2"):
        export(Wanted(str(tiny_models("gemma", chat=True)), "ollama", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_llama_3_rope_leaves_with_its_factors(tmp_path):
    base = make_model(tmp_path / "base", "llama", CHATML)
    config = json.loads((base / "config.json").read_text())
    config["rope_parameters"] |= {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    (base / "config.json").write_text(json.dumps(config))
    bot = load_chatbot(str(base), model={"dtype": "float32"})
    export(Wanted(str(base), "gguf", tmp_path / "out", dtype="f32"))
    outside, processor = LlamaCpp(next((tmp_path / "out").glob("*.gguf"))), bot.roles.processor
    for prompt in PROMPTS:
        ids = processor.encode_prompt(prompt)
        with bot.roles.use(None) as model:
            expected = ended(greedy(model, ids, LIMIT), processor.end_id, END_OF_TEXT)
        assert ended(outside.reply(ids, LIMIT), processor.end_id, END_OF_TEXT) == expected


def test_weights_are_stored_as_those_of_the_base_and_say_what_rounding_does(tmp_path, base_of):
    base, half = base_of("llama"), tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(base).save_pretrained(half)
    for folder, dtype, expected in ((base, None, "float32"), (half, None, "bfloat16"), (base, "float16", "float16")):
        lines = export(Wanted(str(folder), "merged", tmp_path / "out", dtype=dtype, overwrite=True))
        assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == expected
        said = [line for line in lines if "Stored in" in line]
        assert len(said) == (expected != "float32")
        # bfloat16 rounds its own numbers to themselves
        assert all((" 0 nats" in line) == (expected == "bfloat16") for line in said)


@pytest.mark.parametrize("temperature", [0, 0.5])
def test_nothing_of_the_bases_sampling_is_left(tmp_path, base_of, monkeypatch, temperature):
    base = base_of("llama")
    theirs = {"do_sample": True, "temperature": 0.7, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.3}
    (base / "generation_config.json").write_text(json.dumps(theirs | {"bos_token_id": 0, "eos_token_id": 0}))
    sampling = SamplingSettings(temperature=temperature, top_p=0.9, max_new_tokens=20)
    monkeypatch.setattr(exports, "chat_sampling", lambda bot, traits: sampling)
    export(Wanted(str(base), "merged", tmp_path / "out"))
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    written.pop("transformers_version")
    processor = DataProcessor(AutoTokenizer.from_pretrained(tmp_path / "out"))
    drawn = {"temperature": 0.5, "top_p": 0.9, "top_k": 0} if temperature else {}
    assert written == drawn | {
        "do_sample": temperature > 0,
        "max_new_tokens": 20,
        "bos_token_id": 0,
        "eos_token_id": [processor.end_id, 0],
        "pad_token_id": processor.pad_id,
    }


def test_what_leaves_can_come_back(tmp_path, base_of):
    adapter = tuned(tmp_path / "tuned", base_of("qwen2"))
    processor, prompts, expected = inside(adapter)
    export(Wanted(str(adapter), "merged", tmp_path / "merged"))
    again, ids, replies = inside(tmp_path / "merged")
    assert (ids, replies, again.format) == (prompts, expected, processor.format)
    assert not other_prompts(again)
    export(Wanted(str(tmp_path / "merged"), "merged", tmp_path / "twice"))
    assert (tmp_path / "twice" / "chat_template.jinja").read_text() == (
        tmp_path / "merged" / "chat_template.jinja"
    ).read_text()


def test_tokenizers_are_for_older_readers_too(tmp_path, base_of):
    adapter = tuned(tmp_path / "tuned", base_of("gpt2", False))
    export(Wanted(str(adapter), "adapter", tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "[PERSONA]" in config["chat_template"] and config["eos_token"] == "[SEP]"
    assert isinstance(config.get("extra_special_tokens", {}), dict)
    assert DataProcessor(AutoTokenizer.from_pretrained(tmp_path / "out")).note == ""


def test_weights_that_merge_wrongly_are_not_written(tmp_path, base_of, monkeypatch, selfsame):
    adapter = tuned(tmp_path / "tuned", base_of("llama"))
    monkeypatch.setattr("peft.tuners.lora.layer.Linear.get_delta_weight", lambda self, name: self.weight * 0)
    answer = selfsame("export", adapter, "--to", "merged", tmp_path / "out")
    assert answer.code == 2 and "give other log-probabilities than the adapter (off by" in answer.told
    assert not (tmp_path / "out").exists()


def test_an_adapter_on_four_bits_is_merged_into_what_they_mean(tmp_path, monkeypatch):
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    monkeypatch.setitem(conftest.SMALL, "hidden_size", 64)  # blocks of 64 numbers share a scale
    monkeypatch.setitem(conftest.GROUPED, "hidden_size", 64)
    base = make_model(tmp_path / "base", "llama", CHATML, scale=4.0)
    adapter, plain = tuned(tmp_path / "tuned", base), exports.load_chatbot

    def four_bit(*arguments, model=None, **named):
        return plain(*arguments, model={"four_bit": True, **(model or {})}, **named)

    inside = four_bit(str(adapter), model={"dtype": "float32"})
    ids = torch.tensor([inside.roles.processor.encode_prompt(PROMPTS[0])])
    with torch.no_grad(), inside.roles.use(inside.role) as model:
        expected = model(input_ids=ids).logits.log_softmax(-1)
    monkeypatch.setattr(exports, "load_chatbot", four_bit)
    export(Wanted(str(adapter), "merged", tmp_path / "out"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        off = (merged(input_ids=ids).logits.log_softmax(-1) - expected).abs().max()
    assert off < 1e-3
    export(Wanted(str(base), "merged", tmp_path / "plain"))
    assert not torch.equal(
        AutoModelForCausalLM.from_pretrained(base).model.layers[0].mlp.up_proj.weight,
        AutoModelForCausalLM.from_pretrained(tmp_path / "plain").model.layers[0].mlp.up_proj.weight,
    )
