"""The tab *Characters*."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from selfsame.page.chat_tab import PROBLEMS, QUIET, ChatTab
from selfsame.page.markup import note
from selfsame.page.shelf import Shelf
from selfsame.serve.hub import CARD_FILES

_NONE = "No characters yet: drop cards below, or start the server with --characters FOLDER."


class CharactersTab:
    """Look at characters, bring and take cards, and begin a talk with one.

    Args:
        shelf: the characters.
        chat: where talks begin.
        tabs: of the page.
        exports: a folder for files that are taken away.
    """

    def __init__(self, shelf: Shelf, chat: ChatTab, tabs: gr.Tabs, exports: Path) -> None:
        self.shelf, self.chat, self.exports = shelf, chat, exports
        self.chosen: Any = gr.State(None)
        with gr.Row(elem_classes="two"):
            with gr.Column(scale=3, min_width=280):
                self.gallery = gr.Gallery(
                    label="Characters",
                    columns=4,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="characters-gallery",
                )
            with gr.Column(scale=2, min_width=280):
                self.page = gr.HTML("", apply_default_css=False, elem_id="characters-page")
                with gr.Row(elem_classes="buttons"):
                    self.talk = gr.Button("Chat", variant="primary", elem_id="characters-chat", interactive=False)
                    self.png = gr.DownloadButton("Export PNG", elem_id="characters-png", interactive=False)
                    self.json = gr.DownloadButton("Export JSON", elem_id="characters-json", interactive=False)
                self.note = gr.HTML(note(""), apply_default_css=False, elem_id="characters-note")
                self.files = gr.File(
                    label="Drop character cards (PNG, JSON, CHARX, YAML)",
                    file_count="multiple",
                    file_types=[*CARD_FILES],
                    type="filepath",
                    height=170,
                    elem_id="characters-files",
                )
        self._wire(tabs)

    def _wire(self, tabs: gr.Tabs) -> None:
        one = [self.chosen, self.page, self.talk, self.png, self.json, self.note]
        self.gallery.select(self.on_select, None, one, **QUIET)
        self.files.upload(self.on_bring, [self.files], [self.gallery, self.files, *one], **QUIET)
        met = [self.chat.who, self.chat.traits, *self.chat.shown]
        self.talk.click(self.on_talk, [self.chosen], [tabs, self.note, *met], **QUIET)

    def pictures(self) -> list[tuple[Any, str]]:
        """The gallery."""
        return [(character.thumbnail, character.name) for character in self.shelf.all()]

    def on_open(self) -> list[Any]:
        """Show the gallery, when the tab is opened."""
        found = self.pictures()
        return [found, note("" if found else _NONE, "")]

    def on_select(self, event: gr.SelectData) -> list[Any]:
        """Show a character."""
        found = self.shelf.all()
        return self._one(found[event.index].name if event.index < len(found) else None)

    def on_bring(self, files: list[str] | None) -> list[Any]:
        """Take cards in, and show the last of them."""
        found, wrong = self.shelf.bring_all(files or [])
        text = "; ".join(wrong) or f"{len(found)} came: {', '.join(one.name for one in found)}"
        shown = self._one(found[-1].name) if found else [gr.skip() for _ in range(5)] + [""]
        return [self.pictures(), None, *shown[:-1], note(text, "bad" if wrong else "good")]

    def on_talk(self, request: gr.Request, name: str | None) -> list[Any]:
        """Begin a talk."""
        try:
            card = self.shelf.find(name).card
            self.chat.leave(request.session_hash)
            return [gr.Tabs(selected="chat"), note(""), *self.chat.meet(card)]
        except PROBLEMS as problem:
            return [gr.skip(), note(str(problem)), *[gr.skip() for _ in range(2 + len(self.chat.shown))]]

    def _one(self, name: str | None) -> list[Any]:
        try:
            files = [self.shelf.export(name, kind, self.exports) for kind in ("png", "json")]
            downloads = [gr.update(value=str(file), interactive=True) for file in files]
            return [name, self.shelf.find(name).html(), gr.update(interactive=True), *downloads, note("")]
        except PROBLEMS as problem:
            return [*[gr.skip() for _ in range(5)], note(str(problem))]
