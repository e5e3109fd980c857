"""Clients as people have them: the official `openai` package, curl's bodies, SillyTavern's and Open WebUI's requests."""

from __future__ import annotations

import json
import socket
import time

import httpx
import openai
import pytest
from served import CHARACTER, TALKER, asked, engine_reply, live, tiny_hub

from selfsame.serve.desk import Limits
from selfsame.types import Prompt

TOKEN = "a-token-of-the-test"
SILLY_TAVERN = {
    "messages": [
        {"role": "system", "content": "Write Mika's next reply in a fictional chat between Mika and User."},
        {"role": "system", "content": "Mika fixes clocks. Mika lives by the sea."},
        {"role": "system", "content": "[Start a new Chat]"},
        {"role": "assistant", "content": "Oh, a visitor!"},
        {"role": "user", "content": "Hello there."},
    ],
    "model": TALKER,
    "temperature": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0.3,
    "top_p": 1,
    "max_tokens": 300,
    "stream": True,
    "logit_bias": {},
    "stop": ["\nUser:", "\nMika:"],
    "chat_completion_source": "custom",
    "user_name": "User",
    "char_name": "Mika",
    "group_names": [],
    "include_reasoning": False,
    "reasoning_effort": "auto",
    "enable_web_search": False,
    "request_images": False,
    "custom_prompt_post_processing": "",
    "seed": 7,
    "n": 1,
    "top_k": 0,
    "min_p": 0,
    "repetition_penalty": 1,
}
"""SillyTavern, "Custom (OpenAI-compatible)"."""
OPEN_WEBUI = {
    "stream": True,
    "model": TALKER,
    "messages": [{"role": "user", "content": "Hello there."}],
    "stream_options": {"include_usage": True},
    "session_id": "abc",
    "chat_id": "def",
    "id": "ghi",
    "features": {"web_search": False},
    "variables": {"{{USER_NAME}}": "User"},
    "background_tasks": {"title_generation": True},
    "metadata": None,
    "params": {},
    "tools": [],
    "tool_ids": None,
}
OPEN_WEBUI_TITLE = {
    "model": TALKER,
    "messages": [{"role": "user", "content": "### Task:\nGenerate a concise, 3-5 word title for the chat history."}],
    "stream": False,
    "max_completion_tokens": 1000,
    "metadata": {"task": "title_generation"},
}


@pytest.fixture(scope="module")
def hub(tiny_models):
    return tiny_hub(tiny_models("llama"))


@pytest.fixture(scope="module")
def server(hub):
    with live(hub, token=TOKEN) as server:
        yield server


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def answered(server, path, body, content_type="application/json", token=TOKEN):
    """(status, headers, body) of a request as curl sends it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nUser-Agent: curl/8.5.0\r\n"
    head += f"Accept: */*\r\nContent-Type: {content_type}\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
    found = server.send(head.encode() + raw)
    first, _, rest = found.partition(b"\r\n\r\n")
    return int(first.split()[1]), first.decode().lower(), rest


def test_the_official_client(hub, client):
    assert [model.id for model in client.models.list()] == [*hub.voices]
    assert client.models.retrieve(CHARACTER).id == CHARACTER
    messages = [{"role": "system", "content": "I teach."}, {"role": "user", "content": "Hi."}]
    request = {"model": TALKER, "messages": messages, "temperature": 0, "max_tokens": 8}
    answer = client.chat.completions.create(**request)
    expected = engine_reply(hub, TALKER, Prompt(("I teach.",), ("Hi.",)))
    assert answer.choices[0].message.content == expected and answer.usage.total_tokens > 8
    stream = client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
    pieces = list(stream)
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == expected
    assert pieces[-1].usage.completion_tokens == answer.usage.completion_tokens
    text = client.completions.create(model=TALKER, prompt="Once upon", max_tokens=4, temperature=0)
    assert text.choices[0].finish_reason in ("stop", "length")
    chosen = client.chat.completions.create(**request | {"temperature": 1}, seed=1, extra_body={"best_of": 3})
    assert len(chosen.choices) == 1


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"temperature": 9}, openai.BadRequestError),
        ({"model": "gpt-4"}, openai.NotFoundError),
        ({"messages": [{"role": "zz", "content": "Hi."}]}, openai.BadRequestError),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError),
        ({"logprobs": True}, openai.BadRequestError),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError),
    ],
)
def test_errors_are_those_of_the_official_client(client, changed, kind):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**asked() | changed)
    assert (caught.value.body["message"] and caught.value.body["param"] in changed) or "role" in caught.value.body[
        "param"
    ]


def test_a_wrong_key(server):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()


def test_curl(hub, server):
    status, _, body = answered(server, "/v1/chat/completions", asked())
    expected = engine_reply(hub, TALKER, Prompt((), ("Hi.",)))
    assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == expected
    for wrong in (b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"model": 1}', b"[" * 100_000, b'"x"', b"NaN"):
        status, _, body = answered(server, "/v1/chat/completions", wrong)
        assert status == 400 and json.loads(body)["error"]["message"], wrong
    status, _, body = answered(server, "/v1/chat/completions", asked(), "application/x-www-form-urlencoded")
    assert status == 400, "a form of a page in a browser is no request"


def test_sillytavern(server):
    status, head, body = answered(server, "/v1/chat/completions", SILLY_TAVERN)
    assert status == 200 and b"data: [DONE]" in body
    assert "presence_penalty" in head and "chat_completion_source" in head and "repetition_penalty" in head
    ignored = next(line for line in head.split("\r\n") if line.startswith("x-selfsame-ignored"))
    assert "frequency_penalty" not in ignored and "seed" not in ignored, "what is 0, or works, is not listed"


def test_open_webui(server):
    status, head, body = answered(server, "/v1/chat/completions", OPEN_WEBUI)
    assert status == 200 and b'"usage":{' in body and "chat_id" in head
    status, _, body = answered(server, "/v1/chat/completions", OPEN_WEBUI_TITLE)
    assert status == 200 and json.loads(body)["choices"][0]["message"]["role"] == "assistant"


def test_a_client_that_leaves_makes_room(hub):
    with live(hub, Limits(places=1, waiting=2)) as server:
        slow = json.dumps(asked(max_tokens=60)).encode()
        for body in (slow, slow[:-1] + b', "stream": true}') * 3:
            connection = socket.create_connection(("127.0.0.1", server.port))
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until = time.monotonic() + 20
            while not server.scheduler.running() and time.monotonic() < until:
                time.sleep(0.001)
            connection.close()
            assert server.idle()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        assert client.chat.completions.create(**asked()).choices
        client.close()
        left = [line for line in httpx.get(f"{server.url}/metrics").text.split("\n") if 'end="left"' in line]
        assert left and float(left[0].split()[-1]) >= 3


def test_a_full_server_says_when_to_come_back(hub):
    with live(hub, Limits(places=1, waiting=0)) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        stream = client.chat.completions.create(**asked(max_tokens=64), stream=True)
        with pytest.raises(openai.RateLimitError) as caught:
            for _ in range(200):
                client.chat.completions.create(**asked(max_tokens=1))
        assert caught.value.response.headers["Retry-After"] == "2"
        stream.close()
        client.close()


def test_the_end_of_the_server_cuts_a_reply_properly(hub):
    began = 0.0
    with live(hub) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with client.chat.completions.stream(**asked(max_tokens=64)) as stream:
            events = iter(stream)
            next(events)
            began = time.monotonic()
            server.scheduler.close()
            *_, last = events
        assert last.type in ("content.done", "chunk") and time.monotonic() - began < 10
        client.close()
