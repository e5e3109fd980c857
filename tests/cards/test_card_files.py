"""Cards in pictures and archives, in and out."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from selfsame.cards.card import make_card, read_card
from selfsame.cards.files import MAX_BYTES
from selfsame.cards.write import card_object, write_card
from selfsame.errors import ConfigError, DataError, RunError

DATA = {
    "name": "Ida",
    "description": "Ida bakes. She has a goat. Größe: 1,70 ☕",
    "first_mes": "Hi!",
    "tags": ["x"],
    "extensions": {"a": [1]},
}


def encoded(name: str = "Ida") -> str:
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**DATA, "name": name}}
    return base64.b64encode(json.dumps(card).encode()).decode()


def picture(*texts: tuple[str, str], compressed: bool = False) -> bytes:
    info, out = PngImagePlugin.PngInfo(), io.BytesIO()
    for keyword, text in texts:
        info.add_text(keyword, text, zip=compressed)
    Image.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def behind(png: bytes, added: bytes) -> bytes:
    """The picture with a chunk behind the image."""
    end = png.rindex(b"IEND") - 4
    return png[:end] + added + png[end:]


TEXT = b"chara\0" + encoded().encode()
PICTURES = {
    "tEXt": picture(("chara", encoded())),
    "ccv3": picture(("ccv3", encoded())),
    "zTXt": picture(("Chara", encoded()), compressed=True),
    "iTXt": behind(picture(), chunk(b"iTXt", b"chara\0\0\0\0\0" + encoded().encode())),
    "tEXt behind the image": behind(picture(("Software", "x")), chunk(b"tEXt", TEXT)),
    "zTXt behind the image": behind(picture(), chunk(b"zTXt", b"chara\0\0" + zlib.compress(encoded().encode()))),
    "the newer form first": picture(("chara", encoded("Old")), ("ccv3", encoded())),
    "plain JSON": picture(("chara", json.dumps(DATA))),
    "damaged behind the card": picture(("chara", encoded()))[:-20],
}


@pytest.mark.parametrize("form", PICTURES)
def test_a_picture_is_the_card_in_it(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ida.png"
    path.write_bytes(PICTURES[form])
    card = read_card(path)
    assert (card.name, card.first_message) == ("Ida", "Hi!")
    assert card.persona[:3] == ("My name is Ida.", "I bake.", "I have a goat.")


BAD = {
    "no text": (picture(), "without a card .it has no text chunk"),
    "other text": (picture(("Comment", "x")), "its text chunks are comment"),
    "no base64": (picture(("chara", "%%%")), "is damaged .its chunk 'chara' is not base64"),
    "no JSON": (picture(("chara", base64.b64encode(b"oh").decode())), "is not JSON"),
    "a bomb": (behind(picture(), chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"A" * 50_000_000))), "too large"),
    "cut off": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "too long": (picture(("chara", base64.b64encode(b" " * (MAX_BYTES + 3)).decode())), "too large|larger than 1 MB"),
    "a JPEG": (b"\xff\xd8\xff\xe0", "JPEG, WebP and GIF lose it"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_picture_without_a_card_gives_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ida.png"
    path.write_bytes(BAD[kind][0])
    with pytest.raises(DataError, match=BAD[kind][1]) as caught:
        read_card(path)
    assert "\n" not in str(caught.value)
    assert "ida.png" in str(caught.value)


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name.replace("_json", ".json"), content)
    return path


def test_charx(tmp_path: Path) -> None:
    card = json.dumps({"spec": "chara_card_v3", "data": DATA}).encode()
    assert read_card(archive(tmp_path / "a.charx", card_json=card, icon=b"x")).name == "Ida"
    with pytest.raises(DataError, match=r"without card\.json .it holds icon"):
        read_card(archive(tmp_path / "b.charx", icon=b"x"))
    with pytest.raises(DataError, match="larger than 1 MB"):
        read_card(archive(tmp_path / "c.charx", card_json=b" " * 300_000_000))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_archive_gives_one_line(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.charx", "w", method) as made:
        made.writestr("card.json", json.dumps(DATA | {"description": "I bake bread every day. " * 30}))
    raw = (tmp_path / "a.charx").read_bytes()
    told = []
    for at in range(39, raw.index(b"PK\x01\x02"), 3):
        (tmp_path / "a.charx").write_bytes(raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :])
        with contextlib.suppress(DataError):
            read_card(tmp_path / "a.charx")
            continue
        told.append(at)
    assert told


def test_a_large_picture_gives_one_line_and_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    raw = picture(("chara", encoded()))
    header = struct.pack(">II", 12_000, 10_000) + raw[24:29]
    (tmp_path / "a.png").write_bytes(raw[:8] + chunk(b"IHDR", header) + raw[33:])
    with pytest.raises(DataError, match="the picture is damaged or too large"):
        read_card(tmp_path / "a.png")
    assert not [warning for warning in recwarn if "pixels" in str(warning.message)]


ODD_YAML = {
    "a date": "creation: 2024-01-01",
    "a date as a name": "2024-01-01: x",
    "bytes": "x: !!binary aGk=",
    "a set": "x: !!set {a, b}",
    "no number": "x: .nan",
    "a long number": "x: 0x" + "f" * 9000,
    "a long number that is read": "personality: 0x" + "f" * 9000,
}


@pytest.mark.parametrize("kind", ODD_YAML)
def test_what_yaml_says_and_json_does_not_is_written_as_text(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.yaml").write_text(f"name: Ida\ncontext: Ida bakes.\n{ODD_YAML[kind]}\n", encoding="utf-8")
    card = read_card(tmp_path / "a.yaml")
    for name in ("b.json", "b.png"):
        write_card(card, tmp_path / name)
        assert read_card(tmp_path / name).persona == card.persona
    json.loads((tmp_path / "b.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "line", ["x: !!bool soon", "x: !!timestamp soon", "x: !!int soon", "x: " + "[" * 150 + "]" * 150]
)
def test_values_that_yaml_cannot_make_give_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.yaml").write_text(f"name: Ida\ncontext: Ida bakes.\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"not YAML|levels") as caught:
        read_card(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_deep_lists_give_one_line(tmp_path: Path) -> None:
    for depth in (300, 900):
        (tmp_path / "a.json").write_text(f'{{"name": "Ida", "description": {"[" * depth}{"]" * depth}}}')
        with pytest.raises(DataError, match="more than 100 levels"):
            read_card(tmp_path / "a.json")


def test_yaml(tmp_path: Path) -> None:
    path = tmp_path / "ida.yaml"
    path.write_text("name: Ida\ncontext: |\n  Ida bakes.\n  She has a goat.\ngreeting: Hi!\n", encoding="utf-8")
    assert read_card(path).persona == ("My name is Ida.", "I bake.", "I have a goat.")
    path.write_text("a: &x [1]\nb: [*x, *x]\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds references"):
        read_card(path)


# --- out


@pytest.mark.parametrize("ending", ["json", "png"])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str) -> None:
    whole = card_object(make_card(DATA))["data"]
    card = make_card({"spec": "chara_card_v3", "data": whole})
    write_card(card, tmp_path / f"one.{ending}")
    again = read_card(tmp_path / f"one.{ending}")
    assert again == card
    write_card(again, tmp_path / f"two.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()


def test_every_field_survives(tmp_path: Path) -> None:
    card = make_card({"spec": "chara_card_v2", "data": DATA})
    for version in (2, 3):
        write_card(card, tmp_path / "card.json", version)
        written: dict[str, Any] = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
        assert (written["spec"], written["spec_version"]) == (f"chara_card_v{version}", f"{version}.0")
        assert written["data"] | DATA == written["data"]


def test_a_picture_holds_both_versions_for_other_programs(tmp_path: Path) -> None:
    Image.new("RGBA", (7, 5)).save(tmp_path / "art.webp")
    write_card(make_card(DATA), tmp_path / "card.png", picture=tmp_path / "art.webp")
    with Image.open(tmp_path / "card.png") as image:
        assert image.size == (7, 5)
        texts = {key: json.loads(base64.b64decode(str(text))) for key, text in image.info.items()}
    assert {key: card["spec"] for key, card in texts.items()} == {"chara": "chara_card_v2", "ccv3": "chara_card_v3"}


def test_mistakes_in_writing_give_one_line(tmp_path: Path) -> None:
    card = make_card(DATA)
    with pytest.raises(ConfigError, match=r"written as \.json or \.png"):
        write_card(card, tmp_path / "card.webp")
    with pytest.raises(ConfigError, match="has no picture"):
        write_card(card, tmp_path / "card.json", picture="x.png")
    with pytest.raises(DataError, match=r"none\.png: cannot be used as a picture"):
        write_card(card, tmp_path / "card.png", picture="none.png")
    with pytest.raises(RunError, match="cannot write"):
        write_card(card, tmp_path / "none" / "card.json")
    assert [*tmp_path.iterdir()] == []
