"""`selfsame serve`: what it loads and prints, what it refuses, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import Command
from selfsame.cards.card import make_card
from selfsame.cards.write import write_card
from selfsame.cli.serve import options_parser
from selfsame.config import load_config
from selfsame.errors import ConfigError, DataError
from selfsame.serve.chatbot import Chatbot
from selfsame.serve.hub import load_hub, slug
from selfsame.serve.server import bind, is_local, token_for


@pytest.fixture
def command(capsys, tiny_models):
    return Command(capsys, tiny_models())


@pytest.fixture
def cards(tmp_path):
    folder = tmp_path / "cards"
    folder.mkdir()
    for name in ("Mika", "Dr. Öz"):
        write_card(make_card({"name": name, "description": "I fix clocks."}), folder / f"{slug(name)}.json", 3, None)
    (folder / "notes.txt").write_text("not a card")
    return folder


def test_a_model_speaks_alone_and_as_each_character(tiny_models, cards):
    folder = tiny_models()
    hub = load_hub([str(folder)], [str(cards)])
    assert [*hub.voices] == [folder.name, f"{folder.name}@dr-öz", f"{folder.name}@mika"]


def test_a_run_has_its_finished_systems_and_its_own_character(tmp_path, monkeypatch):
    write_card(make_card({"name": "Ida", "description": "I bake."}), tmp_path / "card.json", 3, None)
    loaded = []
    roles = SimpleNamespace(processor=SimpleNamespace(remember=loaded.append), names=())
    run = SimpleNamespace(path=tmp_path, card_path=tmp_path / "card.json")
    bot = Chatbot(roles, "policy", load_config(), "mine (ppo)", True, run, "ppo")
    monkeypatch.setattr("selfsame.serve.chatbot.finished_stages", lambda directory: {"sft": tmp_path, "ppo": tmp_path})
    monkeypatch.setattr("selfsame.serve.hub.finished_stages", lambda directory: {"reward": tmp_path})
    monkeypatch.setattr(Chatbot, "_load", lambda self, system: {"base": None, "ppo": "policy"}.get(system, system))
    monkeypatch.setattr(Chatbot, "load_reward", lambda self: loaded.append("reward"))
    monkeypatch.setattr("selfsame.serve.hub.load_chatbot", lambda model, base=None: bot)
    hub = load_hub(["runs/mine"])
    assert {name: voice.role for name, voice in hub.voices.items()} == {
        **{"mine:base": None, "mine:base@ida": None},
        **{"mine:sft": "sft", "mine:sft@ida": "sft"},
        **{"mine:ppo": "policy", "mine:ppo@ida": "policy"},
    }
    assert loaded[0] == "reward"


def test_the_commands_of_the_pages_are_valid():
    docs = Path(__file__).resolve().parents[2] / "docs"
    pages = [docs / "commands.md", *(docs / "guides").glob("*.md")]
    lines = [
        line for page in pages for line in page.read_text().split("\n") if re.match(r"(\w+=\S+ )?selfsame serve ", line)
    ]
    assert len(lines) >= 3
    for line in lines:
        assert options_parser().parse_args(shlex.split(line.partition("selfsame serve ")[2])).models


def test_names_and_cards_that_cannot_be(tiny_models, cards, tmp_path):
    folder = str(tiny_models())
    with pytest.raises(ConfigError, match="two models or characters have the name"):
        load_hub([folder, folder])
    with pytest.raises(ConfigError, match="have the name mika"):
        load_hub([folder], [str(cards), str(cards / "mika.json")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no character card"):
        load_hub([folder], [str(tmp_path / "empty")])
    (cards / "wrong.json").write_text("{")
    with pytest.raises(DataError, match=r"wrong\.json"):
        load_hub([folder], [str(cards)])


def test_options_that_cannot_be(command):
    for arguments, words in (
        ((), "RUN_OR_MODEL"),
        (("x", "--max-chats", 0), "--max-chats is 0: give 1 or more"),
        (("x", "--port", 70000), "--port is 70000"),
        (("x", "--host", "no.such.host.invalid"), "is no address of this machine"),
        (("no-such-model", "--port", 0), "no-such-model"),
    ):
        outcome = command("serve", *arguments)
        assert outcome.code == 2 and words in outcome.told
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is taken" in command("serve", "x", "--port", port).told


def test_what_the_extra_brings_is_named(command, monkeypatch):
    monkeypatch.setattr("selfsame.cli.serve.find_spec", lambda name: None)
    assert "pip install 'selfsame-chat[web]'" in command("serve", "x").told


def test_the_page_comes_with_gradio(command, monkeypatch, tmp_path):
    find, opened = importlib.util.find_spec, []
    monkeypatch.setattr("selfsame.serve.server.serve", lambda app, bound, ready: (ready(), bound.close()))
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(tmp_path)
    model = str(command.model)
    if find("gradio"):
        outcome = command("serve", model, "--port", 0, "--open")
        assert outcome.code == 0 and f"page: {opened[0]}\n" in outcome.out
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", opened[0])
        monkeypatch.setenv("SELFSAME_TOKEN", "sixteen-letters-1")
        assert "sixteen" not in command("serve", model, "--port", 0).out
    monkeypatch.setattr("selfsame.cli.serve.find_spec", lambda name: None if name == "gradio" else find(name))
    outcome = command("serve", model, "--port", 0)
    assert outcome.code == 0 and "no page without gradio: pip install 'selfsame-chat[web]'" in outcome.out
    assert "page" not in command("serve", model, "--port", 0, "--no-page").out
    assert [*tmp_path.iterdir()] == []


def test_a_token_is_needed_where_others_can_call(monkeypatch):
    monkeypatch.delenv("SELFSAME_TOKEN", raising=False)
    assert token_for("127.0.0.1") == token_for("localhost") == token_for("::1") == ("", False)
    token, is_new = token_for("0.0.0.0")
    assert is_new and len(token) >= 32 and token != token_for("0.0.0.0")[0]
    monkeypatch.setenv("SELFSAME_TOKEN", "sixteen-letters-1")
    assert token_for("0.0.0.0") == token_for("127.0.0.1") == ("sixteen-letters-1", False)
    for short in ("short", "sixteen letters 1", "sechzehn-zeichen-ö"):
        monkeypatch.setenv("SELFSAME_TOKEN", short)
        with pytest.raises(ConfigError, match="SELFSAME_TOKEN"):
            token_for("127.0.0.1")
    assert [is_local(host) for host in ("127.0.0.5", "0.0.0.0", "::", "example.org")] == [True, False, False, False]
    bind("127.0.0.1", 0).close()


def read_until(process, pattern, seconds=180):
    """What the process has printed up to a pattern."""
    text, until = "", time.monotonic() + seconds
    while time.monotonic() < until:
        if select.select([process.stdout], [], [], 1)[0]:
            part = os.read(process.stdout.fileno(), 65536).decode()
            text += part
            if re.search(pattern, text):
                return text
            assert part, f"ended: {text}"
    raise AssertionError(text)


@pytest.mark.slow
def test_the_command_serves_and_ends_with_ctrl_c(tiny_models, cards):
    folder = tiny_models()
    arguments = [sys.executable, "-m", "selfsame", "serve", str(folder), "--characters", str(cards), "--port", "0"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        text = read_until(process, "@mika\n")
        assert "token" not in text
        url = re.search(r"serving at (http://127.0.0.1:\d+/v1)", text)[1]
        body = {"model": f"{folder.name}@mika", "messages": [{"role": "user", "content": "Hi."}], "stream": True}
        body |= {"max_tokens": 128, "n": 16}
        request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as stream:
            first = stream.readline()
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            rest = stream.read().decode()
        assert first.startswith(b"data: ") and rest.rstrip().endswith("data: [DONE]")
        assert rest.count('"finish_reason":"length"') + rest.count('"finish_reason":"stop"') == 16
        assert process.wait(60) == 130
        assert time.monotonic() - began < 20
        assert process.stderr.read().decode().splitlines()[-1] == "selfsame: stopped"
    finally:
        process.kill()
        process.wait()
