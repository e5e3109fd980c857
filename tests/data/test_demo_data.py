"""The bundled demo dialogues: shape, annotations that fit the text, no persona twice."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import snowballstemmer

DEMO = Path(__file__).parents[2] / "src" / "selfsame" / "data" / "demo" / "dialogues.jsonl"
STOPWORDS_TEXT = """
    a about after all also am an and any are as at be because been before but by can cant could did didnt do does
    doesnt dont down for from get got had has have havent he her here him his how i id if ill im in into is isnt it its
    ive just like love many me more most much my never no not now of off on only or other our out over own s she so some
    such t than that the their them then there they this to too up us very was wasnt we were what when where which who
    why will with wont would you your
"""
STOPWORDS = frozenset(STOPWORDS_TEXT.split())
STEMMER = snowballstemmer.stemmer("english")


def stems(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
    return {STEMMER.stemWord(word) for word in words if word not in STOPWORDS}


@pytest.fixture(scope="module")
def dialogues() -> list[dict]:
    return [json.loads(line) for line in DEMO.read_text(encoding="utf-8").splitlines()]


def persona(dialogue: dict, speaker: int) -> list[str]:
    return dialogue[f"user{speaker}_persona"]


def test_size_and_ids(dialogues: list[dict]) -> None:
    assert len(dialogues) >= 150
    assert len({d["id"] for d in dialogues}) == len(dialogues)
    assert all(set(d) == {"id", "user1_persona", "user2_persona", "turns"} for d in dialogues)


def test_turns_alternate_and_name_traits_in_range(dialogues: list[dict]) -> None:
    for d in dialogues:
        speakers = [speaker for speaker, _, _ in d["turns"]]
        assert 8 <= len(speakers) <= 16, d["id"]
        assert set(speakers) == {1, 2}, d["id"]
        assert all(a != b for a, b in itertools.pairwise(speakers)), d["id"]
        for speaker, text, traits in d["turns"]:
            assert 5 <= len(text.split()) <= 22, (d["id"], text)
            assert all(0 <= k < len(persona(d, speaker)) for k in traits), (d["id"], text)
            assert len(set(traits)) == len(traits), (d["id"], text)


def test_no_persona_twice(dialogues: list[dict]) -> None:
    personas = [frozenset(persona(d, speaker)) for d in dialogues for speaker in (1, 2)]
    assert len(set(personas)) == len(personas)
    assert all(4 <= len(p) <= 5 for p in personas)
    assert all(4 <= len(trait.split()) <= 10 for p in personas for trait in p)


def test_few_turns_repeat(dialogues: list[dict]) -> None:
    texts = [text.lower() for d in dialogues for _, text, _ in d["turns"]]
    assert len(set(texts)) >= 0.97 * len(texts)


def test_annotated_turns_share_words_with_their_traits(dialogues: list[dict]) -> None:
    pairs = [(text, persona(d, speaker)[k]) for d in dialogues for speaker, text, traits in d["turns"] for k in traits]
    shared = sum(bool(stems(text) & stems(trait)) for text, trait in pairs)
    assert shared / len(pairs) >= 0.8


def test_about_half_of_the_turns_draw_on_a_trait(dialogues: list[dict]) -> None:
    drawn = [bool(traits) for d in dialogues for _, _, traits in d["turns"]]
    assert 0.35 <= sum(drawn) / len(drawn) <= 0.7


def test_no_markers(dialogues: list[dict]) -> None:
    for d in dialogues:
        for text in (*d["user1_persona"], *d["user2_persona"], *(turn[1] for turn in d["turns"])):
            assert not re.search(r"[\[\]<>{}|]", text), (d["id"], text)
            assert text == " ".join(text.split()) and text.isascii(), (d["id"], text)
