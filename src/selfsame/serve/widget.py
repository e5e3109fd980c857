"""A chat in a notebook, where the persona can be edited."""

from __future__ import annotations

import warnings
from html import escape
from typing import Any

from selfsame.errors import ConfigError, SelfsameError
from selfsame.serve.chatbot import load_chatbot
from selfsame.types import Persona, clean_persona


def chat_widget(name: str, persona: Persona, system: str | None = None, best_of: int = 1) -> Any:
    """An ipywidgets box: a trait a line, what was said, a line to type in. Another persona starts a new conversation.

    Raises:
        ConfigError: ipywidgets is not installed.
        SelfsameError: see `load_chatbot`.
    """
    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise ConfigError("a chat in a notebook needs ipywidgets: pip install 'selfsame-chat[notebooks]'") from error

    bot = load_chatbot(name, system, reward=best_of > 1)
    wide = widgets.Layout(width="100%")
    traits = widgets.Textarea(
        value="\n".join(persona), description="persona", layout=widgets.Layout(width="100%", height="6em")
    )
    said = widgets.HTML(layout=wide)
    line = widgets.Text(placeholder=f"say something to {bot.name}", layout=wide)
    state: dict[str, Any] = {"persona": None, "conversation": None}

    def answer(_: Any = None) -> None:
        text, now = line.value.strip(), clean_persona(traits.value.splitlines())
        if not text:
            return
        line.value = ""
        try:
            if now != state["persona"]:
                state.update(persona=now, conversation=bot.chat(now, best_of=best_of))
            state["conversation"].say(text)
        except SelfsameError as error:
            said.value = escape(str(error))
            return
        turns = state["conversation"].turns
        said.value = "".join(
            f"<p><b>{'bot' if k % 2 else 'you'}</b> {escape(turn)}</p>" for k, turn in enumerate(turns)
        )

    send = widgets.Button(description="send")
    send.on_click(answer)
    with warnings.catch_warnings():  # what ipywidgets offers instead answers on leaving the line, too
        warnings.simplefilter("ignore", DeprecationWarning)
        line.on_submit(answer)
    return widgets.VBox([traits, said, widgets.HBox([line, send])])
