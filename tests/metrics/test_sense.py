"""What makes sense: bounds set on people, both errors, replies that a reader would not accept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from selfsame.metrics.character import PARTS, all_of, evaluate_character
from selfsame.metrics.hits import BenchmarkEvaluator
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.reader import Reader, Reading, load_reader, reader_name
from selfsame.metrics.sense import SenseEvaluator
from selfsame.text.contradictions import RuleJudge
from selfsame.types import Answer, Prompt


class Scripted:
    """A reader that finds a reply likely by how many words it shares with what was said before."""

    name = "scripted"

    def read(self, histories, replies):
        found = []
        for history, reply in zip(histories, replies, strict=True):
            said = set(" ".join(history).lower().split())
            shared = len(said & set(reply.lower().split()))
            found.append(Reading(9.0 if "zz" in reply else 1.0, float(shared) if any(history) else math.nan))
        return found


PEOPLE = [((f"Do you like word{k} a lot?",), f"Yes, I like word{k} very much.") for k in range(40)]


def evaluator(people=PEOPLE):
    return SenseEvaluator(Scripted(), people)  # pyright: ignore


def test_the_bounds_are_peoples_and_both_errors_are_counted():
    bounds = evaluator().bounds
    assert (bounds.bits, bounds.lift, bounds.marked, bounds.turns) == (1.0, 2.0, True, 40)
    assert (bounds.people_malformed, bounds.people_unanswering) == (0.0, 0.0)
    assert bounds.others_answering == 0.0  # a reply to another turn shares "like" alone
    assert "40 of people's turns" in bounds.line() and "0% pass" in bounds.line()


def test_the_same_bounds_without_reading_replies_to_other_turns():
    """A reward needs the bounds alone; the second reading took minutes on a slow machine."""
    reader, asked = Scripted(), []
    reader.read = lambda histories, replies: asked.append(len(replies)) or Scripted.read(reader, histories, replies)
    bounds = SenseEvaluator(reader, PEOPLE, others=False).bounds  # pyright: ignore
    assert asked == [40]
    assert math.isnan(bounds.others_answering) and "pass as one" not in bounds.line()
    assert replace(bounds, others_answering=0.0) == evaluator().bounds


@pytest.mark.parametrize(
    ("reply", "formed", "answers"),
    [
        ("I like word3 too.", 1.0, 1.0),
        ("I knit socks in the winter. I knit socks in the winter.", 0.0, 0.0),  # twice the same
        ("Do you like word3 a lot?", 1.0, 0.0),  # the partner's words said back
        ("I like word3 and", 0.0, 1.0),  # no end
        ("I like word3 zz.", 0.0, 1.0),  # surprises
        ("Bananas are yellow.", 1.0, 0.0),
        ("", 0.0, 0.0),
        ("...", 0.0, 0.0),
    ],
)
def test_replies_without_sense_are_noticed(reply, formed, answers):
    found = evaluator().evaluate([("Do you like word3 a lot?",)], [reply])
    assert (found["well_formed"], found["answers"]) == ([formed], [answers])


def test_an_own_turn_said_again_is_not_well_formed():
    history = ("Hello there my friend!", "I like word3 and tea a lot.", "And what do you like?")
    assert evaluator().evaluate([history], ["I like word3 and tea a lot."])["well_formed"] == [0.0]


def test_marks_are_asked_for_where_people_set_them():
    bare = [(history, reply.rstrip(".")) for history, reply in PEOPLE]
    found = evaluator(bare).evaluate([PEOPLE[3][0]], ["I like word3 too"])
    assert found["well_formed"] == [1.0]


def test_too_few_people_leave_what_answers_unknown():
    few = evaluator(PEOPLE[:5])
    found = few.evaluate([PEOPLE[0][0]] * 2, ["I like word0.", "I like it. I like it. I like it."])
    assert found["well_formed"] == [1.0, 0.0] and all(map(math.isnan, found["answers"]))
    assert "too few" in few.bounds.line()


def test_where_nothing_was_said_nothing_is_answered():
    assert math.isnan(evaluator().evaluate([("",)], ["Hi, I like tea."])["answers"][0])


def item(gold, traits, said="Do you like word3 a lot?"):
    return Answer(Prompt(("I have two dogs.", "I like word3 tea."), (said,)), gold, gold, traits, "d")


@pytest.mark.parametrize(
    ("traits", "reply", "right"),
    [
        ((1,), "Yes, I like word3 tea a lot.", 1.0),  # called for, and it draws on a trait
        ((1,), "Yes, I like it a lot.", 0.0),  # called for and left alone
        ((), "Yes, I like it a lot.", 1.0),
        ((), "Yes, I like my two dogs a lot.", 0.0),  # speaks of itself unasked
        ((1,), "I like I like word3 tea I like word3 tea a lot.", 0.0),  # no sentence
    ],
)
def test_in_character_is_right_both_ways(traits, reply, right):
    found = evaluate_character(
        PersonaEvaluator(judge=RuleJudge()), evaluator(), [item("Yes.", traits).with_reply(reply)]
    )
    assert tuple(found) == PARTS and found["in_character"] == [right]
    one, other = found["in_character_grounded"][0], found["in_character_other"][0]
    assert (one, math.isnan(other)) == (right, True) if traits else (math.isnan(one), other) == (True, right)


def test_a_fault_counts_whatever_is_not_known():
    assert all_of(1.0, math.nan, 0.0) == 0.0 and all_of(1.0, 1.0) == 1.0
    assert math.isnan(all_of(1.0, math.nan))


def test_the_bundled_reader_prefers_an_answer():
    reader = load_reader("selfsame-9m")
    history = ("Hi!", "Hello, how are you?", "Fine. Do you have any pets?")
    yes, no = reader.read([history, history], ["Yes, I have two dogs.", "In the morning by train."])
    assert yes.lift > no.lift and yes.bits < no.bits
    assert math.isnan(reader.read([history], [""])[0].bits)


@pytest.mark.parametrize("remember", [True, False])
def test_a_prompt_and_a_reply_are_read_once_and_what_was_asked_before_changes_nothing(monkeypatch, remember):
    roles, read = load_reader("selfsame-9m").roles, BenchmarkEvaluator.score_tokens
    asked: list[tuple[tuple[str, ...], int]] = []  # what stood before, and how many replies shared it

    def counted(self, roles, role, prompts, replies, budget, reserve):
        asked.extend((prompt.history, len(group)) for prompt, group in zip(prompts, replies, strict=True))
        return read(self, roles, role, prompts, replies, budget, reserve)

    monkeypatch.setattr(BenchmarkEvaluator, "score_tokens", counted)
    reader, (one, other) = Reader(roles, remember=remember), (("Hi!",), ("Any pets?",))
    question = [one, one, other, other], ["Yes, two dogs.", "Hello.", "Yes, two dogs.", "Hello."]
    first = reader.read(*question)
    assert [(any(before), count) for before, count in asked] == [(True, 2), (True, 2), (False, 2)]
    assert reader.read(*question) == first and len(asked) == (3 if remember else 6)
    part = [one], ["Hello."]  # a question of its own, with the digits that it has by itself
    assert reader.read(*part) == Reader(roles, remember=False).read(*part)
    assert len(asked) == (3 if remember else 6) + 2 * 2


def test_a_long_prompt_is_read_in_the_same_way_whatever_shares_it():
    reader = Reader(load_reader("selfsame-9m").roles, remember=False)
    history = ("Tell me about the sea and the ships. " * 60,)
    short, long = "It is big.", "It is blue, " * 60
    (alone,), (beside, _) = reader.read([history], [short]), reader.read([history] * 2, [short, long])
    assert (beside.bits, beside.lift) == pytest.approx((alone.bits, alone.lift), abs=1e-3)


GIBBERISH = [
    ("What do you do for a living?", "I drive my night bus. It's my dogs and I drive dogs."),
    ("Are you scared of anything?", "Not. It's a wedding and I'm afraid of the dark."),
    ("Are you a doctor?", "I run my nose cat. What do you run."),
    ("What is your name?", "A small potion shop. It's the flower bed, I run."),
    ("Can you recommend a restaurant?", "It's in spicy food. The weather is inside and the water."),
]
SENSIBLE = [
    ("What do you do for a living?", "I drive a night bus."),
    ("Are you scared of anything?", "I'm afraid of the dark."),
    ("Are you a doctor?", "No, I run a small potion shop."),
    ("What is your name?", "My name is Mika."),
    ("Can you recommend a restaurant?", "I like the Thai place around the corner."),
]


def test_a_real_base_tells_gibberish_from_sense(real_base):
    reader = load_reader(real_base)
    good = reader.read([(asked,) for asked, _ in SENSIBLE], [reply for _, reply in SENSIBLE])
    bad = reader.read([(asked,) for asked, _ in GIBBERISH], [reply for _, reply in GIBBERISH])
    pairs = [(one, other) for one in good for other in bad]
    assert sum(one.bits < other.bits for one, other in pairs) >= 0.8 * len(pairs)
    assert sum(one.lift > other.lift for one, other in pairs) >= 0.8 * len(pairs)


def test_the_reader_is_the_toy_where_nothing_better_is_there():
    assert reader_name("selfsame-9m") == reader_name("auto") == "selfsame-9m"


def test_the_reader_is_on_the_real_base_where_that_is_there(real_base):
    assert reader_name("auto") == real_base
