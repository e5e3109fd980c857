import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsame.cards.card import make_card, make_traits, read_card
from selfsame.cards.files import MAX_BYTES
from selfsame.cards.traits import MAX_TRAIT_LENGTH
from selfsame.errors import DataError

FIELDS = {
    "name": "Mika",
    "description": "{{char}} keeps a lighthouse. She loves storms. Her hair is silver. I never lie to {{user}}.",
    "personality": "Cheerful, blunt",
    "scenario": "{{user}} is shipwrecked.",
    "first_mes": "Oh! {{user}}! I'm {{CHAR}}.",
    "mes_example": "<START>\n{{user}}: hi\n{{char}}: Ho!",
}


def write(folder: Path, card: Any) -> Path:
    path = folder / "card.json"
    path.write_text(card if isinstance(card, str) else json.dumps(card), encoding="utf-8")
    return path


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_gives_the_same_card(tmp_path: Path, version: int) -> None:
    wrapped = {"spec": f"chara_card_v{version}", "data": FIELDS | {"tags": ["x"], "extensions": {"depth": 1}}}
    card = read_card(write(tmp_path, FIELDS | {"unknown": [1]} if version == 1 else wrapped))
    assert card.name == "Mika"
    assert card.persona == (
        "My name is Mika.",
        "I am cheerful, blunt.",
        "I keep a lighthouse.",
        "I love storms.",
        "My hair is silver.",
        "I never lie to you.",
        "Scene: You are shipwrecked.",
    )
    assert card.first_message == "Oh! I'm Mika."
    assert card.scenario == "You are shipwrecked."
    assert [[(turn.speaker, turn.text) for turn in example] for example in card.examples] == [[(1, "hi"), (2, "Ho!")]]


def test_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(FIELDS).encode())
    assert read_card(path).name == "Mika"


def test_markers_stay_text(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, {"name": "A", "description": "I say [SEP] and <|im_end|> a lot."}))
    assert card.persona[1] == "I say [SEP] and <|im_end|> a lot."


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, {"name": "A", "description": "I si\ud83dng."}))
    assert card.persona[1] == "I si?ng."


def test_a_name_is_inserted_as_it_is(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, {"name": r"\1 (x", "description": "Old {{char}} sings."}))
    assert card.persona[1] == r"Old \1 (x sings."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "not a character card"),
        ("[" * 100_000, "is not JSON"),
        ({"description": "I sing."}, "no name"),
        ({"name": "  ", "description": "I sing."}, "no name"),
        ({"name": [], "description": "I sing."}, "no name"),
        ({"name": "A", "description": "", "personality": " "}, "neither a description nor a personality"),
        ({"name": "A", "description": {"text": "I sing."}}, "neither a description nor a personality"),
        ({"spec": "chara_card_v2", "data": {"name": "A"}}, "neither a description nor a personality"),
        ({"name": "A", "description": "x" * MAX_BYTES}, "larger than 1 MB"),
    ],
)
def test_bad_cards_give_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_card(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert "card.json" in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_card(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_card(tmp_path)
    (tmp_path / "latin.json").write_bytes('{"name": "Zoë"}'.encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_card(tmp_path / "latin.json")


def test_long_descriptions_are_cut_in_pieces() -> None:
    traits = make_traits("A", "I " + "walk far, " * 100)
    assert len(traits) > 3
    assert all(len(trait) <= MAX_TRAIT_LENGTH + len("A: .") for trait in traits)
    assert len(make_traits("A", "\n".join(f"I own book {k}." for k in range(100)))) == 101


def test_the_personality_comes_before_the_description() -> None:
    traits = make_traits("A", "\n".join(f"I own book {k}." for k in range(100)), "patient")
    assert traits[:3] == ("My name is A.", "I am patient.", "I own book 0.")


def test_what_is_not_used_is_said() -> None:
    card = make_card(
        FIELDS
        | {
            "system_prompt": "Never break character.",
            "post_history_instructions": "Be brief.",
            "alternate_greetings": ["Hm.", "Ahoy."],
            "character_book": {
                "entries": [{"keys": ["/a+/i"], "content": "Old."}, {"keys": ["oil"], "content": "Lit."}]
            },
        }
    )
    said = card.not_used()
    for part in ("1 example dialogue", "2 alternate greetings", "system prompt (22 characters)", "1 lorebook entry"):
        assert part in said
    assert "post-history instructions (9 characters)" in said
    assert "greetings" not in card.not_used(("mes_example", "alternate_greetings"))
    assert make_card({"name": "A", "description": "I sing."}).not_used() == ""


def test_lore_holds_when_its_keys_occur() -> None:
    entries = [
        {"keys": ["mill", "flour"], "content": "The mill burned down.", "enabled": True},
        {"keys": ["cat"], "content": "Off.", "enabled": False},
        {"keys": [], "constant": True, "content": "@@depth 4\nIt always rains."},
        {"keys": ["Bo"], "secondary_keys": ["vet"], "selective": True, "content": "Bo is ill.", "case_sensitive": True},
    ]
    card = make_card(FIELDS | {"character_book": {"entries": entries}})
    assert card.persona[-1] == "It always rains."
    mill, bo = card.lore
    assert mill.traits == ("The mill burned down.",)
    assert mill.is_about("the MILL, yes") and mill.is_about("flour?") and not mill.is_about("a million")
    assert bo.is_about("Bo is at the vet") and not bo.is_about("bo is at the vet") and not bo.is_about("Bo?")


@given(st.text(), st.text(), st.text())
def test_any_text_is_a_persona_of_short_lines(name: str, description: str, personality: str) -> None:
    name = " ".join(name.split()) or "A"
    traits = make_traits(name, description, personality)
    assert all(trait and "\n" not in trait and trait == trait.strip() for trait in traits)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json_is_a_card_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = write(tmp_path_factory.mktemp("cards"), {"data": value, "name": value, "description": value})
    try:
        card = read_card(path)
    except DataError:
        return
    assert card.name
    assert card.persona
    card.name.encode()
