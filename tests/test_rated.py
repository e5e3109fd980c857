"""The readers of published ratings, on rows in their form, and on the sets themselves where they are."""

from __future__ import annotations

import json
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.agreement import Known, feature_table, markdown
from benchmarks.rated import alternate, conture, convai2, dstc9, fed, grade, read_sets

from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.agreement import agreement, human_ceiling
from selfsame.ratings.fit import OVERALL, QUALITY, features_of
from selfsame.ratings.followups import FollowUps
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.ranker import Ranker
from selfsame.ratings.rows import RatedReply

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
there = pytest.mark.skipif(not (SHARED / "fed").is_dir(), reason=f"the rated sets are not in {SHARED}")


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = json.dumps(content).encode()
    path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)
    return path


def test_fed(tmp_path):
    whole = {"context": "User: Hi!\nSystem: Hello.\nand more\nUser: Bye", "annotations": {"Overall": [3, "N/A (x)", 4]}}
    reply = {"context": "User: Hi!", "response": "System: Hello.", "annotations": {"Engaging": [1, 2]}}
    other = {"context": "System: Yo\nUser: Oh", "annotations": {"Overall": [1]}}
    rows, _ = fed(put(tmp_path / "f.json", [other, whole, reply]))
    assert rows[0].context == ("", "Yo", "Oh") and rows[1].context == ("Hi!", "Hello.\nand more", "Bye")
    assert rows[1].ratings == {"overall": (3.0, 4.0)} and rows[1].reply is None
    assert (rows[2].reply, rows[2].context, rows[2].dialogue) == ("Hello.", ("Hi!",), rows[1].dialogue)


def test_conture_grade_and_dstc9(tmp_path):
    turns = [{"user": "User: Hi", "chatbot": "Chatbot: Yes", "overall impression": "2"}] * 2
    ratings = [{"human (overall)": 1, "error recovery": "N/A"}, {"human (overall)": 3, "error recovery": 2}]
    rows, _ = conture(put(tmp_path / "c.json", [{"dialog_id": 7, "turns": turns, "dialog_ratings": ratings}]))
    assert rows[1].context == ("Hi", "Yes", "Hi") and rows[1].reply == "Yes" and rows[1].ratings == {"overall": (2.0,)}
    assert rows[2].context == ("Hi", "Yes", "Hi", "Yes") and rows[2].ratings == {
        "overall": (1.0, 3.0),
        "error recovery": (2.0,),
    }
    content = [
        {"ID": 1, "Dataset": d, "Context": "a|||b", "Response": "c", "HumanScores": "[1, 5]"} for d in ("convai2", "x")
    ]
    ((row,), _) = grade(put(tmp_path / "g.json", content), "convai2")
    assert (row.context, row.reply, row.ratings) == (("a", "b"), "c", {"coherent": (1.0, 5.0)})
    content = {"contexts": [["a", "b", "c"], ["a", "b"]], "responses": ["d", "c"], "scores": [4.0, 2.5]}
    rows, _ = dstc9(put(tmp_path / "d.json.xz", content))
    assert [row.context for row in rows] == [("a", "b", "c", "d"), ("", "a", "b", "c")] and rows[1].rating(
        "overall"
    ) == 2.5


def chat(classes=("Human", "Bot"), said=("I ski.", "Hi"), **more):
    dialog = [{"sender": f"p{k % 2}", "text": said[k % 2], "sender_class": classes[k % 2]} for k in range(4)]
    base = {
        "dialog": dialog,
        "bot_profile": ["i sing."],
        "user_profile": ["i ski."],
        "eval_score": 4,
        "profile_match": 1,
    }
    return base | more


def test_convai2_tells_the_bot_by_the_mark_or_by_the_persons_persona(tmp_path):
    chats = [
        chat(),
        chat(("Bot", "Human"), profile_match=""),
        chat((None, None)),
        chat((None, None), said=("Hi", "I ski.")),
        chat((None, None), said=("Hi", "Yes")),
        chat((None, None), user_profile=None, eval_score=None),
        chat() | {"dialog": chat()["dialog"][:3]},
    ]
    put(tmp_path / "a.json.xz", chats)
    rows, left_out = convai2(tmp_path)
    assert sum(left_out.values()) == 3 and len(rows) == 4
    assert rows[0].context == ("I ski.", "Hi", "I ski.", "Hi") and rows[1].context == (
        "",
        "I ski.",
        "Hi",
        "I ski.",
        "Hi",
    )
    assert rows[2].context[1] == "Hi" and rows[3].context[1] == "Hi"
    assert rows[0].ratings == {"overall": (4.0,), "persona picked": (1.0,)} and "persona picked" not in rows[1].ratings
    assert rows[0].persona == ("i sing.",)


def test_turns_of_one_side_in_a_row_become_one():
    assert alternate([(True, "a"), (True, "b"), (False, "c"), (False, "d")]) == ["", "a\nb", "c\nd"]


def test_the_table_shows_a_set_and_what_was_published():
    rng = np.random.default_rng(0)
    rows = [RatedReply(str(k), str(k), (), ("Hi.",), "Yes. " * int(rng.integers(1, 9)),
                       {"overall": tuple(map(float, rng.integers(1, 6, 3)))}) for k in range(40)]  # fmt: skip
    names, more = ([s.name for s in features_of(Likelihood(None), Ranker(None), f)] for f in (None, FollowUps(None)))  # type: ignore[arg-type]
    scores = {"FED": {name: rng.normal(size=40).tolist() for name in more}}
    table, found = feature_table(QUALITY, "reply", {"FED": rows}, scores)
    assert table.features_NF.shape == (40, len(names)) and found[3] == ("FED", rows[3], "overall")
    assert feature_table(OVERALL, "reply", {"FED": rows}, scores)[0].names == tuple(more) and {*names} < {*more}
    again = [RatedReply(str(k), str(k), (), ("Hi.", "YES!"), None, {"overall": (1.0,)}) for k in range(2)]
    both = dict.fromkeys(("DSTC9", "ConTurE"), scores["FED"])
    same = feature_table(QUALITY, "dialogue", {"DSTC9": again[:1], "ConTurE": again[1:]}, both)
    assert len(set(same[0].groups)) == 1  # one dialogue in two sets is never in two folds
    known = [Known("engagement", {row.id: row.rating("overall") for row in rows})]
    record = {"sets": {"FED": agreement(rows, known, Bootstrap(200))}}
    theirs = {
        "set": "FED",
        "level": "reply",
        "rating": "overall",
        "who": "X",
        "pearson": None,
        "spearman": 0.3,
        "evidence": "R",
    }
    text = markdown(record, [theirs, theirs | {"who": "unknown", "spearman": None}])
    assert "**1.00 [1.00, 1.00]**" in text and "X 0.30 [R]" in text and "unknown" not in text
    assert "*overall* on 0 of 1 lines" in text
    better = Known("overall, this set's other dialogues", known[0].by_id)
    record = {"sets": {"FED": agreement(rows, [*known, better], Bootstrap(200))}}
    assert "*overall* on 1 of 1 lines, *fitted quality* on 0 of 1 lines" in markdown(record, [])
    assert math.isnan(Known("a", {}).score(rows)[0])


@there
def test_the_sets_have_the_published_sizes():
    sets = {name: rows for name, (rows, _) in read_sets(SHARED).items()}
    sizes = {name: (len(rows), sum(row.reply is None for row in rows)) for name, rows in sets.items()}
    assert sizes["FED"] == (500, 125) and sizes["ConTurE"] == (1066 + 119, 119) and sizes["DSTC9"] == (2200, 2200)
    assert sum(sizes[name][0] for name in sizes if name.startswith("GRADE")) == 1200
    assert all(len({row.id for row in rows}) == len(rows) for rows in sets.values())
    whole = [row for row in sets["FED"] if row.reply is None]
    first = [RatedReply(r.id, r.dialogue, (), r.context, None, {"overall": r.ratings["overall"][:4]}) for r in whole]
    found = human_ceiling(first, "overall", Bootstrap(100))
    assert found["pearson"]["value"] == pytest.approx(0.485, abs=0.05)
