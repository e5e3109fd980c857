"""The scheduler: every job has its replies, nobody else's, and places become free at once."""

from __future__ import annotations

import queue
import time

import pytest
from test_roles import load, scramble

from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.reply_text import ReplyText
from selfsame.serve.scheduler import Busy, Failed, Finished, Job, Piece, Scheduler

PROMPTS = [[*range(5, 17), k, k + 1] for k in range(20, 44, 2)]


@pytest.fixture
def roles(tiny_models):
    roles = load(tiny_models())
    for seed, role in enumerate(("sft", "policy"), 1):
        roles.add(role)
        scramble(roles, role, seed)
    return roles


@pytest.fixture
def make(request):
    made = []

    def scheduler(*arguments, **named):
        made.append(Scheduler(*arguments, **named))
        return made[-1]

    yield scheduler
    for one in made:
        one.close()
        one.join(20)
        assert not one._thread.is_alive()


def job(roles, prompt=PROMPTS[0], role="sft", tokens=10, **more):
    inbox: queue.Queue = queue.Queue()
    sampling = SamplingSettings(temperature=more.pop("temperature", 0.0), max_new_tokens=tokens, top_p=1.0)
    new_text = more.pop("new_text", lambda: ReplyText(roles.processor.decode_reply))
    made = Job(roles, role, prompt, sampling, more.pop("seed", 0), new_text, inbox.put, **more)
    made.inbox = inbox
    return made


def finished(job, count=1):
    """The replies of a job."""
    found = []
    while len(found) < count:
        event = job.inbox.get(timeout=60)
        if isinstance(event, Failed):
            return event
        found += [event] if isinstance(event, Finished) else []
    return sorted(found, key=lambda event: event.index)


def expected(roles, prompt, role, tokens=10, temperature=0.0, seed=0, count=1):
    noise = reply_noise(seed, 0, range(count), tokens)
    (group,) = RolloutEngine(roles, 1).sample(role, [prompt], noise, temperature)
    return [roles.processor.decode_reply(reply.ids) for reply in group]


def test_roles_take_turns_and_nobody_is_given_anothers_reply(roles, make):
    wanted = {(k, role): expected(roles, p, role) for k, p in enumerate(PROMPTS) for role in ("sft", "policy", None)}
    scheduler = make(places=4)
    jobs = {key: job(roles, PROMPTS[key[0]], key[1]) for key in wanted}
    for one in jobs.values():
        scheduler.submit(one)
    assert {key: [e.text for e in finished(one)] for key, one in jobs.items()} == wanted
    assert len({tuple(texts) for texts in wanted.values()}) > 20
    assert sum(one.reused > 0 for one in jobs.values()) > len(jobs) / 2, "the persona is computed once"


def test_the_same_seed_gives_the_same_replies_alone_and_among_others(roles, make):
    scheduler = make()
    jobs = [job(roles, p, seed=k, temperature=1.0, count=2, wanted=2) for k, p in enumerate(PROMPTS[:6])]
    for one in jobs:
        scheduler.submit(one)
    for k, one in enumerate(jobs):
        assert [e.text for e in finished(one, 2)] == expected(roles, PROMPTS[k], "sft", 10, 1.0, k, 2)


def test_pieces_add_up_to_the_reply(roles, make):
    one = job(roles, live=True, tokens=12)
    make().submit(one)
    events = []
    while not (events and isinstance(events[-1], Finished)):
        events.append(one.inbox.get(timeout=60))
    assert len(events) > 3 and all(isinstance(event, Piece) for event in events[:-1])
    assert "".join(event.text for event in events[:-1]) + events[-1].rest == events[-1].text
    assert events[-1].reason == "length"


def test_why_a_reply_ends(roles, make):
    scheduler = make()
    (text,) = expected(roles, PROMPTS[0], "sft", 20)
    stop = text[len(text) // 2 :][:3]
    stopped = job(roles, tokens=20, new_text=lambda: ReplyText(roles.processor.decode_reply, (), (stop,)))
    scheduler.submit(stopped)
    (end,) = finished(stopped)
    assert (end.reason, end.text) == ("stop", text[: text.index(stop)]) and stopped.sampled < 20
    late = job(roles, tokens=100, deadline=time.monotonic() + 0.05)
    scheduler.submit(late)
    (cut,) = finished(late)
    assert cut.reason == "length" and 0 < late.sampled < 100
    token = RolloutEngine(roles).sample("sft", [PROMPTS[0]], reply_noise(0, 0, range(1), 20), 0.0)[0][0].ids[6]
    roles.processor.end_id = token
    ended = job(roles, tokens=20)
    scheduler.submit(ended)
    assert finished(ended)[0].reason == "stop" and ended.sampled <= 7


def test_a_full_server_says_so_and_one_that_leaves_makes_room(roles, make):
    scheduler = make(places=1, waiting=1)
    first, second, third = (job(roles, tokens=100) for _ in range(3))
    scheduler.submit(first)
    while not first.first_token:
        time.sleep(0.001)
    scheduler.submit(second)
    with pytest.raises(Busy):
        scheduler.submit(third)
    scheduler.cancel(first)
    assert len(finished(second)) == 1
    assert first.inbox.empty() and first.sampled < 100
    scheduler.submit(third)
    assert len(finished(third)) == 1


def test_one_that_waits_too_long_is_refused(roles, make):
    scheduler = make(places=1)
    first, second = job(roles, tokens=100), job(roles, deadline=time.monotonic() + 0.01)
    scheduler.submit(first)
    scheduler.submit(second)
    assert finished(second) == Failed(late=True)
    assert finished(first)[0].text


def test_the_end_cuts_what_is_under_way_and_refuses_what_waits(roles, make):
    scheduler = make(places=1)
    first, second = job(roles, tokens=100), job(roles)
    scheduler.submit(first)
    scheduler.submit(second)
    while not first.first_token:
        time.sleep(0.001)
    scheduler.close()
    (end,) = finished(first)
    assert end.reason == "length" and first.sampled < 100
    assert finished(second) == Failed(late=True)
    with pytest.raises(Busy):
        scheduler.submit(job(roles))


def test_what_breaks_fails_alone(roles, make):
    scheduler = make()
    wrong, right = job(roles, [10**9], "policy"), job(roles)
    scheduler.submit(wrong)
    assert finished(wrong) == Failed(late=False)
    scheduler.submit(right)
    assert [e.text for e in finished(right)] == expected(roles, PROMPTS[0], "sft")
    again = job(roles, role="policy")
    scheduler.submit(again)
    assert [e.text for e in finished(again)] == expected(roles, PROMPTS[0], "policy")


def test_the_best_replies_are_chosen_of_all(roles, make):
    shown = []

    def rank(replies):
        shown.extend(replies)
        return [2, 0]

    one = job(roles, temperature=1.0, count=3, wanted=2, rank=rank, live=True)
    make().submit(one)
    texts = expected(roles, PROMPTS[0], "sft", 10, 1.0, 0, 3)
    assert [e.text for e in finished(one, 2)] == [texts[2], texts[0]]
    assert [roles.processor.decode_reply(ids) for ids in shown] == texts


def test_a_reward_that_fails_costs_its_own_job_alone(roles, make):
    def rank(replies):
        raise ValueError("a reward of the user's own")

    scheduler = make()
    wrong, right = job(roles, count=2, rank=rank), job(roles)
    scheduler.submit(wrong)
    scheduler.submit(right)
    assert [e.text for e in finished(right)] == expected(roles, PROMPTS[0], "sft")
    assert isinstance(finished(wrong), Failed)
