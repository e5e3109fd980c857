import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsame.data.loader import DatasetLoader, convert
from selfsame.data.speakers import _MACRO
from selfsame.errors import ConfigError, DataError
from selfsame.types import Dialogue, Turn, clean_persona

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LOADER = DatasetLoader()
ROW = {
    "id": "d",
    "user1_persona": ["I have two dogs."],
    "user2_persona": ["I teach."],
    "turns": [[1, "Hi."], [2, "Hello."]],
}
SPC_HEADER = "user 1 personas,user 2 personas,Best Generated Conversation\n"
SPC_ROW = '"I bake.\nI knit.",I fly.,"User 1: Hi!\nUser 2: Hello!\nand more"\n'


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_canonical_rows(tmp_path: Path) -> None:
    row = ROW | {
        "user1_persona": [" ", "I have  two dogs. "],
        "turns": [[1, " Hi. ", [1]], [2, "Hello.", []], [1, "Bye."]],
    }
    path = write(tmp_path, "a.jsonl", "\n" + jsonl(row, {**ROW, "id": None}))
    dialogues, rejected = LOADER.read(path)
    assert rejected == []
    assert dialogues[0] == Dialogue(
        "d",
        (("I have two dogs.",), ("I teach.",)),
        (Turn(1, "Hi.", (0,)), Turn(2, "Hello.", ()), Turn(1, "Bye.")),  # the index counts the traits that are left
    )
    assert dialogues[1].id == "a-00003"


def test_rows_of_ones_own(tmp_path: Path) -> None:
    turns = [
        {"speaker": "user", "text": "Pets?"},
        {"speaker": "bot", "text": "Two!", "traits": [0]},
        {"speaker": 1, "text": "Oh"},
    ]
    rows = [
        {"persona": ["I have two dogs."], "turns": turns},
        {"persona": ["A."], "partner_persona": ["B."], "turns": turns},
    ]
    rows.append({"persona": "I bake.|I knit.", "dialogue": "User: Hi\nBot: Hello"})
    dialogues, rejected = LOADER.read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert rejected == []
    assert dialogues[0].personas == ((), ("I have two dogs.",))
    assert dialogues[0].turns == (Turn(1, "Pets?"), Turn(2, "Two!", (0,)), Turn(1, "Oh"))
    assert dialogues[1].personas == (("B.",), ("A.",))
    assert dialogues[2].personas == ((), ("I bake.", "I knit."))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{bad", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('"text"', "is not a JSON object"),
        (json.dumps({"turns": []}), "has 0 turns, at least 2"),
        (json.dumps({"persona": ["I bake."]}), "has no turns"),
        (json.dumps(ROW | {"turns": 5}), "has no turns that can be read"),
        (json.dumps(ROW | {"user1_persona": 5}), "a persona is a list of texts"),
        (json.dumps(ROW | {"user1_persona": [5]}), "a trait is not a text"),
        (json.dumps(ROW | {"user1_persona": [], "user2_persona": [" "]}), "neither speaker has a persona"),
        (json.dumps(ROW | {"turns": [[1, "Hi."]]}), "has 1 turns, at least 2"),
        (json.dumps(ROW | {"turns": [[1, "Hi."], [3, "Ho."]]}), "turn 2 has the unknown speaker 3"),
        (json.dumps(ROW | {"turns": [[True, "Hi."], [2, "Ho."]]}), "turn 1 has the unknown speaker True"),
        (json.dumps(ROW | {"turns": [["Bob", "Hi."], [2, "Ho."]]}), "turn 1 has the unknown speaker 'Bob'"),
        (json.dumps(ROW | {"turns": [[1, "Hi."], [2, None]]}), "turn 2 is not a text: None"),
        (json.dumps(ROW | {"turns": [[1, "Hi."], [2, " "]]}), "turn 2 has no text"),
        (json.dumps(ROW | {"turns": [[1, "Hi."], "Ho."]}), "turn 2 is not .speaker, text."),
        (json.dumps(ROW | {"turns": [[1, "Hi.", [1]], [2, "Ho."]]}), "turn 1 uses traits"),
        (json.dumps(ROW | {"turns": [[1, "Hi.", "0"], [2, "Ho."]]}), "turn 1 uses traits"),
        (json.dumps(ROW | {"turns": [[1, "Hi."], [2, "\ud83d"]]}), "turn 2 holds half a surrogate pair"),
        (json.dumps(ROW | {"id": "good"}), "the id 'good' was used before, on line 1"),
    ],
)
def test_bad_rows_are_set_aside(tmp_path: Path, line: str, reason: str) -> None:
    good = json.dumps(ROW | {"id": "good"})
    path = write(tmp_path, "a.jsonl", f"{good}\n\n{line}\n{json.dumps(ROW | {'id': 'last'})}\n")
    dialogues, rejected = LOADER.read(path)
    assert [dialogue.id for dialogue in dialogues] == ["good", "last"]
    (row,) = rejected
    assert (row.file, row.line) == (str(path), 3)
    assert row.reason.startswith(reason.split(".")[0]), row.reason
    assert "\n" not in row.reason


def test_spc_csv_with_true_line_numbers(tmp_path: Path) -> None:
    bad = "I bake.,I fly.,Hi there!\n"
    text = "\ufeff" + SPC_HEADER + SPC_ROW + bad + SPC_ROW + "one,two\n"
    dialogues, rejected = LOADER.read(write(tmp_path, "a.csv", text))
    assert [(row.line, row.reason[:20]) for row in rejected] == [
        (6, "the conversation doe"),
        (11, "has 2 cells, the hea"),
    ]
    assert [dialogue.id for dialogue in dialogues] == ["a-00002", "a-00007"]
    assert dialogues[0].personas == (("I bake.", "I knit."), ("I fly.",))
    assert dialogues[0].turns == (Turn(1, "Hi!"), Turn(2, "Hello!\nand more"))


def test_csv_tags_in_asterisks_and_rulers(tmp_path: Path) -> None:
    cell = "* * *\n*User 1:* Hi *you*\n* User 2: Hello! *\n***\nUSER 1: 3 * 4"
    dialogues, _ = LOADER.read(write(tmp_path, "a.csv", SPC_HEADER + f'I bake.,I fly.,"{cell}"\n'))
    assert [turn.text for turn in dialogues[0].turns] == ["Hi *you", "Hello!", "3 * 4"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_ones_own(tmp_path: Path, delimiter: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["Dialogue", "persona"], ["User: Hi, you; there\nBot: Hello", "I bake. | I knit."]])
    dialogues, rejected = LOADER.read(write(tmp_path, "a.csv", out.getvalue()))
    assert rejected == []
    assert dialogues[0].personas == ((), ("I bake.", "I knit."))
    assert dialogues[0].turns == (Turn(1, "Hi, you; there"), Turn(2, "Hello"))


def test_csv_open_quote_and_long_cell(tmp_path: Path) -> None:
    long = "word " * 60_000
    text = (
        SPC_HEADER
        + SPC_ROW
        + f'I bake.,I fly.,"User 1: {long}\nUser 2: Hi"\n'
        + 'I bake.,I fly.,"User 1: Hi\nUser 2: Ho\n'
    )
    dialogues, rejected = LOADER.read(write(tmp_path, "a.csv", text))
    assert len(dialogues) == 2
    assert len(dialogues[1].turns[0].text) == len(long.strip())
    assert [row.line for row in rejected] == [8]
    assert rejected[0].reason.startswith("is not CSV")


def test_personachat(tmp_path: Path) -> None:
    text = (
        "1 your persona: i like cats .\n2 partner's persona: i sail .\n3 __SILENCE__\thi !\t\tcand|hi !\n"
        "4 hello\ti like cats\n"
        "1 your persona: i cook .\n2 hello\tgood day\n3 no reply here\n"
        "1 your persona: i row .\n2 hello\tgood day\n"
    )
    dialogues, rejected = LOADER.read(write(tmp_path, "valid.txt", text))
    assert dialogues[0].personas == (("i sail .",), ("i like cats .",))
    assert dialogues[0].turns == (Turn(2, "hi !"), Turn(1, "hello"), Turn(2, "i like cats"))
    assert dialogues[1].personas == ((), ("i row .",))
    assert [row.line for row in rejected] == [7]


def test_packed_files(tmp_path: Path) -> None:
    plain = LOADER.read(write(tmp_path, "a.jsonl", jsonl(ROW)))
    assert LOADER.read(write(tmp_path, "a.jsonl.gz", gzip.compress(jsonl(ROW).encode()))) == plain
    assert LOADER.read(write(tmp_path, "a.jsonl.xz", lzma.compress(jsonl(ROW).encode()))) == plain
    assert LOADER.read(write(tmp_path, "a.txt", jsonl(ROW))) == plain  # by content
    assert LOADER.read(write(tmp_path, "b.data", jsonl(ROW)), "jsonl") == plain


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b" \n\n", "is empty"),
        ("a.jsonl.gz", b"", "is empty"),
        ("a.jsonl.gz", gzip.compress(jsonl(ROW).encode(), mtime=0)[:-9], "cannot be unpacked"),
        ("a.jsonl.gz", b"plain text", "cannot be unpacked"),
        ("a.jsonl.xz", lzma.compress(jsonl(ROW).encode())[:-9], "cannot be unpacked"),
        ("a.jsonl.xz", lzma.compress(b""), "is empty"),
        ("a.csv", b"\x89PNG\r\n\0\0", "is a picture"),
        ("a.csv", b"\x01\0\x02\x03\0", "is binary"),
        ("a.csv", "persona,dialogue".encode("utf-16"), "no usable dialogue in 0 rows"),
        ("a.jsonl", b'{"id": "Zo\x81"}', "is not UTF-8 at byte offset 10 and not cp1252"),
        ("a.csv", b"id,price\n1,2\n", "its fields are 'id', 'price'"),
        ("a.csv", SPC_HEADER.encode(), "no usable dialogue in 0 rows"),
        ("a.json", b'[\n{"id": 1}]', "line 2: has no turns .* its fields are 'id'"),
        ("a.jsonl", b"{}\n1\n2\n3\n", "no usable dialogue in 4 rows .line 1: .*; line 2: .*; line 3: "),
    ],
)
def test_bad_files_give_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        LOADER.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "line 4" not in str(caught.value)


def test_missing_folder_and_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        LOADER.read(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        LOADER.read(tmp_path)
    with pytest.raises(ConfigError, match="use auto, jsonl, csv, personachat"):
        LOADER.read(write(tmp_path, "a.jsonl", jsonl(ROW)), "xml")


# --- round trips

TEXT = st.text(min_size=1).filter(
    lambda text: (
        text.strip() and not any("\ud800" <= c <= "\udfff" for c in text) and not _MACRO.search(text)
    )  # they are filled in
)
PERSONA = st.lists(TEXT, max_size=3).map(clean_persona)


@st.composite
def dialogues_of_any_text(draw: Any) -> Dialogue:
    personas = draw(st.tuples(PERSONA, PERSONA).filter(any))
    turns = []
    for _ in range(draw(st.integers(2, 5))):
        speaker = draw(st.sampled_from([1, 2]))
        indices = (
            st.lists(st.sampled_from(range(len(personas[speaker - 1]))), max_size=2)
            if personas[speaker - 1]
            else st.just([])
        )
        turns.append(Turn(speaker, draw(TEXT).strip(), draw(st.none() | indices.map(tuple))))
    return Dialogue("any", personas, tuple(turns))


@given(dialogues_of_any_text())
def test_convert_round_trips(tmp_path_factory: pytest.TempPathFactory, dialogue: Dialogue) -> None:
    path = tmp_path_factory.mktemp("round") / "a.jsonl"
    convert([dialogue], path)
    assert LOADER.read(path) == ([dialogue], [])


def test_line_separators_inside_texts_round_trip(tmp_path: Path) -> None:
    dialogue = Dialogue("d", (("I bake.",), ()), (Turn(1, "a\u2028b\x85c\x0bd\ne"), Turn(2, "f\u2029g")))
    convert([dialogue], tmp_path / "a.jsonl")
    assert LOADER.read(tmp_path / "a.jsonl") == ([dialogue], [])


LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip)


@given(st.lists(LINE.filter(lambda line: line.strip(" *_-=") and ":" not in line), min_size=2, max_size=6))
def test_csv_round_trips(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("round") / "a.csv"
    cell = "\n".join(f"User {k % 2 + 1}: {line}" for k, line in enumerate(lines))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([SPC_HEADER.strip().split(","), ["I bake.", "I fly.", cell]])
    (dialogue,), rejected = LOADER.read(path)
    assert rejected == []
    assert [turn.text.lstrip("*_ ") for turn in dialogue.turns] == [line.lstrip("*_ ") for line in lines]


# --- real data


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def test_official_csv() -> None:
    dialogues, rejected = LOADER.read(shared("synthetic-persona-chat/Synthetic-Persona-Chat_valid.csv"))
    assert (len(dialogues), len(rejected)) == (999, 1)  # one conversation has no tags at all
    assert rejected[0].reason.startswith("the conversation does not start with a speaker")


def test_convai2_text() -> None:
    dialogues, rejected = LOADER.read(shared("personachat-convai2/valid_self_original.txt.xz"))
    assert (len(dialogues), len(rejected)) == (1000, 0)
    assert sum(len(d.turns) for d in dialogues) // 2 == 7801
    both, _ = LOADER.read(shared("personachat-convai2/valid_both_original_no_cands.txt.xz"))
    assert all(all(d.personas) for d in both)
