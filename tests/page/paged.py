"""A server with its page for tests: a tiny model, a run with evaluations, characters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from served import live, tiny_hub

from evaluated import evaluated_run, evaluation, reply
from selfsame.cards.card import make_card
from selfsame.cards.write import write_card
from selfsame.page.app import Places
from selfsame.page.speaking import Speaking
from selfsame.run.directory import RunDirectory
from selfsame.run.files import append_jsonl
from selfsame.serve.desk import Limits
from selfsame.serve.gate import UPLOADS
from selfsame.serve.hub import Hub
from selfsame.serve.scheduler import Scheduler

NASTY = (
    "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"> [here](javascript:alert(1))"
    " ![picture](http://192.0.2.1/spy.png) ${document.title='broken'} {{7*7}} `a` </div><h1>big</h1>"
)
"""What a name, trait or turn may hold."""


def a_run(folder: Path, prompts: int = 12) -> Path:
    """A run whose systems `sft` and `base` answered the same prompts, the first few alike."""
    hits = [float(k % 2) for k in range(prompts)]
    replies = {name: [_reply(number, hit, name) for number, hit in enumerate(hits)] for name in ("sft", "base")}
    evaluated_run(folder, {name: evaluation(hits, replies=own) for name, own in replies.items()})
    for step in range(1, 6):
        append_jsonl(folder / "metrics.jsonl", {"stage": "sft", "step": step, "loss": 4.0 / step})
    return folder


def _reply(number: int, hit: float, name: str) -> dict[str, Any]:
    text = "Alike." if number < 2 else f"I have two dogs, says {name} of {number}."
    return reply(number, hit, text, dialogue=f"d{number}")


def hub_of_run(model: Path, run: Path) -> Hub:
    """The tiny models of `served`, as those of a run."""
    hub = tiny_hub(model)
    for voice in hub.voices.values():
        voice.bot.directory = RunDirectory(run)
    return hub


@contextlib.contextmanager
def speaking(hub: Hub, limits: Limits | None = None) -> Iterator[Speaking]:
    """Asks the models of a hub."""
    limits = limits or Limits()
    scheduler = Scheduler(limits.places, limits.waiting)
    try:
        yield Speaking(hub, scheduler, limits)
    finally:
        scheduler.close()
        scheduler.join(10)


@dataclass
class Site:
    """A live server with its page, and where it keeps what."""

    url: str
    places: Places
    live: Any


@contextlib.contextmanager
def site(folder: Path, model: Path, token: str = "") -> Iterator[Site]:
    """A live server whose run, characters and labels lie in a folder."""
    from selfsame.page.app import add_page

    cards = folder / "cards"
    cards.mkdir()
    mika = {"name": "Mika", "description": "I fix clocks. I live by the sea.", "first_mes": "Oh, a visitor!"}
    write_card(make_card(mika), cards / "mika.png", 3, None)
    write_card(
        make_card({"name": f"Nasty {NASTY[:40]}", "description": f"{NASTY} I bake bread."}), cards / "n.json", 3, None
    )
    hub = hub_of_run(model, a_run(folder / "runs" / "tiny"))
    (folder / "runs" / "tiny" / "report.html").write_text("<title>the report</title><p>all of it</p>")
    places = Places(folder / "labels.sqlite", folder / "runs", (str(cards),))
    limits = Limits()

    with live(
        hub, limits, token=token, larger=UPLOADS, page=lambda app: add_page(app, hub, limits, places, token)
    ) as found:
        yield Site(found.url, places, found)
