"""The chat of a notebook, without a browser."""

from __future__ import annotations

import sys

import pytest

from selfsame.errors import ConfigError
from selfsame.serve.chat import Conversation
from selfsame.serve.widget import chat_widget


@pytest.fixture
def spoken(monkeypatch):
    """Who was spoken to as whom."""
    said = []

    def say(self, text):
        said.append((self.persona, text))
        self.turns += [text, f"<b>{len(said)}"]

    monkeypatch.setattr(Conversation, "say", say)
    return said


def test_another_persona_begins_another_conversation(tiny_models, spoken):
    pytest.importorskip("ipywidgets")
    traits, shown, row = chat_widget(str(tiny_models()), ("I sing.",)).children
    line, send = row.children
    for text in ("Hi!", "  ", "And?"):
        line.value = text
        send.click()
    assert spoken == [(("I sing.",), "Hi!"), (("I sing.",), "And?")] and line.value == ""
    assert shown.value.count("<p>") == 4 and "&lt;b&gt;2" in shown.value
    traits.value = "I sing.\n\n I knit. "
    assert len(spoken) == 2  # editing says nothing
    line.value = "Who?"
    line._handle_string_msg(line, {"event": "submit"}, [])  # Enter
    assert spoken[-1] == (("I sing.", "I knit."), "Who?") and shown.value.count("<p>") == 2
    traits.value = "word " * 4000
    line.value = "Hi!"
    send.click()
    assert "persona" in shown.value and len(spoken) == 3


def test_without_ipywidgets_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ConfigError, match="ipywidgets"):
        chat_widget("anything", ())
