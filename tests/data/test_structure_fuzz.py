"""Records with fields renamed, shuffled, nested and partly missing: the right dialogue or a reason, never another's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError

BOTS, USERS = ["bot", "Assistant", "gpt", "MODEL", "{{char}}"], ["user", "Human", "prompter", "{{user}}", "User"]
STRANGERS = ["Anna", "observation", "tool", "李雷", "o_o", "old man", "3vil_kat", "🐱 Kit", "2:30"]
ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORD = st.text(st.characters(categories=["Ll"]), min_size=3, max_size=8)
TURNS_KNOWN = ["turns", "conversations", "Messages", "conversation", "utterances", "dialog"]
TURNS = st.sampled_from(TURNS_KNOWN) | WORD
WHO_KNOWN = ["from", "role", "speaker", "Name", "author", "sender"]
WHO = st.sampled_from(WHO_KNOWN) | WORD
TEXT_KNOWN = ["value", "content", "text", "mes", "message", "body"]
TEXT = st.sampled_from(TEXT_KNOWN) | WORD
PERSONA_KNOWN = ["persona", "personality", "system", "bot_persona", "profile"]
PERSONA = st.sampled_from(PERSONA_KNOWN) | WORD


@st.composite
def files(draw: Any) -> tuple[str, list[tuple[str, str]], bool]:
    """(JSON of one dialogue, its turns as (side, text), none if they must not be placed, whether it must be read)."""
    bot, user, stranger = (draw(st.sampled_from(names)) for names in (BOTS, USERS, STRANGERS))
    with_stranger = draw(st.booleans())
    said = []
    for k in range(draw(st.integers(2, 7))):
        side = draw(st.sampled_from(["bot", "user", ""] if with_stranger else ["bot", "user"]))
        said.append((side, f"{side or 'stranger'} says {k} {draw(ODD)}".strip()))
    who, text = draw(st.tuples(WHO, TEXT).filter(lambda names: names[0] != names[1]))
    names = {"bot": bot, "user": user, "": stranger}
    # With nobody else there, a stranger is the one whom nobody else is; a tool is nobody.
    sides = {"bot": "bot", "user": "user", "": "user" if "bot" in dict(said) else "bot"}
    sides[""] = "" if stranger in ("observation", "tool") else sides[""]
    items: list[Any] = [draw(st.permutations([(who, names[side]), (text, one)])) for side, one in said]
    items = [dict(item) for item in items]
    form = draw(st.sampled_from(["objects", "pairs", "columns"]))
    if form == "objects" and "" not in dict(said) and draw(st.booleans()):  # both have one name, and flags
        items = [{**item, who: "Alex", "is_user": side == "user"} for item, (side, _) in zip(items, said, strict=True)]
    if draw(st.booleans()):  # something is missing
        broken = draw(st.integers(0, len(items) - 1))
        items[broken][text] = draw(st.sampled_from([None, "", "  ", 5, "\ud800"]))
        said[broken] = (said[broken][0], "")
    turns: Any = items
    if form == "pairs":
        turns = [[item[who], item[text]] for item in items]
    elif form == "columns":
        turns = {name: [item[name] for item in items] for name in (who, text)}
    traits = ["I bake bread.", "I keep bees."]
    persona = draw(st.sampled_from([traits, " ".join(traits)]))
    fields = draw(TURNS), draw(PERSONA)
    around = [(fields[0], turns), (fields[1], persona), ("source", "web"), ("score", 3)]
    record: Any = dict(draw(st.permutations(around)))
    for _ in range(draw(st.integers(0, 2))):
        record = draw(st.sampled_from([{draw(WORD): record}, {draw(WORD): [record]}, [record]]))
    crowd = len({side for side, _ in said}) > 2 and sides[""]
    # Whether a third is there may hang on the turn that is broken: either answer is right then.
    assume((len({side for side, one in said if one}) > 2) == (len({side for side, _ in said}) > 2))
    known = fields[0] in TURNS_KNOWN and fields[1] in PERSONA_KNOWN and who in WHO_KNOWN and text in TEXT_KNOWN
    sure = known and "" not in dict(said) and sum(bool(one) for _, one in said) > 1
    text = json.dumps(record, indent=draw(st.sampled_from([None, 1])))
    return text, [] if crowd else [(sides[s], t) for s, t in said], sure


@settings(max_examples=300, deadline=None)
@given(files())
def test_words_stay_with_their_speaker(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[str, list[tuple[str, str]], bool]
) -> None:
    text, said, sure = made
    path = tmp_path_factory.mktemp("fuzz") / "a.json"
    path.write_text(text, encoding="utf-8")
    try:
        dialogues, rejected = DatasetLoader().read(path)
    except DataError as error:
        assert not sure, str(error)
        assert "line " in str(error) or "who is the bot" in str(error)
        assert str(path) in str(error)
        return
    assert rejected == []
    (dialogue,) = dialogues
    heard = [(("user", "bot")[turn.speaker - 1], turn.text) for turn in dialogue.turns]
    assert heard == [(side, one) for side, one in said if side and one]
    assert dialogue.personas == ((), ("I bake bread.", "I keep bees."))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["User", "Marta", "Anna"]), WORD), min_size=2, max_size=8), st.booleans())
def test_lines_of_a_stranger_are_in_nobodys_turn(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], asked: bool
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    dialogue = "\n".join(f"{who}: {who} says {word}" for who, word in lines)
    path.write_text(json.dumps({"persona": "I bake.", "dialogue": dialogue}), encoding="utf-8")
    loader = DatasetLoader(DataSettings(bot="Marta" if asked else ""))
    try:
        (dialogues, _) = loader.read(path)
    except DataError as error:
        assert not asked or len({who for who, _ in lines}) != 2 or "Marta" not in dict(lines), str(error)
        assert "line 1" in str(error) or "who is the bot" in str(error) or "nobody is called 'Marta'" in str(error)
        return
    if not asked:
        assert len({who for who, _ in lines}) < 3
    for turn in dialogues[0].turns:
        names = [who for who, _ in lines if f"{who} says" in turn.text]
        assert len(set(names)) == 1
        assert (turn.speaker == 2) == (names[0] == ("Marta" if asked or "Marta" in dict(lines) else "Anna"))
