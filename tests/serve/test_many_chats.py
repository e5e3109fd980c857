"""Many chats at once: none is lost, none is mixed up, and memory stays as it is."""

from __future__ import annotations

import asyncio

import httpx
from served import CHARACTER, MIKA, TALKER, asked, chunks, engine_reply, live, streamed_text, tiny_hub

from selfsame.serve.desk import Limits
from selfsame.types import Prompt

CHATS, TURNS = 64, 2


def test_64_chats_at_once(tiny_models):
    """Each with a persona of its own and two turns, half of them streamed; every reply is what the engine gives alone."""
    hub = tiny_hub(tiny_models("llama"))

    def prompt(k: int, turns: tuple[str, ...]) -> Prompt:
        return Prompt(MIKA.persona if k % 4 == 3 else (f"I own house {k}.", "I teach."), turns)

    async def chat(client: httpx.AsyncClient, k: int) -> list[tuple[Prompt, str]]:
        messages = [] if k % 4 == 3 else [{"role": "system", "content": f"I own house {k}.\nI teach."}]
        model, said, turns = CHARACTER if k % 4 == 3 else TALKER, [], ()
        for turn in range(TURNS):
            messages.append({"role": "user", "content": f"Question {turn} of {k}?"})
            turns = (*turns, f"Question {turn} of {k}?")
            request = asked(model=model, messages=messages, stream=k % 2 == 0)
            response = await client.post("/v1/chat/completions", json=request)
            assert response.status_code == 200, response.text
            streamed = k % 2 == 0
            text = (
                streamed_text(chunks(response.text))
                if streamed
                else response.json()["choices"][0]["message"]["content"]
            )
            said.append((prompt(k, turns), text))
            messages.append({"role": "assistant", "content": text})
            turns = (*turns, text)
        return said

    async def all_chats(url: str) -> list[list[tuple[Prompt, str]]]:
        limits = httpx.Limits(max_connections=CHATS)
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(chat(client, k) for k in range(CHATS)))

    with live(hub, Limits(places=16, waiting=CHATS, kept_bytes=2**20)) as server:
        found = asyncio.run(all_chats(server.url))
        assert server.idle()
        assert 0 < server.scheduler.kept.size <= 2**20
        slots = [lane.slots for lane in server.scheduler._lanes.values()]
        assert all(layer.keys is None for one in slots for layer in one._layers), "no cache is held while nobody speaks"
    assert [len(chat) for chat in found] == [TURNS] * CHATS
    pairs = [pair for chat in found for pair in chat]
    assert [text for _, text in pairs] == [engine_reply(hub, TALKER, p) for p, _ in pairs]
    assert len({text for _, text in pairs}) > CHATS
