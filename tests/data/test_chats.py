"""Chat exports and transcripts: sessions, system lines, who is the bot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reading_files import jsonl, read, spoken, write
from selfsame.errors import DataError

MARK = "\u200e"
IOS = f"""[05.11.23, 21:14:02] Ida K.: {MARK}Messages and calls are end-to-end encrypted.
[05.11.23, 21:14:09] Ida K.: did you eat?
[05.11.23, 21:15:00] Tom: soup
and bread: lots
{MARK}[05.11.23, 21:15:30] Tom: {MARK}image omitted
[05.11.23, 21:16:00] Ida K.: nice {MARK}<This message was edited>
[06.11.23, 07:30:00] Tom: morning
[06.11.23, 07:31:00] Ida K.: hi
"""
SESSIONS = [[(1, "did you eat?"), (2, "soup\nand bread: lots"), (1, "nice")], [(2, "morning"), (1, "hi")]]


def android(date: str, first: str, second: str) -> str:
    return f"""{date}, {first} - Messages and calls are end-to-end encrypted. Tap to learn more.
{date}, {first} - Ida K.: did you eat?
{date}, {second} - Tom: soup
and bread: lots
{date}, {second} - Tom: <Media omitted>
{date}, {second} - Tom: This message was deleted
{date}, {second} - Ida K. changed the subject to: food
{date}, {second} - Ida K.: nice
"""


def bot(path: Path, name: str = "Tom") -> Any:
    return read(path, bot=name, persona=("I cook.",))


def test_whatsapp_of_an_iphone(tmp_path: Path) -> None:
    dialogues, rejected, notes = bot(write(tmp_path, "_chat.txt", IOS))
    assert [spoken(dialogue) for dialogue in dialogues] == SESSIONS
    assert rejected == [] and [d.id for d in dialogues] == ["_chat-00002", "_chat-00007"]
    assert notes[0] == "_chat.txt: a WhatsApp chat: 2 dialogues; bot = 'Tom'; persona from data.persona"
    assert notes[1] == "_chat.txt: turns left out: 2 system lines and media"


@pytest.mark.parametrize(
    ("date", "first", "second"),
    [
        ("11/5/23", "9:14 PM", "9:15 PM"),
        ("11/5/23", "9:14\u202fPM", "9:15\u202fPM"),
        ("05.11.23", "21:14", "21:15"),
        ("5/11/2023", "21:14", "21:15"),
        ("2023-11-05", "21.14", "21.15"),
        ("5/11/23", "9:14 p. m.", "9:15 p. m."),
        ("2023/11/5", "下午9:14", "下午9:15"),
    ],
)
def test_whatsapp_of_android(tmp_path: Path, date: str, first: str, second: str) -> None:
    dialogues, rejected, notes = bot(write(tmp_path, "a.txt", android(date, first, second)), "tom")
    assert rejected == [] and [spoken(dialogue) for dialogue in dialogues] == SESSIONS[:1]
    assert notes[1] == "a.txt: turns left out: 4 system lines and media"


def test_days_and_months_are_told_apart(tmp_path: Path) -> None:
    """Read with the month first, the second message would be a month later."""
    text = "3/4/24, 23:50 - Ida: late\n4/4/24, 00:10 - Tom: very\n4/4/24, 00:11 - Ida: yes\n13/4/24, 00:11 - Ida: so\n"
    dialogues, rejected, _ = bot(write(tmp_path, "a.txt", text))
    assert [len(d.turns) for d in dialogues] == [3] and [row.line for row in rejected] == [4]
    hours = ["11:50 AM - Ida: late", "12:10 PM - Tom: very", "11:00 PM - Ida: x", "11:01 PM - Tom: y"]
    half_days = "".join(f"4/3/24, {hour}\n" for hour in hours)
    assert [len(d.turns) for d in bot(write(tmp_path, "b.txt", half_days))[0]] == [2, 2]


TELEGRAM = {
    "name": "Ida", "type": "personal_chat", "id": 77,
    "messages": [
        {"id": 1, "type": "service", "date": "2023-11-05T21:00:00", "actor": "Ida", "action": "phone_call", "text": ""},
        {"id": 2, "type": "message", "date": "2023-11-05T21:14:00", "from": "Ida K.", "from_id": "user1",
         "text": "did you eat?"},
        {"id": 3, "type": "message", "date": "2023-11-05T21:15:00", "from": "Tom", "from_id": "user2",
         "text": ["soup\nand ", {"type": "bold", "text": "bread"}, ": lots"]},
        {"id": 4, "type": "message", "date": "2023-11-05T21:15:30", "from": "Tom", "from_id": "user2",
         "photo": "p.jpg", "text": ""},
        {"id": 5, "type": "message", "date": "2023-11-05T21:16:00", "from": "Ida K.", "from_id": "user1", "text": "nice"},
        {"id": 6, "type": "message", "date": "2023-11-06T07:30:00", "from": "Tom", "from_id": "user2", "text": "morning"},
        {"id": 7, "type": "message", "date": "2023-11-06T07:31:00", "from": "Ida K.", "from_id": "user1", "text": "hi"},
    ],
}  # fmt: skip


def test_telegram(tmp_path: Path) -> None:
    for content in (TELEGRAM, {"about": "", "chats": {"about": "", "list": [TELEGRAM]}}):
        dialogues, rejected, notes = bot(write(tmp_path, "result.json", content))
        assert rejected == [] and [spoken(dialogue) for dialogue in dialogues] == SESSIONS
        assert notes[1] == "result.json: turns left out: 1 a system message, 1 without text"


def test_discord(tmp_path: Path) -> None:
    messages = [
        {"id": str(k), "type": kind, "timestamp": f"2023-11-05T21:{k:02}:00.123+00:00", "content": said,
         "author": {"id": who, "name": who, "isBot": False}}
        for k, (kind, who, said) in enumerate([
            ("GuildMemberJoin", "tom", "Joined the server."), ("Default", "ida", "did you eat?"),
            ("Reply", "tom", "soup\nand bread: lots"), ("Default", "ida", "nice"),
        ])
    ]  # fmt: skip
    path = write(tmp_path, "export.json", {"guild": {"id": "1"}, "channel": {"name": "food"}, "messages": messages})
    dialogues, rejected, _ = bot(path)
    assert rejected == [] and [spoken(dialogue) for dialogue in dialogues] == SESSIONS[:1]
    with pytest.raises(DataError, match=r"who is the bot\? Its speakers are 'ida' .2 turns., 'tom' .1 turns.; name"):
        read(path)
    with pytest.raises(DataError, match="nobody is called 'Tim'"):
        bot(path, "Tim")


HEADER = {"user_name": "Ida", "character_name": "Rosa", "chat_metadata": {}}


def log(*rows: tuple[str, bool, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": who,
            "is_user": user,
            "is_system": False,
            "send_date": f"November 5, 2023 9:{k:02}pm",
            "mes": said,
            "extra": {},
        }
        for k, (who, user, said) in enumerate(rows)
    ]


def test_sillytavern(tmp_path: Path) -> None:
    hidden = {"name": "SillyTavern System", "is_user": False, "is_system": True, "mes": "Chat renamed"}
    rows = log(("Rosa", False, "*waves* Hi {{user}}!"), ("Ida", True, "Morning, {{char}}."), ("Rosa", False, "Well."))
    path = write(tmp_path, "Rosa - 2023.jsonl", jsonl(HEADER, hidden, *rows))
    with pytest.raises(
        DataError, match=r"neither speaker has a persona; give the bot's with --data\.persona or --data\.card"
    ):
        read(path)
    card = write(tmp_path, "rosa.json", {"name": "Rosa", "description": "I dig wells."})
    (dialogue,), rejected, notes = read(path, card=str(card))
    assert spoken(dialogue) == [(2, "*waves* Hi Ida!"), (1, "Morning, Rosa."), (2, "Well.")]
    assert rejected == [] and dialogue.personas == ((), ("My name is Rosa.", "I dig wells."))
    assert notes[0].endswith("a message a row: 1 dialogues; bot = 'Rosa'; persona from the card")
    group = write(
        tmp_path, "group.jsonl", jsonl({**HEADER, "character_name": "unused"}, *rows, *log(("Bo", False, "Me too")))
    )
    with pytest.raises(DataError, match="who is the bot"):
        read(group, persona=("I dig.",))
    (dialogue,), _, _ = read(group, persona=("I dig.",), bot="Rosa")
    assert spoken(dialogue)[1] == (1, "Ida: Morning, Rosa.") and spoken(dialogue)[3] == (1, "Bo: Me too")


@pytest.mark.parametrize(
    "text",
    [
        "Ida: did you eat?\nTom: soup\nand bread: lots\nIda: nice\n",
        "**Ida:** did you eat?\n\n**Tom:** soup\nand bread: lots\n\n**Ida:** nice",
        "IDA： did you eat?\r\nTom： soup\r\nand bread: lots\r\nIDA： nice\r\n",
        "ida: did you eat?\ntom:\nsoup\nand bread: lots\nida: nice\n",
    ],
)
def test_plain_transcripts(tmp_path: Path, text: str) -> None:
    dialogues, rejected, _ = bot(write(tmp_path, "a.txt", text))
    assert rejected == [] and [[(w, t.strip()) for w, t in spoken(d)] for d in dialogues] == SESSIONS[:1]


def test_blocks_of_a_transcript(tmp_path: Path) -> None:
    one, two = "Ida: a\nTom: b\n", "Ida: c\nTom: d\nEve: me too\n"
    for ruler in ("\n", "---\n", "* * *\n"):
        dialogues, rejected, _ = bot(write(tmp_path, "a.txt", f"{one}{ruler}{two}{ruler}{one}"))
        assert [spoken(d) for d in dialogues] == [[(1, "a"), (2, "b")]] * 2
        assert [(row.line, row.reason[:43]) for row in rejected] == [(4, "line 6 of the file may be another speaker's")]


def test_forms_of_research(tmp_path: Path) -> None:
    parlai = (
        "text:your persona: I dig.\\nyour persona: I bake.\\nAny pets?\tlabels:A goat.|No.\n"
        "text:And work?\tlabels:I dig wells.\tepisode_done:True\ntext:no label\n"
        "text:partner's persona: I sing.\\nHi\tlabels:Ho\tepisode_done:True\n"
    )
    dialogues, rejected, _ = read(write(tmp_path, "a.txt", parlai))
    assert spoken(dialogues[0]) == [(1, "Any pets?"), (2, "A goat."), (1, "And work?"), (2, "I dig wells.")]
    assert [d.personas for d in dialogues] == [((), ("I dig.", "I bake.")), (("I sing.",), ())]
    assert [row.line for row in rejected] == [3]
    daily = write(tmp_path, "b.txt", "Any pets? __eou__ A goat. __eou__\nTea, please __eou__ Sure. __eou__\n")
    with pytest.raises(DataError, match="line 1 and 1 more: neither speaker has a persona"):
        read(daily)
    assert spoken(read(daily, persona=("I dig.",))[0][0]) == [(1, "Any pets?"), (2, "A goat.")]
