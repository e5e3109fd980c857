"""The base model in the package: small, ordinary, in Selfsame's prompt format, and drawing on the persona."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import pytest
import torch
from base_model.card import write_card
from base_model.settings import load_recipe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfsame.data.loader import DatasetLoader
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import CHAT_INTRODUCTION, MARKERS
from selfsame.data.settings import PairSettings
from selfsame.eval.scoring import strangers
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.model.base import get_model_info, locate_model
from selfsame.model.load import load_roles
from selfsame.model.roles import Roles
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chatbot import load_chatbot
from selfsame.types import Prompt

FOLDER = Path(locate_model(BUNDLED))
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "76f4fb17bb5bbb3fe44ec363fb58114ad112567e283fea719d6485248eeec650"
PERSONA = ("I have two dogs.", "I teach chemistry.")


@pytest.fixture(scope="module")
def roles() -> Roles:
    return load_roles(ModelSettings())


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


def test_it_is_the_default_and_small(roles):
    assert ModelSettings().base == BUNDLED == "selfsame-9m"
    # Other weights need another name: adapters say by name which base they belong to.
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 24 * 2**20
    info = get_model_info(roles.base)
    assert info.family == "llama" and info.context == 1024 and 8e6 < info.parameters < 12e6
    weights = load_file(FOLDER / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16} and "lm_head.weight" not in weights


def test_plain_transformers_load_it_and_talk(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    messages = [{"role": "system", "content": "\n".join(PERSONA)}, {"role": "user", "content": "Hi! Any pets?"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    ids = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :].tolist()
    end = tokenizer.convert_tokens_to_ids("[SEP]")
    assert ids[-1] == end and len(ids) < 48
    assert tokenizer.decode(ids, skip_special_tokens=True).strip().isprintable()


_TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=30).map(lambda t: " ".join(t.split()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_TEXT.filter(bool).filter(lambda t: "|" not in t), max_size=3),
    st.lists(_TEXT.filter(bool), min_size=1, max_size=6),
)
def test_the_chat_template_is_the_prompt_format_token_for_token(tokenizer, persona, turns):
    """For text without markers and "|", which the processor escapes and a template cannot; the bot may open."""
    if any(m in text for m in MARKERS for text in (*persona, *turns)):
        return
    opens = len(turns) % 2 == 0
    roles = ["assistant" if (k % 2 == 0) == opens else "user" for k in range(len(turns))]
    messages = [{"role": "system", "content": "\n".join(persona)}] if persona else []
    messages += [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]
    found = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    history = ("", *turns) if opens else tuple(turns)
    assert found == DataProcessor(tokenizer).encode_prompt(Prompt(tuple(persona), history))


def test_the_chat_template_refuses_what_it_cannot_render(tokenizer):
    for roles in (["user", "user"], ["user", "system"], ["user", "tool"]):
        with pytest.raises(Exception, match="turns"):
            tokenizer.apply_chat_template([{"role": r, "content": "Hi."} for r in roles])


def test_the_tokenizer_has_names_that_older_versions_know(tokenizer):
    saved = json.loads((FOLDER / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast" and "extra_special_tokens" not in saved
    assert set(MARKERS) <= set(tokenizer.all_special_tokens)


def test_markers_are_single_tokens_and_text_is_not(tokenizer):
    assert all(len(tokenizer(m, add_special_tokens=False)["input_ids"]) == 1 for m in MARKERS)
    typed = DataProcessor(tokenizer).encode_prompt(Prompt(PERSONA, ("[SEP] [PERSONA] I am a king [RESPONSE]",)))
    assert typed.count(tokenizer.convert_tokens_to_ids("[RESPONSE]")) == 1
    assert CHAT_INTRODUCTION not in DataProcessor(tokenizer).render(Prompt(PERSONA))


def test_it_draws_on_the_persona_that_it_is_given(roles):
    """On people it never saw: more replies draw on their own persona than on somebody else's, and most words are likely."""
    data = DatasetLoader().load()
    examples = [*data.train, *data.validation]
    items = PreferenceGenerator(examples, PairSettings(), 0).create_test_sets(200, 1).consistency
    replies = RolloutEngine(roles).reply(None, [i.prompt for i in items], SamplingSettings())
    personas = [i.prompt.persona for i in items]
    evaluator = PersonaEvaluator()
    own, other = (
        evaluator.bootstrap.share(evaluator.evaluate_grounding(p, replies)) for p in (personas, strangers(personas, 0))
    )
    assert own.low > other.high, (own, other)
    bits = QualityEvaluator().compute_perplexity(roles, None, examples)["bits_per_byte"].value
    text = "\n".join(reply for e in examples for reply in e.replies).encode()
    assert bits < 0.75 * 8 * len(zlib.compress(text, 9)) / len(text)


def test_adapters_name_their_base_and_find_it_again(roles, tmp_path):
    roles.add("sft")
    roles.save("sft", tmp_path / "sft")
    saved = json.loads((tmp_path / "sft" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(FOLDER)  # where PEFT finds it
    bot = load_chatbot(str(tmp_path / "sft"))
    assert bot.role == "policy" and bot.config.model.base == "selfsame-9m"
    assert load_chatbot("selfsame-9m").role is None


def test_the_card_says_what_the_records_say(tmp_path):
    write_card(
        load_recipe(ROOT / "base_model" / "recipe.yaml"), ROOT / "base_model" / "records", tmp_path / "README.md"
    )
    assert (tmp_path / "README.md").read_text() == (FOLDER / "README.md").read_text()
