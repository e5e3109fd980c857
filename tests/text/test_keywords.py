import json
import lzma
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsame.text.keywords import TraitMatcher, content_stems, plain_match, sentences, words

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PERSONA = ("I have two dogs.", "I teach chemistry.", "I love hiking in Norway.")


def test_content_stems_are_what_a_sentence_is_about() -> None:
    assert content_stems("I've been teaching the two dogs' owners, haven't I?") == ["teach", "2", "dog", "owner"]
    assert content_stems("I don’t really like it.") == content_stems("I don't really like it.") == []
    assert content_stems("My Café in São Paulo") == ["café", "são", "paulo"]
    assert content_stems("hiking hikes hiked") == ["hike"] * 3
    assert content_stems("i m 32 and don t swim") == ["32", "swim"]  # as PersonaChat writes


@given(st.text())
def test_any_text_has_stems_and_sentences(text: str) -> None:
    assert all(stem == stem.strip() and stem for stem in content_stems(text))
    assert len(content_stems(text)) <= len(words(text))
    kept = re.sub(r"[\s\"')\]]", "", "".join(sentences(text)))
    assert kept == re.sub(r"[\s\"')\]]", "", text)  # only white space, quotes and brackets may go


def test_rare_words_weigh_more() -> None:
    matcher = TraitMatcher(["dogs run", "dogs sleep", "dogs bark", "saxophone"])
    assert matcher.idf("dog") < matcher.idf("saxophon") < matcher.idf("unheard") == 1.0
    assert matcher.idf("dog") >= 0.0
    everywhere = TraitMatcher(["dog"] * 50)
    assert everywhere.idf("dog") == pytest.approx(0.0)


def test_drawn_names_the_traits() -> None:
    matcher = TraitMatcher(PERSONA * 5 + ("What do you do for fun?", "I live in a small house.") * 5)
    assert matcher.drawn(PERSONA, "I took my dogs on a hike.") == (0, 2)
    assert matcher.drawn(PERSONA, "I'm a chemistry teacher, I've been teaching for years.") == (1,)
    assert matcher.drawn(PERSONA, "That sounds like a lot of fun!") == ()


def test_a_question_claims_nothing() -> None:
    matcher = TraitMatcher()
    assert not matcher.matches("I have two dogs.", "Do you have dogs?")
    assert matcher.matches("I have two dogs.", "Do you have pets? I have dogs.")


def test_share_decides_between_common_words() -> None:
    documents = ["I play video games with friends."] * 40 + ["other words entirely here"] * 10
    matcher = TraitMatcher(documents)
    trait = "I play video games with friends."
    assert not matcher.matches(trait, "I saw my friends.")  # one of four common words
    assert matcher.matches(trait, "I play video games.")


def test_plain_match_takes_any_content_word() -> None:
    assert plain_match(PERSONA, "What kind of dog is it?")
    assert not plain_match(PERSONA, "I have to go, I really love it here.")
    assert not plain_match((), "dogs")


def test_agrees_with_automatic_grounding_labels() -> None:
    """The labels come from an entailment model, not from people: they bound what agreement can mean."""
    path = SHARED / "personachat-orig-nli" / "valid.jsonl.xz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    matcher = TraitMatcher(text for row in rows for text in (*row["persona"], row["response"]))
    hits = found = labelled = 0
    for row in rows:
        label = {k for k in row["persona_idx"] if k >= 0}
        drawn = set(matcher.drawn(row["persona"], row["response"]))
        hits, found, labelled = hits + len(label & drawn), found + len(drawn), labelled + len(label)
    assert hits / found > 0.72  # precision; 0.74 when the thresholds were chosen
    assert hits / labelled > 0.58  # recall; 0.61
