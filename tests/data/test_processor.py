"""Rendering and parsing: exact inverses, and text from people never becomes a control token."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CHATML, make_tokenizer
from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import MARKERS
from selfsame.errors import DataError
from selfsame.types import Dialogue, Example, Prompt, Turn

PROCESSORS = {"markers": DataProcessor(make_tokenizer(), 4096), "chat": DataProcessor(make_tokenizer(CHATML), 4096)}
CONTROL = st.sampled_from(
    [
        *MARKERS,
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "[\\SEP]",
        "[\\\\SEP]",
        "|",
        "\\|",
        " | ",
        "\\",
        "[SE",
        "P]",
        "[",
        "]",
        "\n",
    ]
)
TEXT = st.lists(st.one_of(CONTROL, st.text(max_size=8)), max_size=6).map("".join)
PROMPTS = st.builds(
    lambda persona, first, rest: Prompt(tuple(persona), (first, *(t for pair in rest for t in pair))),
    st.lists(TEXT, max_size=4),
    TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=3),
)


@pytest.mark.parametrize("kind", PROCESSORS)
@settings(max_examples=300, deadline=None)
@given(prompt=PROMPTS)
def test_parse_is_the_inverse_of_render(kind, prompt):
    processor = PROCESSORS[kind]
    if not prompt.persona and not any(prompt.history):
        with pytest.raises(DataError, match="nothing but control markers"):
            processor.parse_prompt(processor.render(prompt))
    else:
        assert processor.parse_prompt(processor.render(prompt)) == prompt


@pytest.mark.parametrize("kind", PROCESSORS)
@settings(max_examples=200, deadline=None)
@given(prompt=PROMPTS)
def test_number_of_control_tokens_depends_on_the_turns_alone(kind, prompt):
    processor = PROCESSORS[kind]
    special = set(processor.tokenizer.all_special_ids) | {processor.end_id}
    plain = Prompt(("a",), tuple("b" for _ in prompt.history))
    count = [sum(i in special for i in processor.encode_prompt(p)) for p in (prompt, plain)]
    assert count[0] == count[1] > 0


@pytest.mark.parametrize("kind", PROCESSORS)
@settings(max_examples=200, deadline=None)
@given(text=TEXT)
def test_reply_survives_tokens(kind, text):
    processor = PROCESSORS[kind]
    assert processor.decode_reply(processor.encode_reply(text)) == text.strip()


@pytest.mark.parametrize("kind", PROCESSORS)
def test_tokens_read_as_the_rendered_text(kind):
    processor = PROCESSORS[kind]
    prompt = Prompt(("I have two dogs.", "I [SEP] teach | often."), ("Hi!", "Hello.", "What do you do?"))
    decoded = processor.tokenizer.decode(
        processor.encode_prompt(prompt), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    assert processor.parse_prompt(decoded) == prompt


def test_marker_form_is_the_documented_one():
    text = PROCESSORS["markers"].render(Prompt(("p one", "p two"), ("their turn", "my turn", "their next")))
    assert text == "[PERSONA] p one | p two [DIALOGUE] their turn [RESPONSE] my turn [SEP] their next [RESPONSE]"


@pytest.mark.parametrize(
    ("text", "history"),
    [
        ("[PERSONA] p [DIALOGUE] t1 [RESPONSE]", ("t1",)),
        ("[PERSONA] p [DIALOGUE] t1 [SEP] t2 [SEP] t3 [RESPONSE]", ("t1", "t2", "t3")),
        ("[PERSONA] p [DIALOGUE] t1 [SEP] t2 [RESPONSE]", ("", "t1", "t2")),
    ],
)
def test_plain_form_is_read(text, history):
    assert PROCESSORS["markers"].parse_prompt(text) == Prompt(("p",), history)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[PERSONA] p [DIALOGUE] t",
        "[DIALOGUE] t [RESPONSE]",
        "[PERSONA] [DIALOGUE] [RESPONSE]",
        "[PERSONA][DIALOGUE] [SEP] [SEP] [RESPONSE]",
    ],
)
def test_what_is_no_prompt_is_refused(text):
    with pytest.raises(DataError):
        PROCESSORS["markers"].parse_prompt(text)


def example() -> Example:
    turns = [
        Turn(1, "Hi!"),
        Turn(2, "Hello."),
        Turn(1, "Any pets?"),
        Turn(2, "Two dogs."),
        Turn(2, "And a cat."),
        Turn(1, "Nice."),
        Turn(2, "Yes!"),
    ]
    return Dialogue("d", (("I am one.",), ("I have two dogs.",)), tuple(turns)).seen_by(2)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_dialogue_row_holds_every_prompt_and_reply(kind):
    """Each own turn stands in the row exactly as sampling would see it: its prompt in front, its end token last."""
    processor, side = PROCESSORS[kind], example()
    (row,) = processor.encode_example(side)
    assert side.turns == ("Hi!", "Hello.", "Any pets?", "Two dogs.\nAnd a cat.", "Nice.", "Yes!")
    assert len(row.spans) == 3
    traits = processor.tokenizer.decode(row.ids[slice(*row.persona)])
    assert [t.strip() for t in traits.split(processor.format.joiner.strip() or "\n")] == list(side.persona)
    for (start, end), (prompt, reply) in zip(row.spans, side.prompts(), strict=True):
        assert row.ids[:start] == processor.encode_prompt(prompt)
        assert row.ids[start:end] == processor.encode_reply(reply)


def test_a_long_dialogue_becomes_several_rows_with_the_persona_in_front():
    processor = DataProcessor(make_tokenizer(), 40)
    side = example()
    rows = processor.encode_example(side)
    header = processor.header_ids(Prompt(side.persona))
    assert len(rows) > 1 and all(row.ids[: len(header)] == header and len(row.ids) <= 40 for row in rows)
    assert sum(len(row.spans) for row in rows) == 3


def test_the_oldest_exchanges_leave_a_long_prompt_and_the_persona_stays():
    processor = DataProcessor(make_tokenizer(), 60)
    prompt = Prompt(("I have two dogs.",), tuple(f"turn number {k}" for k in range(41)))
    ids = processor.encode_prompt(prompt, reserve=10)
    kept = processor.parse_prompt(processor.tokenizer.decode(ids))
    assert len(ids) <= 50 and kept.persona == prompt.persona
    assert 1 < len(kept.history) < 41 and kept.history == prompt.history[-len(kept.history) :]


def test_a_persona_longer_than_the_context_is_refused():
    processor = DataProcessor(make_tokenizer(), 64)
    with pytest.raises(DataError, match="persona has"):
        processor.encode_prompt(Prompt(("I have two dogs. " * 50,)))
    with pytest.raises(DataError, match="more than the 5"):
        processor.encode_reply("one two three four five six seven", limit=5)
