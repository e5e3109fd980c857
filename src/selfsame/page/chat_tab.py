"""The tab *Chat*."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from selfsame.cards.card import Card, read_card
from selfsame.errors import SelfsameError
from selfsame.page.markup import markup, note
from selfsame.page.speaking import LONGEST_TURN, Inbox, Speaking
from selfsame.page.talk import LONGEST_PERSONA, NOBODY, Manner, Talk, again, as_written, chosen, say
from selfsame.serve.chatbot import chat_sampling
from selfsame.serve.hub import CARD_FILES
from selfsame.serve.requests import Refused

PROBLEMS = (SelfsameError, Refused)
"""What is said to the visitor in one line."""
QUIET: Any = {"api_visibility": "private", "show_progress": "hidden"}
"""How all events of the page are: without an API of their own, without gradio's bars."""


class ChatTab:
    """Chat with one system, or with two side by side.

    Args:
        speaking: asks the systems.
    """

    def __init__(self, speaking: Speaking) -> None:
        self.speaking = speaking
        self.inboxes: dict[str, Inbox] = {}
        self.who, self.talk = gr.State(NOBODY), gr.State(Talk())
        with gr.Row(elem_classes="two"):
            with gr.Column(scale=3, min_width=280):
                self._build_talk()
            with gr.Column(scale=2, min_width=280):
                self._build_persona()
        self.shown: list[Any] = [self.page, self.talk, self.box, self.note, *self.idle, self.stop]
        self._wire()

    def _build_talk(self) -> None:
        self.page = gr.HTML(Talk().html(), apply_default_css=False, elem_id="talk", autoscroll=True)
        self.note = gr.HTML(note(""), apply_default_css=False, elem_id="chat-note")
        self.box = gr.Textbox(
            label="Your turn", lines=1, max_lines=6, max_length=LONGEST_TURN, elem_id="chat-box", autofocus=True
        )
        with gr.Row(elem_classes="buttons"):
            self.send = gr.Button("Send", variant="primary", elem_id="chat-send")
            self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="chat-stop")
            self.again = gr.Button("Try again", elem_id="chat-again")
            self.edit = gr.Button("Edit my turn", elem_id="chat-edit")
            self.undo = gr.Button("Undo", elem_id="chat-undo")
            self.new = gr.Button("New talk", elem_id="chat-new")
        self.idle = [self.send, self.again, self.edit, self.undo, self.new]
        gr.HTML(markup("legend.html.j2"), apply_default_css=False)

    def _build_persona(self) -> None:
        names, voices = self.speaking.names, self.speaking.hub.voices
        best = next((name for name in names if name.endswith(f":{voices[name].bot.system}")), names[0])
        settings = chat_sampling(voices[best].bot, ())
        most = max(voices[name].bot.roles.processor.max_length // 2 for name in names)
        self.traits = gr.Textbox(
            label="Who the bot is, a trait a line",
            lines=5,
            max_lines=14,
            max_length=LONGEST_PERSONA,
            placeholder="I have two dogs.\nI drive a night bus.",
            elem_id="chat-traits",
        )
        self.card = gr.File(
            label="or drop a character card (PNG, JSON, CHARX, YAML)",
            file_types=[*CARD_FILES],
            type="filepath",
            height=170,
            elem_id="chat-card",
        )
        self.first = gr.Dropdown(names, value=best, label="System", elem_id="chat-first")
        self.second = gr.Dropdown(
            [("none", ""), *names], value="", label="Next to it, a second system", elem_id="chat-second"
        )
        with gr.Accordion("Settings", open=False):
            self.temperature = gr.Slider(
                0, 2, settings.temperature, step=0.05, label="Temperature (0: the likeliest words)"
            )
            self.tokens = gr.Slider(
                1, most, min(most, settings.max_new_tokens), step=1, label="Longest reply, in tokens"
            )

    def _wire(self) -> None:
        asked = [self.talk, self.who, self.traits, self.first, self.second, self.temperature, self.tokens]
        gr.on([self.send.click, self.box.submit], self.on_say, [self.box, *asked], self.shown, **QUIET)
        self.again.click(self.on_again, asked, self.shown, **QUIET)
        self.stop.click(self.on_stop, None, None, **QUIET)
        self.undo.click(self.on_undo, [self.talk, self.box], self.shown, **QUIET)
        self.edit.click(self.on_edit, [self.talk, self.box], self.shown, **QUIET)
        self.new.click(self.on_new, [self.who], self.shown, **QUIET)
        self.card.upload(
            self.on_card, [self.card, self.who, self.traits], [self.who, self.traits, *self.shown], **QUIET
        )
        self.card.clear(self.on_clear, None, [self.who], **QUIET)

    def on_say(self, request: gr.Request, text: str, talk: Talk, *asked: Any) -> Iterator[list[Any]]:
        """Stream the reply to what was typed."""

        def begin(inbox: Inbox) -> Iterator[Talk]:
            asking, manner = _prepared(talk, *asked)
            return say(self.speaking, asking, text, manner, inbox)

        yield from self._stream(begin, talk, text, str(request.session_hash))

    def on_again(self, request: gr.Request, talk: Talk, *asked: Any) -> Iterator[list[Any]]:
        """Stream another reply to the same turn."""

        def begin(inbox: Inbox) -> Iterator[Talk]:
            asking, manner = _prepared(talk, *asked)
            return again(self.speaking, asking, manner, inbox)

        yield from self._stream(begin, talk, gr.skip(), str(request.session_hash))

    def on_stop(self, request: gr.Request) -> None:
        """Keep what is there.

        The stream itself shows the end: gradio's `cancels` would leave two that write to the page, and the one that
        comes last wins.
        """
        if inbox := self.inboxes.get(str(request.session_hash)):
            inbox.stop()

    def on_undo(self, talk: Talk, box: str) -> list[Any]:
        """Take the last exchange back."""
        try:
            return self._show(talk.without_last(), gr.skip())
        except PROBLEMS as problem:
            return self._show(talk, box, str(problem))

    def on_edit(self, talk: Talk, box: str) -> list[Any]:
        """Take the last exchange back, and put the visitor's turn into the box."""
        try:
            return self._show(talk.without_last(), talk.last().said)
        except PROBLEMS as problem:
            return self._show(talk, box, str(problem))

    def on_new(self, request: gr.Request, who: Card) -> list[Any]:
        """Begin a new talk with the same character."""
        self.leave(request.session_hash)
        return self._show(Talk(who), "")

    def on_card(self, request: gr.Request, file: str | None, who: Card, traits: str) -> list[Any]:
        """Read a card and begin a talk with its character."""
        self.leave(request.session_hash)
        try:
            return self.meet(read_card(file)) if file else [who, traits, *self._show(Talk(who), gr.skip())]
        except PROBLEMS as problem:
            return [who, traits, *self._show(Talk(who), gr.skip(), _named(problem, file))]

    def on_clear(self, request: gr.Request) -> Card:
        """Take the card away. The talk stays, and a reply as far as it has come."""
        self.on_stop(request)
        return NOBODY

    def leave(self, session: str | None) -> None:
        """End the replies that a visitor is waiting for; the page shows nothing more of them."""
        if inbox := self.inboxes.pop(str(session), None):
            inbox.stop()

    def meet(self, card: Card) -> list[Any]:
        """What the page shows at the begin of a talk with a character."""
        unused = card.not_used()
        return [card, "\n".join(card.persona), *self._show(Talk(card), "", unused, "")]

    def _stream(
        self, begin: Callable[[Inbox], Iterator[Talk]], talk: Talk, box: Any, session: str
    ) -> Iterator[list[Any]]:
        shown, inbox = talk, Inbox()
        self.leave(session)
        self.inboxes[session] = inbox
        try:
            try:
                for shown in begin(inbox):
                    if self.inboxes.get(session) is not inbox:
                        break
                    yield self._show(shown, "")
            except PROBLEMS as problem:
                if self.inboxes.get(session) is inbox:
                    kept = shown if shown.exchanges and any(shown.exchanges[-1].replies) else talk
                    yield self._show(replace(kept, writing=False), box, str(problem))
            if self.inboxes.get(session) is not inbox:
                yield [gr.skip() for _ in self.shown]  # gradio sends the last values once more at the end of a stream
        finally:
            if self.inboxes.get(session) is inbox:
                del self.inboxes[session]

    def _show(self, talk: Talk, box: Any, text: str = "", kind: str = "bad") -> list[Any]:
        """Values for `_shown`."""
        busy = talk.writing
        others = [gr.update(interactive=not busy) for _ in self.idle[1:]]
        send = gr.update(visible=not busy)
        return [talk.html(), talk, box, note(text, kind), send, *others, gr.update(visible=busy)]


def _prepared(
    talk: Talk, who: Card, traits: str, first: str, second: str, temperature: float, tokens: float
) -> tuple[Talk, Manner]:
    card = as_written(who, traits)
    return replace(talk, who=card, systems=chosen([first, second])), Manner(float(temperature), int(tokens))


def _named(problem: Exception, file: str | None) -> str:
    """A message without the folder in which an upload lies."""
    return str(problem).replace(f"{Path(file).parent}/", "") if file else str(problem)
