import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path

import pytest

from selfsame.data import corruptions
from selfsame.data import pairs as g
from selfsame.data.loader import DatasetLoader
from selfsame.data.phrases import load_phrases
from selfsame.data.settings import DataSettings, PairSettings
from selfsame.text.keywords import content_stems, plain_match, sentences, words
from selfsame.types import Example, PreferencePair, Prompt

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@lru_cache
def examples(path: str = "demo") -> tuple[Example, ...]:
    return tuple(DatasetLoader(DataSettings(path=path)).load().train)


@lru_cache
def pairs(path: str = "demo") -> tuple[PreferencePair, ...]:
    return tuple(g.PreferenceGenerator(examples(path)).generate_pairs(300))


def spc() -> str:
    path = SHARED / "synthetic-persona-chat" / "Synthetic-Persona-Chat_valid.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return str(path)


def of(reason: str, path: str = "demo") -> list[PreferencePair]:
    found = [pair for pair in pairs(path) if pair.reason == reason]
    assert found
    return found


def gold() -> dict[Prompt, set[str]]:
    found = defaultdict(set)
    for example in examples():
        for prompt, reply in example.prompts():
            found[prompt].add(reply)
    return found


# --- every pair


def test_chosen_is_what_the_person_said_and_rejected_differs() -> None:
    said = gold()
    for pair in pairs():
        assert pair.chosen in said[pair.prompt]
        assert words(pair.rejected)
        assert words(pair.rejected) != words(pair.chosen)
        assert pair.reason in g.REASONS
    assert len({(pair.prompt, pair.rejected) for pair in pairs()}) == len(pairs()) == 300


@pytest.mark.parametrize("source", ["demo", "spc"])
def test_length_says_nothing(source: str) -> None:
    path = spc() if source == "spc" else source
    made = pairs(path)
    differences = [corruptions.count_words(pair.rejected) - corruptions.count_words(pair.chosen) for pair in made]
    assert abs(g.length_accuracy(made) - 0.5) < 0.02
    assert abs(sum(differences) / len(made)) < 0.1
    for pair in made:
        lengths = sorted([corruptions.count_words(pair.chosen), corruptions.count_words(pair.rejected)])
        assert lengths[1] <= 1.5 * lengths[0]
    for reason in g.REASONS:
        part = [pair for pair in made if pair.reason == reason]
        assert abs(g.length_accuracy(part) - 0.5) <= 1.5 / len(part)


def test_length_ratio_of_the_settings_holds() -> None:
    made = g.PreferenceGenerator(examples(), PairSettings(length_ratio=1.1)).generate_pairs(60)
    assert made
    for pair in made:
        lengths = sorted([corruptions.count_words(pair.chosen), corruptions.count_words(pair.rejected)])
        assert lengths[1] <= 1.1 * lengths[0]


def test_reasons_are_equally_frequent_or_reported() -> None:
    generator = g.PreferenceGenerator(examples(spc()))
    counts = Counter(pair.reason for pair in generator.generate_pairs(300))
    assert not generator.missing
    assert set(counts.values()) == {50}
    generator = g.PreferenceGenerator(examples())
    counts = Counter(pair.reason for pair in generator.generate_pairs(300))
    for reason in g.REASONS:
        assert counts[reason] >= 50 - generator.missing[reason]
    assert sum(counts.values()) == 300


def test_what_cannot_be_made_is_counted_not_faked() -> None:
    """No partner persona, no question, one example: no speaker_mixed and no persona_swapped."""
    example = Example("d/2", ("I have two dogs.",), (), ("Pets at home then.", "I have two dogs at home."), ((0,),))
    generator = g.PreferenceGenerator([example])
    made = generator.generate_pairs(12)
    assert {pair.reason for pair in made} <= {"contradicted", "bland", "degenerate"}
    missing = generator.missing
    assert missing["speaker_mixed"] == missing["persona_swapped"] == missing["recited"] == 2
    assert g.PreferenceGenerator([]).generate_pairs(10) == []


def test_deterministic_and_stable_under_more() -> None:
    generator = g.PreferenceGenerator(examples())
    assert tuple(generator.generate_pairs(300)) == pairs()
    assert tuple(generator.generate_pairs(60)) == pairs()[:60]
    other = g.PreferenceGenerator(examples(), seed=1).generate_pairs(60)
    assert tuple(other) != pairs()[:60]


def test_same_pairs_in_every_process() -> None:
    code = (
        "from selfsame.data.loader import DatasetLoader\nfrom selfsame.data.pairs import PreferenceGenerator\n"
        "import hashlib\ng = PreferenceGenerator(DatasetLoader().load().train)\n"
        "print(hashlib.sha256(repr((g.generate_pairs(60), g.extract_prompts(20))).encode()).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]


def test_default_count_is_the_setting() -> None:
    assert len(g.PreferenceGenerator(examples(), PairSettings(count=18)).generate_pairs()) == 18


# --- each reason


def persona_of(reply: str) -> set[tuple[str, ...]]:
    return {example.persona for example in examples() if reply in example.replies}


def test_persona_swapped_is_somebody_elses_reply() -> None:
    for pair in of("persona_swapped"):
        owners = persona_of(pair.rejected)
        assert owners
        assert pair.prompt.persona not in owners


def test_contradicted_is_a_small_edit() -> None:
    for pair in of("contradicted"):
        kept = Counter(words(pair.chosen)) & Counter(words(pair.rejected))
        assert sum(kept.values()) >= 0.5 * len(words(pair.chosen)) - 2
        assert abs(len(words(pair.chosen)) - len(words(pair.rejected))) <= 3


def edits(reply: str, *traits: str) -> set[str]:
    own = frozenset(stem for text in (*traits, reply) for stem in content_stems(text))
    return {made for seed in range(40) for made in corruptions.contradictions(reply, traits, own, random.Random(seed))}


def test_contradictions_deny_the_trait() -> None:
    assert "Yes, I have no dog." in edits("Yes, I have a dog.", "I have a dog.")
    assert "Yes, I have a cat." in edits("Yes, I have a dog.", "I have a dog.")
    assert edits("I have two dogs.", "I have two dogs.") & {"I have three dogs.", "I have nine dogs."}
    assert "I'm not a nurse." in edits("I'm a nurse.", "I am a nurse.")
    assert {"I hate hiking.", "I can't stand hiking."} <= edits("I love hiking.", "I like to hike.")
    assert "I can swim, so come." in edits("I can't swim, so come.", "I can't swim.")
    assert "My favorite color is blue." in edits("My favorite color is red.", "My favorite color is red.")
    assert "My Cats and I, we love it. Cats!" in edits("My Dogs and I, we love it. Dogs!", "I have dogs.")


@pytest.mark.parametrize(
    ("reply", "trait"),
    [
        ("I love pizza.", "I have a dog."),  # another topic
        ("Do you like hiking?", "I like hiking."),  # a question
        ("I hate hiking.", "I love hiking."),  # not of one mind: denying it would agree with the trait
        ("I'm glad, hiking is great.", "I like hiking."),  # "not" would hit another clause
        ("That dog over there looks like his dog.", "I have a dog."),  # about somebody else
        ("I like tennis, do you?", "I have two dogs and two cats."),
        ("Two is my lucky number.", "I have two dogs."),  # the number means something else
        ("When I was a boy, it rained.", "I am a boy scout."),
    ],
)
def test_no_contradiction_where_none_is_sure(reply: str, trait: str) -> None:
    assert not edits(reply, trait)


def test_tastes_are_swapped_only_as_favourites() -> None:
    assert "I play soccer." not in edits("I play tennis.", "I play tennis.")
    assert not any("hockey" in made for made in edits("I love tennis.", "I love tennis."))
    assert any("hockey" in made for made in edits("My favorite sport is tennis.", "My favorite sport is tennis."))


def test_bland_replies_say_nothing_of_the_persona() -> None:
    assert len(set(corruptions.BLAND)) >= 60
    assert len({corruptions.count_words(text) for text in corruptions.BLAND}) >= 10
    for pair in of("bland"):
        assert not plain_match(pair.prompt.persona, pair.rejected)
    mined = set(g.PreferenceGenerator(examples(spc()))._bland) - set(corruptions.BLAND)
    assert mined  # everyday phrases of the data
    assert not any(content_stems(text) or "?" in text for text in mined)


def test_degenerate_is_cut_off_or_loops() -> None:
    for pair in of("degenerate"):
        tokens = [token.rstrip(".!?") for token in pair.rejected.split()]
        places = [(w, k) for w in (2, 3, 4) for k in range(len(tokens) - 2 * w + 1)]
        loops = any(tokens[k : k + w] == tokens[k + w : k + 2 * w] for w, k in places)
        cut = pair.chosen.startswith(pair.rejected) and load_phrases("en").dangling.fullmatch(tokens[-1])
        assert loops or cut, pair


def test_recited_is_the_own_persona_unasked() -> None:
    for pair in of("recited"):
        assert "?" not in pair.prompt.history[-1]
        assert len(pair.prompt.history) > 1
        assert plain_match(pair.prompt.persona, pair.rejected)
        asked = set(content_stems(pair.prompt.history[-1]))
        assert asked.isdisjoint(content_stems(pair.rejected))
    assert corruptions.spoken("i don t swim , i m 49 .") == "I don't swim, I'm 49."
    assert corruptions.spoken(" . ") == "."


def test_speaker_mixed_is_said_by_the_partner() -> None:
    sides = {(example.persona, example.turns): example for example in examples()}
    for pair in of("speaker_mixed"):
        mine = [e for e in sides.values() if e.persona == pair.prompt.persona]
        assert any(
            pair.rejected in " ".join(turn.split()) or _in_parts(pair.rejected, turn)
            for e in mine
            for turn in e.turns[::2]
        )
        assert pair.rejected != pair.prompt.history[-1]


def _in_parts(text: str, turn: str) -> bool:
    return all(part in turn for part in sentences(text))


# --- prompts and test sets


def test_prompts_are_different_and_the_persona_comes_first() -> None:
    generator = g.PreferenceGenerator(examples())
    everything = generator.extract_prompts()
    assert len(set(everything)) == len(everything)
    assert set(everything) == set(gold())
    assert generator.extract_prompts(50) == everything[:50]
    draws = {example.prompt(k) for example in examples() for k, traits in enumerate(example.traits) if traits}
    flags = [prompt in draws for prompt in everything]
    assert flags == sorted(flags, reverse=True)
    assert g.PreferenceGenerator(examples(), seed=1).extract_prompts(50) != everything[:50]


def test_a_share_of_the_prompts_calls_for_nothing() -> None:
    generator = g.PreferenceGenerator(examples())
    items = generator.extract_items(40, grounded_share=0.75)
    assert [bool(item.gold_traits) for item in items] == [True] * 30 + [False] * 10
    assert len({item.prompt for item in items}) == 40
    calling = sum(bool(item.gold_traits) for item in generator.extract_items())
    few = generator.extract_items(calling + 10)  # not enough that call: others, if nothing is said
    assert sum(bool(item.gold_traits) for item in few) == calling and len(few) == calling + 10
    most = generator.extract_items(10**6, grounded_share=0.9)  # else fewer in all
    assert [bool(item.gold_traits) for item in most] == [True] * calling + [False] * (round(calling / 0.9) - calling)


def test_test_sets() -> None:
    sets = g.PreferenceGenerator(examples()).create_test_sets(40, 10**6)
    assert len(sets.consistency) == 40
    assert 0 < len(sets.engagement) < 10**6
    assert sets.asked == (40, 10**6)
    assert f"engagement: {len(sets.engagement)} of 1000000 asked for" in sets.summary()
    by_id = {example.id: example for example in examples()}
    for item in sets.consistency:
        assert item.gold_traits  # the annotation
        example = next(e for e in (by_id[f"{item.group}/{s}"] for s in (1, 2)) if e.persona == item.prompt.persona)
        k = len(item.prompt.history) // 2
        assert (example.replies[k], example.traits[k]) == (item.reply, item.gold_traits) and item.gold == item.reply
    for item in sets.engagement:
        assert len(item.prompt.history) > 1
        assert item.prompt.history[-1]


def test_traits_are_matched_without_annotation() -> None:
    turns = ("Pets?", "I have two dogs.", "Nice!", "Yes, it is.")
    example = Example("d/2", ("I have two dogs.",), (), turns, (None, None))
    sets = g.PreferenceGenerator([example]).create_test_sets()
    assert [(item.reply, item.gold_traits) for item in sets.consistency] == [("I have two dogs.", (0,))]
    assert sets.asked == (500, 300)


# --- length accuracy


def pair(chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(Prompt(("I bake.",)), chosen, rejected, "bland")


def test_length_accuracy() -> None:
    assert g.length_accuracy([pair("a b", "a")]) == 1.0
    assert g.length_accuracy([pair("a", "a b")]) == 0.0
    assert g.length_accuracy([pair("a", "b"), pair("a b", "a")]) == 0.75
    assert g.length_accuracy([]) != g.length_accuracy([])  # NaN
