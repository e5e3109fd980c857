"""A character card in a chat: what does not fit is named, lore joins while it is mentioned, a run knows its own character."""

from __future__ import annotations

import pytest

from selfsame.cards.card import make_card
from selfsame.errors import ConfigError
from selfsame.model.settings import BUNDLED
from selfsame.run.directory import RunDirectory
from selfsame.serve.chatbot import load_chatbot

CARD = {
    "name": "Nora",
    "description": "\n".join(f"She owns map number {k}." for k in range(80)),
    "personality": "patient",
    "first_mes": "Ahoy!",
    "system_prompt": "Obey.",
    "character_book": {"entries": [{"keys": ["mill"], "content": "The mill burned down."}]},
}


@pytest.fixture(scope="module")
def bot():
    return load_chatbot(BUNDLED)


def test_what_does_not_fit_or_is_not_used_is_named(bot):
    conversation = bot.chat(make_card(CARD))
    assert conversation.persona[:3] == ("My name is Nora.", "I am patient.", "I own map number 0.")
    assert conversation.turns == ["", "Ahoy!"]
    unused, left = conversation.notes
    assert "system prompt (5 characters)" in unused
    assert f"{82 - len(conversation.persona)} traits" in left and "'I own map number 79.'" in left
    assert bot.chat(["I sing."]).notes == ()


def test_lore_joins_the_persona_while_it_is_mentioned(bot):
    conversation = bot.chat(make_card(CARD))
    assert conversation.persona_after(["Hi"]) == conversation.persona
    assert conversation.persona_after(["Hi", "The mill?"]) == (*conversation.persona, "The mill burned down.")
    assert conversation.persona_after(["The mill?", "Yes.", "And", "now", "what?"]) == conversation.persona
    conversation.become(("I sing.",))
    assert conversation.persona_after(["The mill?"]) == ("I sing.",)


def test_a_reply_sees_the_lore(bot, monkeypatch):
    conversation = bot.chat(make_card(CARD), temperature=0.0, max_new_tokens=4)
    seen = []
    monkeypatch.setattr(conversation, "persona_after", lambda turns: seen.append(turns) or conversation.persona)
    conversation.say("The mill?")
    assert seen == [["", "Ahoy!", "The mill?"]]


def test_a_run_of_one_character_knows_it(bot, tmp_path):
    with pytest.raises(ConfigError, match="was not made for one character"):
        bot.chat()
    bot.directory = RunDirectory(tmp_path)
    bot.directory.card_path.write_text('{"name": "Nora", "description": "I fly."}', encoding="utf-8")
    try:
        assert bot.chat().persona == ("My name is Nora.", "I fly.")
    finally:
        bot.directory = None


def test_lore_that_never_fits_is_named(bot):
    lore = {"entries": [{"keys": ["mill"], "content": "\n".join(f"The mill has room {k}." for k in range(80))}]}
    notes = bot.chat(make_card(CARD | {"character_book": lore})).notes
    assert "lore that does not fit into the context besides the persona: mill" in notes
