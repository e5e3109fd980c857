"""What a conversation can do besides speaking: stream, try again, take back, be somebody else, be saved."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest
from test_roles import load, scramble

from selfsame.errors import ConfigError, DataError
from selfsame.model.settings import LoraSettings
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve import terminal
from selfsame.serve.chat import Conversation
from selfsame.serve.terminal import COMMANDS, Screen, chat
from selfsame.types import Prompt

PERSONA = ("I have two dogs.",)
SAMPLING = SamplingSettings(max_new_tokens=12)


@pytest.fixture(scope="module")
def roles(tiny_models):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    for k, role in enumerate(("sft", "policy")):
        roles.add(role)
        scramble(roles, role, k)
    return roles


@pytest.fixture
def talk(roles):
    def make(**more):
        systems = {"base": lambda: None, "sft": lambda: "sft", "ppo": lambda: "policy"}
        how = {name: more.pop(name) for name in ("sampling", "seed", "best_of") if name in more}
        policy = Policy(roles, "policy", **{"sampling": SAMPLING} | how)
        return Conversation(policy, PERSONA, **{"systems": systems, "system": "ppo"} | more)

    return make


def shown(conversation, *lines, live=False):
    screen = io.StringIO()
    chat(conversation, lines, Screen(screen, live))
    return screen.getvalue()


# --- streaming


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"top_p": 0.5}, {"retries": 2}])
def test_a_streamed_reply_is_the_same_token_for_token(roles, settings):
    engine, sampling = RolloutEngine(roles), SAMPLING.model_copy(update=settings)
    for seed in range(3):
        prompts, seen = [Prompt(PERSONA, ("Any pets?",))], []
        (plain,) = engine.replies("policy", prompts, sampling, seed)
        (streamed,) = RolloutEngine(roles, watch=seen.append).replies("policy", prompts, sampling, seed)
        assert streamed == plain
        assert seen[-len(plain.ids) :] == [plain.ids[: k + 1] for k in range(len(plain.ids))]


def test_what_is_said_is_the_same_with_and_without_streaming(talk):
    one, other, texts = talk(seed=5), talk(seed=5), []
    for said in ("Any pets?", "What are they called?"):
        assert one.say(said) == other.say(said, texts.append)
    assert one.turns == other.turns and len(texts) > 12
    assert not any(text.endswith("\ufffd") for text in texts)  # half a letter
    assert one.retry() == other.retry(texts.append)


def test_a_reply_that_is_sampled_again_is_streamed_again(roles, monkeypatch):
    monkeypatch.setattr("selfsame.rollout.engine.says_again", lambda turns, reply: True)
    seen: list[list[int]] = []
    sampling = SAMPLING.model_copy(update={"retries": 1})
    RolloutEngine(roles, watch=seen.append).replies("policy", [Prompt(PERSONA, ("Hi.",))], sampling)
    assert [len(ids) for ids in seen].count(1) == 2


def test_the_screen_writes_a_reply_as_it_grows(monkeypatch):
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: type("Size", (), {"columns": 20})())

    def make(show):
        for text in ("I", "I have", "I have two dogs. They bark", "I have two dogs. They bark at the"):
            show(text)
        return "I have two dogs."

    live, plain = io.StringIO(), io.StringIO()
    Screen(live, True).reply(make)
    Screen(plain, False).reply(lambda show: make(show or (lambda text: None)))
    assert plain.getvalue() == "bot> I have two dogs.\n"
    written, _, rest = live.getvalue().partition("\x1b")
    assert written == "bot> I have two dogs. They bark at the"
    assert rest == "[1A\r\x1b[Jbot> I have two dogs.\n"  # 38 letters fill two rows of 20


def test_a_terminal_gets_the_reply_in_pieces_and_a_pipe_in_one(talk, monkeypatch):
    pieces: list[str] = []
    monkeypatch.setattr(Screen, "_write", lambda self, text: pieces.append(text))
    shown(talk(), "Any pets?")
    assert len(pieces) == 1
    reply = pieces.pop()
    shown(talk(), "Any pets?", live=True)
    assert len(pieces) > 3 and pieces[-1] == reply


def test_ctrl_c_stops_a_reply_and_the_chat_goes_on(talk, monkeypatch):
    conversation = talk()
    say = conversation.say

    def interrupted(text, show):
        if text == "Stop.":
            raise KeyboardInterrupt
        return say(text, show)

    monkeypatch.setattr(conversation, "say", interrupted)
    text = shown(conversation, "Any pets?", "Stop.", "And you?", live=True)
    assert "(stopped; the conversation is as it was" in text
    assert conversation.turns[::2] == ["Any pets?", "And you?"]
    with pytest.raises(KeyboardInterrupt):
        shown(conversation, "Stop.")


# --- the methods


def test_retry_samples_anew_and_each_time_something_else(talk):
    conversation = talk()
    first = conversation.say("Any pets?")
    replies = [first, *(conversation.retry() for _ in range(4))]
    assert len(set(replies)) > 3
    assert conversation.turns == ["Any pets?", replies[-1]]
    again = talk()
    again.say("Any pets?")
    assert [again.retry() for _ in range(4)] == replies[1:]


def test_undo_takes_back_an_exchange(talk):
    conversation = talk(opening="Hello there!")
    first = conversation.say("Any pets?")
    second = conversation.say("And you?")
    conversation.retry()
    assert conversation.undo() == "And you?"
    assert conversation.turns == ["", "Hello there!", "Any pets?", first]
    assert conversation.say("And you?") == second  # as if nothing had been said
    conversation.undo()
    conversation.undo()
    for impossible in (conversation.undo, conversation.retry):
        with pytest.raises(ConfigError, match="say something first"):
            impossible()
    assert conversation.turns == ["", "Hello there!"]


def test_at_temperature_zero_there_is_nothing_to_retry(talk):
    conversation = talk(sampling=SAMPLING.model_copy(update={"temperature": 0.0}))
    conversation.say("Any pets?")
    with pytest.raises(ConfigError, match="temperature 0"):
        conversation.retry()


def test_another_persona_starts_again_unless_it_is_too_long(talk):
    conversation = talk()
    conversation.say("Any pets?")
    turns = list(conversation.turns)
    with pytest.raises(DataError, match="leaves no room"):
        conversation.become(("I like words. " * 300,))
    assert conversation.persona == PERSONA and conversation.turns == turns
    conversation.become(("I sing.",))
    assert conversation.persona == ("I sing.",) and conversation.turns == []
    fresh = talk()
    fresh.persona = ("I sing.",)
    assert conversation.say("Hi.") == fresh.say("Hi.")


def test_another_system_speaks_on(talk):
    conversation = talk()
    conversation.say("Any pets?")
    conversation.switch("sft")
    assert conversation.policy.role == "sft" and conversation.system == "sft" and len(conversation.turns) == 2
    other = talk(systems={}, system=None)
    other.policy, other.turns = replace(other.policy, role="sft"), list(conversation.turns)
    assert conversation.say("And you?") == other.say("And you?")
    conversation.switch("base")
    assert conversation.policy.role is None
    with pytest.raises(ConfigError, match="unknown system 'grpo': choose base, sft, ppo"):
        conversation.switch("grpo")
    with pytest.raises(ConfigError, match="not a run"):
        other.switch("sft")


def test_a_conversation_is_saved_and_nothing_else_overwritten(talk, tmp_path):
    conversation, file = talk(opening="Hello!"), tmp_path / "chat.txt"
    reply = conversation.say("Any pets?")
    conversation.save(file)
    text = file.read_text()
    assert text == f"persona> I have two dogs.\nbot> Hello!\nyou> Any pets?\nbot> {reply}\n"
    conversation.undo()
    conversation.save(file)
    assert file.read_text() == "persona> I have two dogs.\nbot> Hello!\n"
    with pytest.raises(ConfigError, match="exists: choose another name"):
        talk().save(file)
    with pytest.raises(ConfigError, match="does not exist"):
        conversation.save(tmp_path / "none" / "chat.txt")


# --- the loop in the terminal


def test_commands_do_what_help_says(talk, tmp_path):
    conversation, file = talk(), tmp_path / "chat.txt"
    text = shown(conversation, "/help", "Any pets?", "/retry", f"/save {file}", "/system", "/system sft", "/persona")
    assert all(f"\n  /{name}" in f"\n{text}" and command.help in text for name, command in COMMANDS.items())
    assert text.count("bot> ") == 2 and f"(saved to {file})" in text and file.exists()
    assert "(system: ppo; choose base, sft, ppo)" in text and "(system: sft; choose base, sft, ppo)" in text
    assert "(persona: I have two dogs.)" in text and conversation.policy.role == "sft" and len(conversation.turns) == 2
    text = shown(conversation, "/undo", "/persona I sing. I knit socks.", "/quit", "never said")
    assert "(taken back: Any pets?)" in text and "(persona: I sing. | I knit socks.; a new conversation begins)" in text
    assert conversation.persona == ("I sing.", "I knit socks.") and conversation.turns == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/hlep", "(there is no command /hlep; /help lists them)"),
        ("/undo", "(there is nothing to undo: say something first)"),
        ("/retry", "(there is nothing to retry: say something first)"),
        ("/save", "(give the name of a file: /save FILE)"),
        ("/system grpo", "(unknown system 'grpo': choose base, sft, ppo)"),
        ("/persona " + "I like words. " * 300, "leaves no room"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_and_never_sent(talk, line, answer):
    conversation = talk()
    text = shown(conversation, line)
    assert answer in text and "bot> " not in text
    assert conversation.turns == [] and conversation.persona == PERSONA


def test_two_slashes_say_one(talk):
    conversation = talk()
    assert shown(conversation, "//help is what I type", "  ").count("bot> ") == 1
    assert conversation.turns[0] == "/help is what I type"


class Keyboard(io.StringIO):
    def isatty(self):
        return True


def test_history_is_kept_for_a_terminal_only(monkeypatch, tmp_path):
    readline = pytest.importorskip("readline")
    monkeypatch.setenv("SELFSAME_CACHE", str(tmp_path / "cache"))
    lines = iter(["Hello.", "/quit"])

    def read(prompt=""):
        line = next(lines, None)
        if line is None:
            raise EOFError
        if sys.stdin.isatty():
            readline.add_history(line)  # as input() does there
        return line

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert list(terminal.typed_lines()) == ["Hello.", "/quit"]
    assert not (tmp_path / "cache").exists()
    lines = iter(["Hello.", "And you?"])
    monkeypatch.setattr("sys.stdin", Keyboard())
    assert list(terminal.typed_lines()) == ["Hello.", "And you?"]
    assert (tmp_path / "cache" / "chat-history").read_text().splitlines()[-2:] == ["Hello.", "And you?"]
