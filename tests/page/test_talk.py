"""Talks on the page: the scheduler's replies, two systems, and what happens to those who leave."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from paged import NASTY, speaking
from served import MIKA, PLAIN, TALKER, engine_reply, tiny_hub

from selfsame.errors import ConfigError
from selfsame.page.marks import look_at
from selfsame.page.speaking import Inbox
from selfsame.page.talk import NOBODY, Manner, Talk, again, as_written, say
from selfsame.rollout.slots import Slots
from selfsame.serve.desk import Limits
from selfsame.serve.requests import Refused
from selfsame.types import Prompt

GREEDY = Manner(0.0, 8)


@pytest.fixture(scope="module")
def asked(tiny_models):
    with speaking(tiny_hub(tiny_models())) as found:
        yield found


def last(talks):
    """The end of a talk that grows."""
    return [*talks][-1]


def test_each_system_has_its_own_replies_in_mind(asked):
    talk = Talk(as_written(NOBODY, "I have two dogs.\n\nI drive a night bus."), (TALKER, PLAIN))
    for turn in ("Any pets?", "And cats?"):
        talk = last(say(asked, talk, turn, GREEDY))
    persona = ("I have two dogs.", "I drive a night bus.")
    for column, name in enumerate((TALKER, PLAIN)):
        first, second = (exchange.replies[column] for exchange in talk.exchanges)
        assert first.removesuffix("…") == engine_reply(asked.hub, name, Prompt(persona, ("Any pets?",))).rstrip()
        whole = engine_reply(asked.hub, name, Prompt(persona, ("Any pets?", first, "And cats?")))
        assert second.removesuffix("…") == whole.rstrip()


def test_replies_stay_with_the_system_that_gave_them(asked):
    """The choice changes in the middle of a talk, and so does the side on which a system stands."""
    talk = last(say(asked, Talk(MIKA, (TALKER, PLAIN)), "Any pets?", GREEDY))
    by = dict(zip((TALKER, PLAIN), talk.exchanges[0].replies, strict=True))
    shown = talk.html()
    turned = replace(talk, systems=(PLAIN,))
    assert turned.html() == shown
    assert turned.history(PLAIN)[-1] == by[PLAIN] != by[TALKER] == turned.history("another")[-1]
    asking = last(say(asked, turned, "And cats?", GREEDY))
    whole = engine_reply(asked.hub, PLAIN, Prompt(MIKA.persona, (*turned.history(PLAIN), "And cats?")))
    assert asking.exchanges[1].replies[0].removesuffix("…") == whole.rstrip()
    assert asking.html().count(f'"soft who">{PLAIN}') == 2 and asking.html().count(f'"soft who">{TALKER}') == 1


def test_replies_grow_and_the_talk_is_whole_at_the_end(asked):
    talks = [*say(asked, Talk(MIKA, (TALKER,)), "Hi.", GREEDY)]
    texts = [talk.exchanges[-1].replies[0] for talk in talks]
    assert (
        texts[0] == "" and len({*texts}) > 2 and [talk.writing for talk in talks] == [True] * (len(talks) - 1) + [False]
    )
    assert talks[-1].history(TALKER) == ("", "Oh, a visitor!", "Hi.", texts[-1])
    assert "Oh, a visitor!" in talks[-1].html()


def test_another_try_takes_the_place_of_the_last_reply(asked):
    talk = last(say(asked, Talk(MIKA, (TALKER,)), "Hi.", GREEDY))
    tried = {last(again(asked, talk, Manner(1.5, 8))).exchanges[0].replies for _ in range(4)}
    assert len(tried) > 1
    with pytest.raises(ConfigError, match="temperature 0"):
        again(asked, talk, GREEDY)
    with pytest.raises(ConfigError, match="nothing was said"):
        again(asked, Talk(MIKA, (TALKER,)))


def test_stopping_keeps_what_is_there(asked, monkeypatch):
    sample, ended = Slots.sample, []
    monkeypatch.setattr(Slots, "sample", lambda slots: (time.sleep(0.02), sample(slots))[1])
    monkeypatch.setattr(asked.scheduler, "ended", ended.append)
    inbox = Inbox()
    growing = say(asked, Talk(MIKA, (TALKER, PLAIN)), "Hi.", Manner(1.0, 100), inbox)
    seen = next(talk for talk in growing if any(talk.exchanges[-1].replies))
    inbox.stop()
    inbox.stop()
    end = last(growing)
    assert not end.writing and end.exchanges[-1].said == "Hi."
    kept = zip(end.exchanges[-1].replies, seen.exchanges[-1].replies, strict=True)
    assert all(reply.startswith(so_far) for reply, so_far in kept)
    while asked.scheduler.running():
        time.sleep(0.02)
    assert ended and all(job.sampled < job.sampling.max_new_tokens for job in ended)


def test_who_leaves_frees_the_place(asked, monkeypatch):
    sample, ended = Slots.sample, []
    monkeypatch.setattr(Slots, "sample", lambda slots: (time.sleep(0.02), sample(slots))[1])
    monkeypatch.setattr(asked.scheduler, "ended", ended.append)
    growing = say(asked, Talk(MIKA, (TALKER, PLAIN)), "Hi.", Manner(1.0, 100))
    for _ in range(3):
        next(growing)
    growing.close()
    assert last(say(asked, Talk(MIKA, (TALKER,)), "Hi.", GREEDY)).exchanges
    while asked.scheduler.running():
        time.sleep(0.02)
    assert asked.scheduler.waiting() == 0
    cut = [job for job in ended if job.sampling.max_new_tokens > 8]
    assert cut and all(job.sampled < job.sampling.max_new_tokens for job in cut)


def test_what_cannot_be_answered_is_told(tiny_models, monkeypatch):
    sample = Slots.sample
    monkeypatch.setattr(Slots, "sample", lambda slots: (time.sleep(0.02), sample(slots))[1])  # it still speaks
    with speaking(tiny_hub(tiny_models()), Limits(places=1, waiting=0)) as asked:
        growing = say(asked, Talk(MIKA, (TALKER,)), "Hi.", Manner(1.0, 120))
        next(growing), next(growing)
        with pytest.raises(Refused, match="all places are taken"):
            last(say(asked, Talk(MIKA, (TALKER,)), "Hi."))
        growing.close()
    for text, words in ((" ", "type something"), ("x" * 4001, "more than 4000 letters")):
        with speaking(tiny_hub(tiny_models())) as asked, pytest.raises((ConfigError, Refused), match=words):
            last(say(asked, Talk(NOBODY, (TALKER,)), text))
    with pytest.raises(ConfigError, match="shorten it"):
        as_written(NOBODY, "I am here.\n" * 201)


def test_the_rules_mark_what_they_see():
    persona = ("I have two dogs.", "I am a teacher.", "I live near the sea with my family.")
    seen = look_at(persona, ("Any pets?",), "My dogs are lovely.")
    assert seen.drawn == ("I have two dogs.",) and ["dogs", "drawn"] in [*seen.parts] and not seen.at_odds
    assert look_at(persona, ("Job?",), "I am a nurse.").at_odds == ("I am a teacher.",)
    recited = look_at(persona, ("Hi.",), "I have two dogs. I live near the sea with my family.")
    assert len(recited.copied) == 2 and any(kind == "copied" for _, kind in recited.parts)
    plain = look_at(persona, ("Hi.",), "Hello there!")
    assert "".join(text for text, _ in plain.parts) == "Hello there!" and not (
        plain.drawn or plain.copied or plain.at_odds
    )


def test_html_holds_text_and_nothing_of_a_template(asked):
    talk = last(say(asked, Talk(as_written(MIKA, NASTY), (TALKER,)), NASTY, GREEDY))
    html = talk.html()
    assert "<script" not in html and "<img" not in html and "&lt;script&gt;" in html
    assert not {*"{}$`"} & {*html}
