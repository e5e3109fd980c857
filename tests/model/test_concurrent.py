"""Passes side by side: the results of one after another, in order, on as many threads as there are."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from test_roles import load

from selfsame.model import concurrent as module
from selfsame.model.concurrent import concurrently, passes_at_once
from selfsame.run.interruption import Interrupted, interruptible, may_stop


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model(tiny_models):
    return load(tiny_models()).base


def test_two_run_at_once_and_come_in_order(model):
    both = threading.Barrier(2, timeout=60)

    def task(item):
        both.wait()  # breaks unless another waits at the same time
        return item, torch.get_num_threads(), torch.is_grad_enabled()

    assert [*concurrently(task, range(4), model)] == [(k, 1, True) for k in range(4)]
    with torch.no_grad():
        assert [*concurrently(task, range(2), model)] == [(k, 1, False) for k in range(2)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("why", ["one thread", "one item", "autocast", "rope", "nested", "quantized"])
def test_one_after_another_where_they_would_disturb_each_other(model, monkeypatch, why):
    main, seen = threading.current_thread(), []

    def task(item):
        seen.append(threading.current_thread())
        return item

    items = [1] if why == "one item" else [1, 2, 3]
    if why == "one thread":
        torch.set_num_threads(1)
    if why == "rope":
        monkeypatch.setattr(model.config, "rope_parameters", {"full_attention": {"rope_type": "longrope"}})
    if why == "quantized":
        monkeypatch.setattr(model, "is_quantized", True, raising=False)
    if why == "nested":
        (found,) = {tuple(concurrently(task, items, model)) for _ in concurrently(str, "ab", model)}
    else:
        with torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
            found = tuple(concurrently(task, items, model))
    assert found == tuple(items)
    assert set(seen) == {main}


def test_the_first_error_ends_all_and_the_threads_come_back(model):
    begun = []

    def task(item):
        begun.append(item)
        time.sleep(0.01)
        raise KeyError(item)

    with pytest.raises(KeyError):
        [*concurrently(task, range(1000), model)]
    assert len(begun) < 1000
    assert torch.get_num_threads() == 2
    assert not module._BUSY.locked()


def test_a_pass_that_nobody_waits_for_ends_where_it_may_be_left(model):
    ended, begun = [], threading.Event()

    def task(item):
        begun.set()
        try:
            for _ in range(6000):  # a minute
                may_stop()
                time.sleep(0.01)
        except Interrupted:
            ended.append(item)

    def failing(item):
        if item == 0:
            begun.wait(60)
            raise KeyError(item)
        task(item)

    with pytest.raises(KeyError):
        [*concurrently(failing, range(2), model)]
    assert ended == [1]


def test_whoever_takes_only_some_leaves_the_threads_as_they_were(model):
    for _ in concurrently(str, range(10), model):
        assert torch.get_num_threads() == 1
        break
    assert torch.get_num_threads() == 2
    assert not module._BUSY.locked()


def test_ctrl_c_is_obeyed_before_the_next_pass(model):
    begun = []
    with interruptible() as interruption, interruption.at_once(), pytest.raises(Interrupted):

        def task(item):
            begun.append(item)
            interruption.press()

        [*concurrently(task, range(1000), model)]
    assert len(begun) <= 2


def test_how_many_run_at_once(model):
    assert [passes_at_once(count) for count in (0, 1, 2, 9)] == [0, 1, 2, 2]
    torch.set_num_threads(64)
    assert [passes_at_once(100, budget) for budget in (512, 1024, 2048, 4096, 8192)] == [1, 1, 2, 4, 8]
