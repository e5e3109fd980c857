"""Templates that leave: Go's and jinja's write the tokens that the bot was trained on."""

from __future__ import annotations

import json
import re

import pytest
from outside import CUTS, GREETED, NOBODY, PROMPTS, go, split_by

from conftest import CHATML, make_tokenizer
from selfsame.cards.card import make_card
from selfsame.data.chat_template import FIXED_DAY, PERSONA_IN_FIRST_TURN, fix_day
from selfsame.data.processor import DataProcessor
from selfsame.errors import DataError
from selfsame.export.modelfile import modelfile
from selfsame.export.template import (
    INTRODUCED,
    go_template,
    leave_with_template,
    messages_of,
    other_prompts,
    plain_jinja,
    stop_words,
)
from selfsame.export.vocabulary import Unknown, pre_tokenizer
from selfsame.rollout.settings import SamplingSettings
from selfsame.types import Prompt

REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
BEGINS = "{{ '<|endoftext|>' }}" + CHATML
HELPFUL = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    + CHATML
)
DATED = "<|im_start|>Today: {{ strftime_now('%d %b %Y') }}<|im_end|>" + CHATML
BRACES = CHATML.replace("<|im_end|>' + '\n", "<|im_end|>' + '{{\n")
SHAPES = {
    "chatml": CHATML,
    "markers": None,
    "first turn": REFUSES_SYSTEM,
    "begins": BEGINS,
    "helpful": HELPFUL,
    "dated": DATED,
    "braces": BRACES,
}
OPENING = Prompt(("I keep bees.",))
STRANGER = Prompt((), ("", "Hello!", "Hi"))
ESCAPED = Prompt(("I say [SEP] and <|im_end|>.", "I like a | b."), ("Hi",))


def processor_of(shape: str) -> DataProcessor:
    made = DataProcessor(make_tokenizer(SHAPES[shape]), 512)
    leave_with_template(made)
    return made


def ids_of(processor: DataProcessor, messages: list[dict[str, str]]) -> list[int]:
    return processor.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def plain_ids(processor: DataProcessor, text: str) -> list[int]:
    """As a program reads a whole prompt: control tokens are found in it."""
    return list(processor.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("shape", SHAPES)
def test_ollama_sees_the_tokens_of_training(shape):
    processor = processor_of(shape)
    template = go_template(processor)
    for prompt in (*PROMPTS, GREETED, NOBODY, ESCAPED):
        messages = [message for message in messages_of(prompt) if message["role"] != "system"]
        system = [{"role": "system", "content": "the persona"}]  # Ollama lists it among the messages too
        rendered = go(template, processor.persona_text(prompt.persona), [*system, *messages])
        assert plain_ids(processor, rendered) == processor.encode_prompt(prompt), rendered
    begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I have"}]
    rendered = go(template, "I keep bees.", begun)
    assert rendered.endswith(f"{processor.lead}I have") and not rendered.endswith(processor.format.next)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_system_message_of_traits_gives_the_tokens_of_training(shape):
    processor = processor_of(shape)
    assert not other_prompts(processor)
    for prompt in (*PROMPTS, GREETED, OPENING, NOBODY, STRANGER):
        assert ids_of(processor, messages_of(prompt)) == processor.encode_prompt(prompt)
    again = DataProcessor(processor.tokenizer, 512)
    assert again.format == processor.format
    assert (INTRODUCED in processor.tokenizer.chat_template) == (shape != "markers")
    leave_with_template(again)
    assert again.tokenizer.chat_template == processor.tokenizer.chat_template  # an export of an export


def test_what_a_program_spells_out_is_not_written_twice():
    processor = processor_of("chatml")
    empty = [{"role": "system", "content": ""}, {"role": "user", "content": ""}]
    spelt_out = [*empty, *messages_of(STRANGER)]
    assert ids_of(processor, spelt_out) == processor.encode_prompt(STRANGER)


def test_prompts_that_differ_are_noticed():
    processor = processor_of("chatml")
    processor.tokenizer.chat_template = processor.tokenizer.chat_template.replace("<|im_end|>", "<|im_end|> ")
    assert other_prompts(processor) == ["with a persona", "without a persona", "where the bot opens"]
    tokenizer = make_tokenizer(CHATML.replace("m['content']", "m['content'] | trim"))
    trimmed = DataProcessor(tokenizer, 512)
    leave_with_template(trimmed)  # the sentence's line break stays in training alone, where no persona follows it
    assert other_prompts(trimmed) == ["without a persona"]


def test_a_frozen_day_stays_frozen():
    processor = processor_of("dated")
    template = processor.tokenizer.chat_template
    assert FIXED_DAY in template
    assert fix_day(processor.tokenizer) and processor.tokenizer.chat_template == template
    assert "26 Jul 2024" in go_template(processor)
    assert PERSONA_IN_FIRST_TURN in processor_of("first turn").tokenizer.chat_template


def test_the_tag_of_transformers_is_taken_out():
    tokenizer = make_tokenizer(CHATML)
    marked = CHATML.replace(
        "{{ '<|im_start|>' + m['role']", "{%- generation %}\n{{ '<|im_start|>' + m['role']"
    ).replace("+ '\n' }}{% endfor %}", "+ '\n' }}{%+ endgeneration -%}\n{% endfor %}")
    assert marked.count("generation") == 3  # and the prompt of one
    messages = messages_of(PROMPTS[1])
    texts = [
        tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
        for template in (marked, plain_jinja(marked))
    ]
    assert texts[0] == texts[1] and "generation " not in plain_jinja(marked)


def test_stop_words_and_sampling_are_those_of_training():
    processor = processor_of("markers")
    card = make_card({"name": "Ida", "description": "I bake.", "first_mes": "Hello\u00a0there."})
    sampling = SamplingSettings(temperature=0.5, top_p=0.9, max_new_tokens=40)
    text = modelfile(processor, sampling, ("I am Ida.", "I bake."), card)
    assert set(stop_words(processor)) == {"[SEP]", "[DIALOGUE]", "[RESPONSE]"}
    assert stop_words(processor_of("chatml"))[:2] == ["<|im_end|>", "<|im_start|>"]
    assert 'SYSTEM """I am Ida. | I bake."""' in text and 'MESSAGE assistant """Hello there."""' in text
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """[PERSONA]{{ if .System }} {{ .System }}{{ end }}[DIALOGUE]')
    lines = ("temperature 0.5", "top_p 0.9", "top_k 0", "repeat_penalty 1", "num_ctx 512", "num_predict 40")
    assert all(f"PARAMETER {line}\n" in text for line in lines)
    assert "SYSTEM" not in modelfile(processor, sampling)
    assert 'SYSTEM """I am Ida.\nI bake."""' in modelfile(processor_of("chatml"), sampling, ("I am Ida.", "I bake."))
    with pytest.raises(DataError, match="three quotation marks"):
        modelfile(processor, sampling, ('I say """.',))


@pytest.mark.parametrize("name", CUTS)
def test_pre_tokenizers_have_their_names(name):
    assert pre_tokenizer(whole_of(CUTS[name](), name == "llama-bpe")) == name


def test_other_tokenizers_have_none():
    whole = whole_of(CUTS["gpt-2"](), False)
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": None},
        {"model": whole["model"] | {"ignore_merges": True}},
        {"model": whole["model"] | {"byte_fallback": True}, "pre_tokenizer": {"type": "Metaspace"}},
        {"pre_tokenizer": {"type": "Metaspace"}},
        {"pre_tokenizer": whole["pre_tokenizer"] | {"add_prefix_space": True}},
        {"pre_tokenizer": whole_of(split_by(r"\w+"), False)["pre_tokenizer"]},
    ):
        with pytest.raises(Unknown):
            pre_tokenizer(whole | change)
    assert pre_tokenizer(whole | {"normalizer": {"type": "NFC"}}) == "gpt-2"


def whole_of(cutter, direct: bool) -> dict:
    """A `tokenizer.json` with this pre-tokenizer."""
    tokenizer = make_tokenizer().backend_tokenizer
    tokenizer.pre_tokenizer, tokenizer.model.ignore_merges = cutter, direct
    return json.loads(tokenizer.to_str())


def test_every_piece_of_go_is_known_to_the_test():
    assert not re.search(r"\{\{-|-\}\}", go_template(processor_of("braces")))
    with pytest.raises(KeyError):
        go("{{ .Prompt }}", "", [])
