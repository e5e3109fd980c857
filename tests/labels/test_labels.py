"""Labels of people: kept, read as preference pairs, counted as wins."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from selfsame.data.preferences import read_preferences
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError, RunError
from selfsame.labels.label import Label, label_of
from selfsame.labels.store import LabelStore, stored_labels
from selfsame.labels.votes import agreement, verdicts
from selfsame.types import Prompt

PETS = Prompt(("I have two dogs.",), ("Any pets?",))
YES, NO = "Two dogs!", "No, none."


def label(who="ann", choice="first", replies=(YES, NO), prompt=PETS, **more):
    return Label(who, prompt, replies, choice, **more)


def test_a_label_is_the_same_after_it_was_kept(tmp_path):
    store = LabelStore(tmp_path / "l.sqlite")
    kept = [label(by=("demo:ppo", "demo:sft"), corrected="Yes, 2."), label("Bö", "both bad")]
    for one in kept:
        store.add(one)
    assert stored_labels(tmp_path / "l.sqlite") == kept
    assert [label_of(json.loads(json.dumps(one.row()))) for one in kept] == kept


def test_who_answers_again_replaces_the_own_answer_alone(tmp_path):
    store = LabelStore(tmp_path / "l.sqlite")
    store.add(label("ann", "first"))
    store.add(label("bob", "tie"))
    store.add(label("ann", "first", (NO, YES)))  # shown the other way round: now the other reply
    assert sorted((one.labeller, one.choice, one.replies) for one in store.labels()) == [
        ("ann", "first", (NO, YES)),
        ("bob", "tie", (YES, NO)),
    ]
    assert store.remove(label("ann", "tie"))
    assert not store.remove(label("ann", "tie"))
    assert [one.labeller for one in store.labels()] == ["bob"]


def test_many_write_at_once(tmp_path):
    """Two servers on one file: nothing is lost."""
    stores = [LabelStore(tmp_path / "l.sqlite") for _ in range(2)]
    asked = [Prompt(PETS.persona, (f"Question {k}?",)) for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: stores[k % 2].add(label(prompt=asked[k])), range(40)))
    assert {one.prompt for one in stores[0].labels()} == set(asked)


def test_the_majority_counts_whichever_reply_came_first():
    (found,) = verdicts([label("ann", "first"), label("bob", "second", (NO, YES)), label("cem", "second")])
    assert [(pair.chosen, pair.rejected) for pair in found.pairs()] == [(YES, NO)]


def test_the_last_answer_of_a_person_counts_once():
    """A file and its backup hold the same answers."""
    said = [label("ann", "second"), label("bob", "second"), label("ann", "first"), label("ann", "second", (NO, YES))]
    (found,) = verdicts(said)
    assert found.lead == 0
    assert (agreement(said).people, agreement(said).questions, agreement(said).alike) == (2, 1, 0.0)


def test_a_correction_is_better_than_both_replies():
    (found,) = verdicts([label(choice="both bad", corrected="I have two.")])
    assert {(pair.chosen, pair.rejected) for pair in found.pairs()} == {("I have two.", YES), ("I have two.", NO)}


def test_a_tie_and_a_split_vote_make_no_pair():
    assert not verdicts([label(choice="tie")])[0].pairs()
    assert not verdicts([label("ann", "first"), label("bob", "second")])[0].pairs()


def test_agreement_of_krippendorff():
    """Counted by hand, three people on four questions; one of them left out the last."""
    asked = [Prompt((), (f"{k}?",)) for k in range(4)]
    answers = {"ann": "aabb", "bob": "aaba", "cem": "aab"}
    named = {"a": "first", "b": "second"}
    said = [
        label(who, named[letter], ("a", "b"), asked[k])
        for who, letters in answers.items()
        for k, letter in enumerate(letters)
    ]
    found = agreement(said)
    # Coincidences: units aaa, aaa, bbb, ba; n = 11, of them 7 a and 4 b; seen 2; expected 2 * 7 * 4.
    assert found.alpha == pytest.approx(1 - (11 - 1) * 2 / (2 * 7 * 4))
    assert (found.people, found.questions, found.alike) == (3, 4, pytest.approx(9 / 10))
    turned = [one.turned() if k % 2 else one for k, one in enumerate(said)]
    assert agreement(turned) == found


@pytest.mark.parametrize(
    ("people", "words"),
    [(("ann",), "from one person"), (("ann", "bob"), "alike in 100% of 1 shared questions")],
)
def test_agreement_in_words(people, words):
    assert words in str(agreement([label(who) for who in people]))


@pytest.mark.parametrize("form", ["database", "jsonl"])
def test_labels_are_preference_pairs(tmp_path, form):
    store = LabelStore(tmp_path / "l.sqlite")
    store.add(label("ann"))
    store.add(label("bob"))
    store.add(label("ann", "tie", prompt=Prompt((), ("Hi!",))))
    path = store.path
    if form == "jsonl":
        path = tmp_path / "l.jsonl"
        path.write_text("".join(json.dumps(one.row()) + "\n" for one in store.labels()))
    found = read_preferences(path, DataSettings())
    assert [(pair.prompt, pair.chosen, pair.rejected, pair.reason) for pair in found.pairs] == [
        (PETS, YES, NO, "labelled")
    ]
    line = found.summary("l")
    assert "alike in 100% of 1 shared questions" in line
    assert "1 questions without a better reply" in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"choice": "left"}, "choice is 'left'"),
        ({"choice": ["first"]}, "choice is"),
        ({"replies": ["one"]}, "a label is about two"),
        ({"replies": ["one", " one"]}, "the same"),
        ({"labeller": " "}, "no labeller"),
        ({"context": ["Hi", "Hello"]}, "history has odd length"),
        ({"persona": "I sing."}, "list of texts"),
        ({"replies": ["a" * 20_000, "b"]}, "more than 10000 characters"),
    ],
)
def test_a_row_that_is_no_label(change, reason):
    with pytest.raises(ValueError, match=reason):
        label_of(label().row() | change)


def test_files_that_hold_no_labels(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        stored_labels(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is no database" * 50)
    with pytest.raises(DataError, match="no file of labels"):
        stored_labels(tmp_path / "text")
    with pytest.raises(RunError, match="cannot use"):
        LabelStore(tmp_path / "folder-that-is-not-there" / "l.sqlite")
    damaged = LabelStore(tmp_path / "d.sqlite")
    damaged.add(label())
    with sqlite3.connect(damaged.path) as database:
        database.execute("update labels set row = 'x'")
    with pytest.raises(DataError, match="a label is damaged"):
        damaged.labels()


def test_a_full_disk_loses_no_earlier_label(tmp_path):
    """SQLite reports a full disk as `database or disk is full`; a limit of pages is the same error."""
    store = LabelStore(tmp_path / "l.sqlite")
    store.add(label())
    open_as_it_is = store._open

    from contextlib import contextmanager

    @contextmanager
    def full():
        with open_as_it_is() as database:
            pages = database.execute("pragma page_count").fetchone()[0]
            database.execute(f"pragma max_page_count = {pages}")
            yield database

    store._open = full
    with pytest.raises(RunError, match="full"):
        for k in range(200):
            store.add(label(prompt=Prompt(PETS.persona, (f"{k} " + "word " * 200,))))
    store._open = open_as_it_is
    kept = store.labels()
    assert label() in kept
    store.add(label("bob"))  # once there is room again
    assert len(store.labels()) == len(kept) + 1
