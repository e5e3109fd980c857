"""Labelling: what is asked, in which order, who goes on where, and what is written."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from paged import a_run, hub_of_run, speaking
from served import PLAIN, TALKER

from selfsame.data.loader import DatasetLoader
from selfsame.errors import ConfigError, RunError
from selfsame.labels.store import stored_labels
from selfsame.page.questions import Booth, labeller_of, shared_by
from selfsame.types import Prompt

PAIR = (TALKER, PLAIN)


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny_models):
    with speaking(hub_of_run(tiny_models(), a_run(tmp_path_factory.mktemp("runs") / "tiny"))) as found:
        yield found


@pytest.fixture
def booth(asked, tmp_path):
    return Booth(tmp_path / "labels.sqlite", asked)


def answer(booth, who, count, choice="first"):
    """The questions that somebody answered."""
    found = []
    for _ in range(count):
        question = booth.next(who, PAIR)
        booth.keep(question.answered(who, choice))
        found.append(question)
    return found


def test_everybody_is_asked_the_same_and_goes_on_where_he_stopped(booth, asked):
    ann, bob = answer(booth, "ann", 4), answer(booth, "bob", 4)
    assert [question.prompt for question in ann] == [question.prompt for question in bob]
    assert len({question.prompt for question in ann}) == 4
    again = Booth(booth.path, asked)  # another server on the same file
    assert again.next("ann", PAIR).prompt not in {question.prompt for question in ann}
    assert again.next("cid", PAIR).prompt == ann[0].prompt
    assert again.progress("ann", PAIR).agreement.people == 2
    before = again.progress("ann", PAIR)
    assert before.done == 4 and before.left == 8


def test_who_replied_is_blinded_by_an_order_of_each_person(booth):
    orders = {who: [question.by for question in answer(booth, who, 10)] for who in ("ann", "bob", "cid")}
    assert all(set(map(frozenset, order)) == {frozenset(PAIR)} for order in orders.values())
    assert all(len(set(order)) == 2 for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 3
    assert stored_labels(booth.path)[0].replies[0].split(", says ")[1].startswith(orders["ann"][0][0].split(":")[1])


def test_replies_that_are_the_same_are_no_question(booth):
    questions = answer(booth, "ann", 10)
    assert booth.next("ann", PAIR) is None
    assert all("Alike." not in question.replies for question in questions)


def test_the_last_label_is_taken_back(booth):
    questions = answer(booth, "ann", 3)
    answer(booth, "bob", 1)
    assert booth.take_back("ann") == questions[-1]
    assert booth.next("ann", PAIR) == questions[-1]
    assert [label.labeller for label in booth.labels()].count("ann") == 2
    with pytest.raises(ConfigError, match="no label of yours"):
        booth.take_back("cid")


def test_what_is_typed_is_asked_live_and_the_same_for_all(booth):
    prompt = Prompt(("I have two dogs.",), ("Any pets?",))
    one, other = booth.ask("ann", prompt, PAIR), booth.ask("bob", prompt, PAIR[::-1])
    assert one is not None and {*one.replies} == {*other.replies}
    assert one.answered("ann", "tie", " Two! ").corrected == "Two!"
    with pytest.raises(ConfigError, match="more than"):
        one.answered("ann", "tie", "x" * 10_001)


def test_replies_that_are_sampled_and_equal_are_sampled_once(booth, asked, monkeypatch):
    asked_for = []
    monkeypatch.setattr(asked, "whole", lambda askings, seed: asked_for.append(seed) or ("Same.", " Same."))
    prompt = Prompt(("I have two dogs.",), ("Any pets?",))
    assert booth.ask("ann", prompt, PAIR) is booth.ask("bob", prompt, PAIR[::-1]) is None
    assert len(asked_for) == 1


def test_no_file_is_made_before_the_first_label(booth):
    booth.next("ann", PAIR)
    assert booth.progress("ann", PAIR).done == 0 and not booth.path.exists()
    answer(booth, "ann", 1)
    assert booth.path.exists()


def test_labels_to_train_on_are_of_people_of_the_training_part(booth, asked):
    data = DatasetLoader(next(iter(asked.hub.voices.values())).bot.config.data).load()
    trained, held_out = ({side.persona for side in part} for part in (data.train, data.validation))
    found = []
    for _ in range(3):
        question = booth.next("ann", PAIR, "train")
        booth.keep(question.answered("ann", "first"))
        found.append(question.prompt)
    assert len({*found}) == 3 and {prompt.persona for prompt in found} <= trained - held_out
    assert booth.progress("ann", PAIR, "train").left > 100 and booth.progress("ann", PAIR).left == 12


def test_two_servers_write_to_one_file(booth, asked):
    booths = [booth, Booth(booth.path, asked)]
    people = [threading.Thread(target=answer, args=(booths[k % 2], f"p{k}", 5)) for k in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(stored_labels(booth.path)) == 30


def test_a_full_disk_costs_no_label_and_is_told(booth, monkeypatch):
    answer(booth, "ann", 1)
    real = sqlite3.connect

    def full(*arguments, **named):
        database = real(*arguments, **named)
        pages = database.execute("pragma page_count").fetchone()[0]
        database.execute(f"pragma max_page_count = {pages}")
        return database

    monkeypatch.setattr(sqlite3, "connect", full)
    question = booth.next("ann", PAIR)
    with pytest.raises(RunError, match="full"):
        booth.keep(question.answered("ann", "first", "long " * 1500))
    monkeypatch.undo()
    assert len(booth.labels()) == 1 and booth.next("ann", PAIR) == question


def test_names_and_pairs(booth):
    assert labeller_of("  Ann   B ") == "Ann B"
    for name in ("", "   ", "x" * 61):
        with pytest.raises(ConfigError, match="give your name"):
            labeller_of(name)
    assert shared_by(("", "")) is None and shared_by(PAIR) == PAIR
    for pair in ((TALKER, ""), (TALKER, TALKER)):
        with pytest.raises(ConfigError, match="two systems"):
            shared_by(pair)
    assert booth.pairs() == [(PLAIN, TALKER)] and booth.next("ann") is not None
