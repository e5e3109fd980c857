"""Chat templates in the wild: where the persona goes, the same tokens on every day, and a reason where none can serve."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import transformers.utils.chat_template_utils as rendering
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CHATML, make_tokenizer
from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import CHAT_INTRODUCTION, MARKERS
from selfsame.types import Prompt

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RAISES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% endfor %}"
    + TURNS
)
DROPS = TURNS.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
LAST_TURN = (
    "{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% endif %}{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|> "
    "{% if loop.last and sys is defined %}{{ sys + '\n\n' }}{% endif %}{{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
FIRST_TURN = (
    "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
    + TURNS.replace("{{ m['content'] | trim }}", "{% if loop.first %}{{ first }}{% endif %}{{ m['content'] | trim }}")
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set sys = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set sys = '' %}{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}<|im_start|>[INST] {{ (sys if loop.first else '') + m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} <|im_end|>{% endif %}{% endfor %}"
)
DATED = "<|im_start|>Today: {{ strftime_now('%d %B %Y, %H:%M') }}<|im_end|>" + TURNS
IN_FIRST_TURN = {"raises": RAISES, "alternates": ALTERNATES, "drops": DROPS, "last turn": LAST_TURN}
AS_SYSTEM = {"chatml": CHATML, "first turn": FIRST_TURN, "llama 2": LLAMA_2, "dated": DATED}
NO_END = "it marks no end of a user's turn"
TEMPLATES = IN_FIRST_TURN | AS_SYSTEM
PROMPT = Prompt(("I keep bees.", "I am old."), ("Hi", "Hello.", "And you?"))
TEXT = st.lists(
    st.one_of(st.sampled_from(["\n\n", "\n", "<|im_end|>", "[/INST]", "<<SYS>>", "\\", "a"]), st.text(max_size=6)),
    max_size=5,
).map("".join)
PROCESSORS = {name: DataProcessor(make_tokenizer(template), 4096) for name, template in TEMPLATES.items()}


def on_another_day(monkeypatch: Any) -> None:
    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime(2031, 2, 3, 4, 5)

    monkeypatch.setattr(rendering, "datetime", Moved)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_that_can_serve_is_used_as_its_family_uses_it(name):
    """Our prompt is what the template itself renders of a chat whose first user turn, or system message, is the persona."""
    processor, template = PROCESSORS[name], TEMPLATES[name]
    persona = CHAT_INTRODUCTION + "\n".join(PROMPT.persona)
    first = [("user", f"{persona}\n\n{PROMPT.history[0]}")]
    if name in AS_SYSTEM:
        first = [("system", persona), ("user", PROMPT.history[0])]
    talk = [*first, ("assistant", PROMPT.history[1]), ("user", PROMPT.history[2])]
    messages = [{"role": role, "content": text} for role, text in talk]
    plain = make_tokenizer(template)
    chat_template = processor.tokenizer.chat_template if name == "dated" else template
    theirs = plain.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, chat_template=chat_template
    )
    # A template may put a space in front of a reply and of its end; the reply's own tokens have none.
    squeezed = theirs.replace("[/INST] ", "[/INST]").replace(" <|im_end|>", "<|im_end|>")
    assert processor.render(PROMPT).replace("[/INST] ", "[/INST]") == squeezed
    assert processor.format.end == "<|im_end|>"
    assert ("first user turn" in processor.note) == (name in IN_FIRST_TURN)
    assert bool(processor.note) == (name in IN_FIRST_TURN or name == "dated")
    assert not {*MARKERS} & processor.tokenizer.get_vocab().keys()


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=80, deadline=None)
@given(persona=st.lists(TEXT, max_size=3), history=st.lists(TEXT, min_size=3, max_size=3), reply=TEXT)
def test_prompts_are_read_back_and_begin_later_ones(name, persona, history, reply):
    processor, prompt = PROCESSORS[name], Prompt(tuple(persona), tuple(history))
    if prompt.persona or any(prompt.history):
        assert processor.parse_prompt(processor.render(prompt)) == prompt
    later = prompt.followed_by(reply, "And?")
    assert processor.render(later).startswith(processor.render(prompt))
    ids = [*processor.encode_prompt(prompt), *processor.encode_reply(reply)]
    assert processor.encode_prompt(later)[: len(ids)] == ids


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_tokenizer_that_goes_out_renders_the_same_and_is_read_the_same(name, tmp_path):
    processor = PROCESSORS[name]
    processor.tokenizer.save_pretrained(tmp_path)
    again = type(processor.tokenizer).from_pretrained(tmp_path)
    messages = [{"role": "system", "content": CHAT_INTRODUCTION + "I keep bees."}, {"role": "user", "content": "Hi"}]
    rendered = again.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == processor.render(Prompt(("I keep bees.",), ("Hi",)))
    assert DataProcessor(again).format == processor.format


def test_a_template_with_a_date_gives_the_same_tokens_on_every_day(monkeypatch, tmp_path):
    today = PROCESSORS["dated"].encode_prompt(PROMPT)
    on_another_day(monkeypatch)
    tokenizer = make_tokenizer(DATED)
    assert "03 February 2031" in tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    processor = DataProcessor(tokenizer)
    assert processor.encode_prompt(PROMPT) == today
    assert "Today: 26 July 2024, 00:00<|im_end|>" in processor.render(PROMPT)
    assert processor.note == "the date in the base's chat template is 26 Jul 2024 on every day"
    other = make_tokenizer({"default": DATED, "tool_use": "{{ strftime_now('%Y') }}"})  # several templates of one model
    assert DataProcessor(other).encode_prompt(PROMPT) == today


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (TURNS + "{% if add_generation_prompt %}<think>\n{% endif %}", "its prompts are not the beginnings of later ones"),
        ("{% for m in messages %}{{ m['content'] }} {% endfor %}", "it ends no reply with a special token"),
        ("{% for m in messages %}{{ m['content'] + (' ', '<|im_end|>')[m['role'] == 'assistant'] }}{% endfor %}", NO_END),
        ("{{ messages[-1]['content'] }}", "it leaves out or repeats the system message"),
        ("{{ 1 / 0 }}", "it says 'division by zero'"),
        ("{% if %}", "it says \"Expected an expression, got"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_serve_is_named_with_the_reason(template, reason):
    processor = DataProcessor(make_tokenizer(template))
    assert processor.format.head == "[PERSONA]"
    assert processor.note.startswith(f"the base's chat template is not used, because {reason}")
    assert processor.note.endswith("four marker tokens are added and learned")


@pytest.mark.parametrize("template", [None, "{{ 1 / 0 }}"])
def test_added_markers_bring_their_own_template(template, tmp_path):
    """Whoever loads the tokenizer gets the prompts that the role was trained on, token for token."""
    processor = DataProcessor(make_tokenizer(template))
    processor.tokenizer.save_pretrained(tmp_path)
    again = type(processor.tokenizer).from_pretrained(tmp_path)
    roles = ["system", "user", "assistant", "user"]
    texts = ["\n".join(PROMPT.persona), *PROMPT.history]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    found = again.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert found == processor.encode_prompt(PROMPT)
