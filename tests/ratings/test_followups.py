"""What the partner would say next: whose turn it is, what is asked of the model, and what has no answer."""

from __future__ import annotations

import math

import pytest
from test_roles import with_sft

from selfsame.eval.scoring import AnswerScorer
from selfsame.metrics.hits import BenchmarkEvaluator
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.ratings.fit import OVERALL, QUALITY, fitted_scorers, score_answers
from selfsame.ratings.followups import BASE, COMPLAINTS, TURNS, FollowUps
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.rows import RatedReply
from selfsame.text.contradictions import RuleJudge
from selfsame.types import Answer, Prompt


@pytest.fixture(scope="module")
def roles(tiny_models):
    return with_sft(tiny_models())


def reply(text, *context):
    return RatedReply(text, "d", ("I sing.",), context, text)


def dialogue(*turns):
    return RatedReply("d", "d", (), turns, None)


def test_the_base_is_asked_what_the_partner_says_after_the_reply(roles):
    texts = [*COMPLAINTS.values()]
    rows = [reply("I like tea.", "What do you drink?"), reply("Yes.", "", "Hello.", "Hi. Is it you?")]
    prompts = [
        Prompt((), ("", "What do you drink?", "I like tea.")),
        Prompt((), ("Hello.", "Hi. Is it you?", "Yes.")),
    ]
    expected = BenchmarkEvaluator().rank(roles, None, prompts, [texts] * 2)
    found = FollowUps(roles).likelihoods(rows)
    assert found == [pytest.approx(values, rel=1e-4) for values in expected]
    assert len({round(value, 6) for value in found[0]}) == len(COMPLAINTS)


def test_of_a_dialogue_its_end_counts_and_of_a_long_one_the_last_turns(roles):
    followups = FollowUps(roles)
    end = ("Hi.", "Hello.", "Tea?", "Yes, please.")
    assert followups.likelihoods([dialogue(*end)]) == followups.likelihoods([reply(end[-1], *end[:-1])])
    assert followups.likelihoods([dialogue(*end, "Bye.")]) == followups.likelihoods([dialogue(*end)])  # the partner's
    assert followups.likelihoods([reply("Yes.", "", "Hello.", "Tea?")]) == followups.likelihoods(
        [reply("Yes.", "Hello.", "Tea?")]
    )
    assert followups.likelihoods([dialogue("", "Hello.")]) == followups.likelihoods([reply("Hello.", "")])
    long = [f"Turn {k}." for k in range(20)]
    assert followups.likelihoods([dialogue(*long)]) == followups.likelihoods([dialogue("", *long[-TURNS:])])


def test_a_question_is_asked_once_and_no_answer_depends_on_others(roles, monkeypatch):
    asked, plain = [], BenchmarkEvaluator.rank
    monkeypatch.setattr(BenchmarkEvaluator, "rank", lambda *given: asked.append(len(given[3])) or plain(*given))
    followups, tea, milk = FollowUps(roles), reply("I like tea.", "What do you drink?"), reply("Milk.", "And you?")
    first = followups.likelihoods([tea, milk])
    assert followups.likelihoods([tea, milk]) == first and asked == [2]
    followups.likelihoods([tea])
    assert asked == [2, 1], "what a reply got in another batch has other last digits"


def test_where_nothing_is_said_nothing_is_known(roles):
    followups = FollowUps(roles)
    rows = [reply("", "Hi."), reply("Hello.", "Hi.")]
    assert [all(map(math.isnan, values)) for values in followups.likelihoods(rows)] == [True, False]
    silent, known = followups.no_complaint().score(rows)
    assert math.isnan(silent)
    assert known == pytest.approx(-sum(scorer.score(rows)[1] for scorer in followups.scorers()) / len(COMPLAINTS))


def test_overall_is_scored_only_where_its_base_is(roles):
    answers = [Answer(Prompt((), ("Hi.",)), "Hello, how are you?")]
    assert math.isnan(score_answers(OVERALL, answers)[0]) and not math.isnan(score_answers(QUALITY, answers)[0])
    assert [s.fitted.kind for s in fitted_scorers(Likelihood(roles), "selfsame-9m")] == [QUALITY] * 2
    assert [s.name for s in fitted_scorers(Likelihood(roles), "selfsame-9m", FollowUps(roles))][2:] == [
        "overall of a reply",
        "overall of a dialogue",
    ]


def test_an_evaluation_has_an_overall_score_where_somebody_answers(roles):
    answers = [Answer(Prompt((), ("Hi.",)), text, group=text) for text in ("Hello, how are you?", "I like tea.", "")]
    persona = PersonaEvaluator(judge=RuleJudge())
    assert list(AnswerScorer(persona).quality(answers)) == ["fitted_quality"]
    found = AnswerScorer(persona, followups=FollowUps(roles)).quality(answers)
    expected = score_answers(OVERALL, answers, FollowUps(roles))
    assert found["overall"].value == pytest.approx((expected[0] + expected[1]) / 2)
    assert (found["overall"].count, found["overall"].missing) == (2, 1)


def test_a_confusing_reply_calls_for_a_complaint(real_base):
    assert real_base == BASE
    followups = FollowUps.of_base()
    assert followups is not None
    context = ("Hi! What do you do for a living?",)
    good = Answer(Prompt((), context), "I drive the night bus. I love the quiet streets. What about you?")
    bad = Answer(Prompt((), context), "The the bus is my dogs and the wedding of dogs I drive it drive.")
    for score in (followups.no_complaint().score([reply(a.reply, *context) for a in (good, bad)]),
                  score_answers(OVERALL, [good, bad], followups)):  # fmt: skip
        assert score[0] > score[1]
