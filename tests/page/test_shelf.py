"""Characters that visitors bring and take away."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from selfsame.cards.card import make_card, read_card
from selfsame.cards.write import write_card
from selfsame.errors import ConfigError, DataError, RunError
from selfsame.page.shelf import Shelf
from selfsame.serve.hub import _cards as load_cards


def card_of(name, **more):
    return make_card({"name": name, "description": "I fix clocks.", **more})


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "cards").mkdir()
    Image.new("RGB", (30, 40), (200, 10, 10)).save(tmp_path / "red.png")
    write_card(card_of("Mika"), tmp_path / "cards" / "mika.png", picture=tmp_path / "red.png")
    return Shelf([str(tmp_path / "cards")], tmp_path / "other", [card_of("Own")])


def test_what_is_brought_stays_with_its_picture(shelf, tmp_path):
    write_card(card_of("Dr. Öz"), tmp_path / "oz.png", picture=tmp_path / "red.png")
    write_card(card_of("Ida"), tmp_path / "ida.json")
    found, wrong = shelf.bring_all([str(tmp_path / "oz.png"), str(tmp_path / "ida.json"), str(tmp_path / "red.png")])
    assert [one.name for one in found] == ["Dr. Öz", "Ida"]
    assert len(wrong) == 1 and wrong[0].startswith("red.png: is a picture without a card")
    again = Shelf([str(tmp_path / "cards")], tmp_path)
    assert sorted(one.name for one in again.all()) == ["Dr. Öz", "Ida", "Mika"]
    assert again.find("Dr. Öz").thumbnail.getpixel((5, 5)) == (200, 10, 10)
    assert shelf.find("Ida").thumbnail.size == shelf.find("Mika").thumbnail.size


def test_what_is_taken_away_is_the_card(shelf, tmp_path):
    for kind in ("png", "json"):
        path = shelf.export("Mika", kind, tmp_path)
        assert path.name == f"mika.{kind}" and read_card(path).persona == card_of("Mika").persona
    with Image.open(tmp_path / "mika.png") as picture:
        assert picture.getpixel((5, 5)) == (200, 10, 10)
    with pytest.raises(ConfigError, match="choose a character"):
        shelf.export("nobody", "png", tmp_path)


def test_a_name_is_no_path(shelf, tmp_path):
    for name in ("../../up", "a/b", "/etc/x", "..", "x" * 190):
        (tmp_path / "in.json").write_text(json.dumps({"name": name, "description": "I fix clocks."}))
        shelf.bring(tmp_path / "in.json")
        assert shelf.export(name, "json", tmp_path / "cards").parent == tmp_path / "cards"
    assert {path.name for path in tmp_path.iterdir()} == {"cards", "red.png", "in.json"}


@pytest.mark.parametrize("ending", ["png", "json"])
def test_nobody_takes_the_place_of_a_card_that_was_there(shelf, tmp_path, ending):
    """Under its own name, under another one, and as the character of a model."""
    write_card(card_of("Ann"), tmp_path / "cards" / f"bob.{ending}")
    shelf = Shelf([str(tmp_path / "cards")], tmp_path, [card_of("Own")])
    before = {path.name: path.read_bytes() for path in shelf.folder.iterdir()}
    for name in ("MIKA!", "Bob", "Own"):
        write_card(card_of(name), tmp_path / f"in.{ending}")
        with pytest.raises(ConfigError, match="rename yours"):
            shelf.bring(tmp_path / f"in.{ending}")
    assert {path.name: path.read_bytes() for path in shelf.folder.iterdir()} == before
    assert len(load_cards([str(shelf.folder)])) == 2 and shelf.find("Mika").name == "Mika"


def test_who_brings_a_card_again_leaves_one_file(shelf, tmp_path):
    for name, ending in (
        ("Eve", "json"),
        ("Eve", "png"),
        ("EVE", "png"),
        ("Eve", "json"),
        ("?!", "json"),
        ("¡…", "json"),
    ):
        write_card(card_of(name), tmp_path / f"in.{ending}")
        shelf.bring(tmp_path / f"in.{ending}")
    kept = sorted(path.name for path in shelf.folder.iterdir())
    assert len(kept) == 4 and "eve.json" in kept and "eve.png" not in kept
    assert sorted(card.name for card in load_cards([str(shelf.folder)])) == ["?!", "Eve", "Mika", "¡…"]


def test_a_picture_is_decoded_once_and_is_of_some_size(shelf, tmp_path, monkeypatch):
    assert shelf.find("Mika").thumbnail is shelf.find("mika").thumbnail
    write_card(card_of("Eve"), tmp_path / "in.png", picture=tmp_path / "red.png")
    monkeypatch.setattr("selfsame.page.shelf.MOST_PIXELS", 30 * 40 - 1)
    found, wrong = shelf.bring_all([str(tmp_path / "in.png")])
    assert not found and wrong[0].startswith("in.png: the picture has 30 x 40 pixels")


def test_what_cannot_be_kept_is_told(shelf, tmp_path, monkeypatch):
    (tmp_path / "in.json").write_text('{"name": "Eve"}')
    with pytest.raises(DataError, match="neither a description"):
        shelf.bring(tmp_path / "in.json")
    write_card(card_of("Eve"), tmp_path / "in.json")
    shelf.folder = tmp_path / "gone"
    with pytest.raises(RunError, match="cannot write"):
        shelf.bring(tmp_path / "in.json")
    monkeypatch.setattr("selfsame.page.shelf.MOST", 2)
    with pytest.raises(ConfigError, match="which is the most"):
        shelf.bring(tmp_path / "in.json")


def test_a_damaged_picture_costs_the_picture_alone(shelf, tmp_path):
    raw = (tmp_path / "cards" / "mika.png").read_bytes()
    at = raw.index(b"IDAT") + 8
    (tmp_path / "cards" / "mika.png").write_bytes(raw[:at] + b"\0" * 8 + raw[at + 8 :])
    assert shelf.find("Mika").thumbnail.size == shelf.find("Own").thumbnail.size
    assert "I fix clocks." in shelf.find("Mika").html()
