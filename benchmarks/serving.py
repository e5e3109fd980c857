"""What the server costs on top of the engine, and what it bears: `selfsame serve` in a process of its own on this machine.

    python -m benchmarks.serving --json benchmarks/results/serving.json [--model selfsame-9m] [--minutes 5] [--chats 64]
    python -m benchmarks.serving --json benchmarks/results/serving.json --readme docs/guides/serve.md

The engine and the server take turns, round by round, on prompts that neither has seen. Replies are greedy and as long as
the limit, but for those that end; both give the same, which is checked. Then many people chat at once, each with a persona of
its own, and every reply is held against the one that the engine gives alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

from selfsame.data.loader import DatasetLoader
from selfsame.data.persona_fields import system_traits
from selfsame.data.settings import DataSettings
from selfsame.model.settings import BUNDLED
from selfsame.report.tables import markdown_grid, update_readme
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json
from selfsame.serve.chatbot import Chatbot, load_chatbot
from selfsame.types import Prompt

TOKENS = 48
MANY = 16
SAME = 50
QUESTIONS = ("Hello, who are you?", "What do you like to do at the weekend?", "Do you have any pets?")


def prompts_of_demo(count: int) -> list[Prompt]:
    """Prompts of different people, each in the middle of a dialogue. Their traits are sentences, as in a system message."""
    data = DatasetLoader(DataSettings(path="demo")).load()
    made = [e.prompt(min(k % 3, len(e.replies) - 1)) for k, e in enumerate([*data.train, *data.validation])]
    fitting = [p for p in made if p.persona and system_traits("\n".join(p.persona)).traits == p.persona]
    assert len(fitting) >= count, f"only {len(fitting)} prompts: choose fewer rounds"
    return fitting[:count]


def request_of(model: str, prompt: Prompt, **more: Any) -> dict[str, Any]:
    """The prompt as a client sends it."""
    messages = [{"role": "system", "content": "\n".join(prompt.persona)}] if prompt.persona else []
    messages += [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(prompt.history)]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": TOKENS} | more


class Engine:
    """Our own engine in this process."""

    def __init__(self, bot: Chatbot) -> None:
        self.bot, self.settings = bot, SamplingSettings(temperature=0, max_new_tokens=TOKENS)

    def reply(self, prompts: Sequence[Prompt]) -> list[str]:
        return RolloutEngine(self.bot.roles).reply(self.bot.role, prompts, self.settings)

    def timed(self, prompts: Sequence[Prompt], at_once: int) -> tuple[float, list[str]]:
        began, texts = time.perf_counter(), []
        for k in range(0, len(prompts), at_once):
            texts += self.reply(prompts[k : k + at_once])
        return time.perf_counter() - began, texts


class Client:
    """Clients of the server."""

    def __init__(self, url: str, model: str, process: Any) -> None:
        self.url, self.model, self.process = url, model, psutil.Process(process.pid)

    def timed(self, prompts: Sequence[Prompt], at_once: int) -> tuple[float, list[str]]:
        return asyncio.run(self._timed(prompts, at_once))

    async def _timed(self, prompts: Sequence[Prompt], at_once: int) -> tuple[float, list[str]]:
        async with self.session(at_once) as client:
            await client.get("/models")  # connected
            began, texts = time.perf_counter(), []
            for k in range(0, len(prompts), at_once):
                texts += await asyncio.gather(*(self.ask(client, prompt) for prompt in prompts[k : k + at_once]))
            return time.perf_counter() - began, texts

    def flow(self, prompts: Sequence[Prompt], at_once: int) -> float:
        """Replies a second while `at_once` chats are under way: whoever has a reply asks the next one at once."""
        return asyncio.run(self._flow(prompts, at_once))

    async def _flow(self, prompts: Sequence[Prompt], at_once: int) -> float:
        left = iter(prompts)

        async def chat(client: httpx.AsyncClient) -> None:
            for prompt in left:
                await self.ask(client, prompt)

        async with self.session(at_once) as client:
            await client.get("/models")
            began = time.perf_counter()
            await asyncio.gather(*(chat(client) for _ in range(at_once)))
            return len(prompts) / (time.perf_counter() - began)

    def session(self, connections: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.AsyncClient(base_url=self.url, timeout=180, limits=limits)

    async def ask(self, client: httpx.AsyncClient, prompt: Prompt, stream: bool = False) -> str:
        body = request_of(self.model, prompt, stream=stream)
        response = await client.post("/chat/completions", json=body)
        response.raise_for_status()
        if not stream:
            return response.json()["choices"][0]["message"]["content"]
        events = [line[6:] for line in response.text.split("\n") if line]
        assert events[-1] == "[DONE]"
        return "".join(json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-1])

    def first_token(self, prompt: Prompt) -> float:
        """Seconds from the request to the first text."""
        began = time.perf_counter()
        body = request_of(self.model, prompt, stream=True)
        with httpx.stream("POST", f"{self.url}/chat/completions", json=body, timeout=60) as response:
            for line in response.iter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    return time.perf_counter() - began
        return time.perf_counter() - began


@contextmanager
def served(model: str, chats: int):
    """The command `selfsame serve` in a process of its own."""
    arguments = [sys.executable, "-m", "selfsame", "serve", model, "--port", "0", "--no-page", "--max-chats", str(MANY)]
    process = subprocess.Popen([*arguments, "--max-waiting", str(chats)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url, "the server did not start"
        name = process.stdout.readline().strip()
        yield Client(url[0], name, process)
    finally:
        process.terminate()
        process.wait(30)


def costs(engine: Engine, client: Client, rounds: int) -> dict[str, Any]:
    """Seconds a reply, one chat and many at once, of the engine and of the server, which take turns on the same prompts: four
    prompts, and one batch, a round."""
    every = prompts_of_demo((rounds + 1) * (4 + MANY) + SAME)
    unseen, seconds, ratios = iter(every), {}, {}
    same = total = 0
    for k in range(rounds + 1):
        for at_once in (1, 1, 1, 1, MANY):
            some = [next(unseen) for _ in range(at_once)]
            turns = (engine, client) if total % 2 else (client, engine)
            measured = {type(one): one.timed(some, at_once) for one in turns}
            (ours, expected), (theirs, texts) = measured[Engine], measured[Client]
            same, total = same + sum(map(str.__eq__, expected, texts)), total + len(some)
            if k:  # the first passes of a process are slow
                ratios.setdefault(str(at_once), []).append(theirs / ours)
                seconds.setdefault(f"engine_{at_once}", []).append(ours / len(some))
                seconds.setdefault(f"server_{at_once}", []).append(theirs / len(some))
    last = every[-SAME:]
    texts = client.timed(last, MANY)[1]
    first = [client.first_token(Prompt((f"I live at number {k}.", "I teach."), (QUESTIONS[k % 3],))) for k in range(20)]
    return {
        "seconds_a_reply": {name: statistics.median(values) for name, values in seconds.items()},
        "server_to_engine": {name: statistics.median(values) for name, values in ratios.items()},
        "rounds": seconds,
        "same_in_rounds": [same, total],
        "same_greedy_replies": [sum(map(str.__eq__, texts, engine.reply(last))), len(last)],
        "first_token_seconds": {"median": statistics.median(first), "largest": max(first)},
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],  # with what others do on this machine
    }


def flows(client: Client, rounds: int) -> dict[str, list[float]]:
    """Replies a second with one chat and with many, which take turns. Personas are turned round, so that no server knows
    their beginning."""
    unseen = [
        Prompt(p.persona[::-1], p.history) for p in prompts_of_demo(rounds * (4 + 2 * MANY)) if len(p.persona) > 1
    ]
    size = len(unseen) // rounds
    found: dict[str, list[float]] = {"1": [], str(MANY): []}
    for k in range(rounds):
        some = unseen[k * size : (k + 1) * size]
        found["1"].append(client.flow(some[:4], 1))
        found[str(MANY)].append(client.flow(some[4:], MANY))
    return found


async def endure(client: Client, wanted: list[list[tuple[Prompt, str]]], minutes: float) -> dict[str, Any]:
    """All chats at once, over and over; every reply is held against the engine's."""
    until, lost, different, mixed, count, memory = time.monotonic() + 60 * minutes, 0, 0, 0, 0, []
    everyone = {text: k for k, chat in enumerate(wanted) for _, text in chat}
    began = time.monotonic()

    async def chat(session: httpx.AsyncClient, k: int) -> None:
        nonlocal lost, different, mixed, count
        turn = 0
        while time.monotonic() < until:
            prompt, expected = wanted[k][turn % len(wanted[k])]
            try:
                text = await client.ask(session, prompt, stream=(k + turn) % 2 == 0)
            except (httpx.HTTPError, AssertionError, ValueError):
                lost += 1
            else:
                count += 1
                different += text != expected
                mixed += text != expected and everyone.get(text, k) != k
            turn += 1

    async def watch() -> None:
        while time.monotonic() < until:
            memory.append([round(time.monotonic() - began, 1), client.process.memory_info().rss / 2**20])
            await asyncio.sleep(min(5.0, 10 * minutes))

    async with client.session(len(wanted)) as session:
        await asyncio.gather(watch(), *(chat(session, k) for k in range(len(wanted))))
    warm = [size for seconds, size in memory if seconds > 12 * minutes] or [memory[-1][1]]
    return {
        "chats": len(wanted),
        "minutes": minutes,
        "replies": count,
        "lost": lost,
        "different": different,
        "mixed_up": mixed,
        "replies_a_second": count / (time.monotonic() - began),
        "memory_mib": {"after_a_fifth": warm[0], "largest_after": max(warm), "end": memory[-1][1]},
        "memory": memory,
    }


def chats_of(engine: Engine, count: int) -> list[list[tuple[Prompt, str]]]:
    """For each chat its prompts, turn by turn, with the engine's replies."""
    prompts = [Prompt((f"I live at number {k}.", f"I have {k + 2} books."), (QUESTIONS[0],)) for k in range(count)]
    found: list[list[tuple[Prompt, str]]] = [[] for _ in prompts]
    for turn, question in enumerate(QUESTIONS[1:] + ("",)):
        texts = engine.reply(prompts)
        for chat, prompt, text in zip(found, prompts, texts, strict=True):
            chat.append((prompt, text))
        prompts = [p.followed_by(t, question) for p, t in zip(prompts, texts, strict=True)] if turn < 2 else prompts
    return found


def measure(record: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The record with the parts that are asked for measured anew."""
    record = record | {"model": options.model, "tokens": TOKENS}
    with served(options.model, options.chats) as client:
        bot = load_chatbot(options.model)
        engine = Engine(bot)
        if bot.system:
            client.model = f"{client.model.partition(':')[0]}:{bot.system}"
        if "costs" in options.parts:
            record["costs"] = costs(engine, client, options.rounds)
            record["replies_a_second"] = flows(client, options.rounds)
        if "load" in options.parts:
            record["load"] = asyncio.run(endure(client, chats_of(engine, options.chats), options.minutes))
    return record | {"environment": describe_environment()}


def table(record: dict[str, Any]) -> str:
    """The numbers as a table."""
    cost, load = record["costs"], record["load"]
    seconds = cost["seconds_a_reply"]
    faster = seconds["server_1"] / seconds[f"server_{MANY}"]
    memory, flow = load["memory_mib"], {n: statistics.median(v) for n, v in record["replies_a_second"].items()}
    rows = [
        ["one chat: server against engine", f"{cost['server_to_engine']['1']:.2f}x the time"],
        [f"{MANY} chats: server against engine", f"{cost['server_to_engine'][str(MANY)]:.2f}x the time"],
        [f"{MANY} chats that begin together against one", f"{faster:.1f}x the replies a second"],
        [
            f"{MANY} chats under way all the time against one",
            f"{flow[str(MANY)] / flow['1']:.1f}x the replies a second",
        ],
        ["one chat: first token", f"{cost['first_token_seconds']['median']:.2f} s"],
        ["same greedy replies as the engine", "{} of {}".format(*cost["same_greedy_replies"])],
        [f"{load['chats']} chats for {load['minutes']:g} minutes", f"{load['replies']} replies"],
        ["- lost, mixed up, different", f"{load['lost']}, {load['mixed_up']}, {load['different']}"],
        ["- memory after a fifth of the time, at the end", f"{memory['after_a_fifth']:.0f}, {memory['end']:.0f} MiB"],
    ]
    return markdown_grid([["what", record["model"]], *rows])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--parts", nargs="+", choices=("costs", "load"), default=("costs", "load"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--chats", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--readme", type=Path, help="put the table of an existing record there instead of measuring")
    parser.add_argument("--marker", default="serving", help="which markers")
    options = parser.parse_args(arguments)
    if options.readme:
        update_readme(options.readme, options.marker, table(read_json(options.json)))
        return
    record = measure(read_json(options.json) if options.json.exists() else {}, options)
    write_json(options.json, record)
    print(table(record))


if __name__ == "__main__":
    main()
