"""Tables and texts as Excel and old programs write them."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from reading_files import read, spoken, write
from selfsame.errors import ConfigError, DataError

TABLE = 'persona;dialogue\n"Ich züchte Bienen.|Ich höre „Jazz“.";"User: Grüße; alles gut?\nBot: Natürlich – wie süß!"\n'
TALK = [(1, "Grüße; alles gut?"), (2, "Natürlich – wie süß!")]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (TABLE.encode(), ""),
        (b"\xef\xbb\xbf" + TABLE.encode(), ""),
        (b"\xef\xbb\xbfsep=;\r\n" + TABLE.encode(), ""),
        (
            ('"sep=|"\n' + TABLE.replace("|", " ").replace("; ", ", ").replace(";", "|")).replace(", ", "; ").encode(),
            "",
        ),
        (TABLE.encode("cp1252"), "read as cp1252, as it is not UTF-8 at byte offset 23"),
        (
            TABLE.replace("persona;dialogue", "persona\tdialogue").replace('";"', '"\t"').encode("utf-16"),
            "read as UTF-16",
        ),
        (TABLE.encode("utf-16-le"), "read as UTF-16"),
        (TABLE.encode("utf-16-be"), "read as UTF-16"),
    ],
)
def test_tables_of_excel(tmp_path: Path, content: bytes, note: str) -> None:
    (dialogue,), rejected, notes = read(write(tmp_path, "a.csv", content))
    assert rejected == [] and spoken(dialogue) == TALK
    assert "Ich züchte Bienen." in dialogue.personas[1][0]
    assert len(notes) == 1 + bool(note) and notes[0].startswith(f"a.csv: {note}")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Привет, как дела?", "cp1251"),
        ("你好，你是谁？我在这里", "gbk"),
        ("Chcę żółtą łódkę, miałem taką", "cp1250"),
        ("こんにちは、元気ですか", "cp932"),
    ],
)
def test_other_code_pages_are_not_guessed(tmp_path: Path, text: str, encoding: str) -> None:
    content = f"persona,dialogue\nI dig.,User: {text}\n".encode(encoding)
    with pytest.raises(DataError, match=r"is not UTF-8 at byte offset .* and not cp1252; save the file as UTF-8"):
        read(write(tmp_path, "a.csv", content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "is a zip archive or an Excel workbook; .* CSV UTF-8"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\xff\xfea\0b", "is damaged UTF-16 at byte offset 4"),
        (b"PAR1 and no more", "is damaged Parquet"),
        (b"\xff\xfe\n\0", "is empty"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, "a.csv", content))
    assert "\n" not in str(caught.value)


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"is Parquet, which needs pyarrow; pip install 'selfsame-chat\[hub\]'"):
        read(write(tmp_path, "train.parquet", b"PAR1"))
    with pytest.raises(ConfigError, match="is Parquet"):  # a folder finds it too
        read(tmp_path)


def test_lists_in_the_cells_of_a_table(tmp_path: Path) -> None:
    text = (
        "persona,conversations\n"
        '"[""I dig."", ""I bake.""]","[{""from"": ""human"", ""value"": ""a""}, {""from"": ""gpt"", ""value"": ""b""}]"\n'
        "\"['I dig.', 'I bake.']\",\"[{'from': 'human', 'value': 'a'}, {'from': 'gpt', 'value': 'b'}]\"\n"
    )
    dialogues, rejected, _ = read(write(tmp_path, "a.csv", text))
    assert rejected == [] and len(dialogues) == 2
    assert all(spoken(d) == [(1, "a"), (2, "b")] and d.personas[1] == ("I dig.", "I bake.") for d in dialogues)
