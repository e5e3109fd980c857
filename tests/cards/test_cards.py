import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsame.cards.card import MAX_BYTES, MAX_TRAIT_LENGTH, MAX_TRAITS, make_traits, read_card
from selfsame.errors import DataError

FIELDS = {
    "name": "Mika",
    "description": "{{char}} keeps a lighthouse. She loves storms. Her hair is silver. I never lie to {{user}}.",
    "personality": "Cheerful, blunt",
    "scenario": "{{user}} is shipwrecked.",
    "first_mes": "Oh! {{user}}! I'm {{CHAR}}.",
    "mes_example": "<START>\n{{user}}: hi",
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
        "Mika keeps a lighthouse.",
        "Mika loves storms.",
        "Mika's hair is silver.",
        "I never lie to you.",
        "Mika is cheerful, blunt.",
    )
    assert card.first_message == "Oh! you! I'm Mika."
    assert card.scenario == "you are shipwrecked."


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
    card = read_card(write(tmp_path, {"name": r"\1 (x", "description": "{{char}} sings."}))
    assert card.persona[1] == r"\1 (x sings."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "not a character card"),
        ("[" * 100_000, "is not JSON"),
        ({"description": "I sing."}, "no name"),
        ({"name": "  ", "description": "I sing."}, "no name"),
        ({"name": 5, "description": "I sing."}, "no name"),
        ({"name": "A", "description": "", "personality": " "}, "neither a description nor a personality"),
        ({"name": "A", "description": ["I sing."]}, "neither a description nor a personality"),
        ({"spec": "chara_card_v2", "data": {"name": "A"}}, "neither a description nor a personality"),
        ({"name": "A", "description": "x" * MAX_BYTES}, "larger than 1 MB"),
    ],
)
def test_bad_cards_give_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_card(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert "card.json" in str(caught.value)


def test_missing_picture_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_card(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_card(tmp_path)
    (tmp_path / "card.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="is a picture"):
        read_card(tmp_path / "card.png")
    (tmp_path / "latin.json").write_bytes('{"name": "Zoë"}'.encode("latin-1"))
    with pytest.raises(DataError, match="is not JSON"):
        read_card(tmp_path / "latin.json")


def test_long_descriptions_are_cut_in_pieces() -> None:
    traits = make_traits("A", "I " + "walk far, " * 100)
    assert len(traits) > 3
    assert all(len(trait) <= MAX_TRAIT_LENGTH + len("A: .") for trait in traits)
    assert len(make_traits("A", "\n".join(f"I own book {k}." for k in range(100)))) == MAX_TRAITS


@given(st.text(), st.text(), st.text())
def test_any_text_is_a_persona_of_short_lines(name: str, description: str, personality: str) -> None:
    name = " ".join(name.split()) or "A"
    traits = make_traits(name, description, personality)
    assert len(traits) <= MAX_TRAITS
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
