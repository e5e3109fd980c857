"""The tab *Label*."""

from __future__ import annotations

from typing import Any

import gradio as gr

from selfsame.labels.label import LONGEST, Choice
from selfsame.page.chat_tab import PROBLEMS, QUIET
from selfsame.page.markup import markup, note
from selfsame.page.questions import LONGEST_NAME, Booth, Pair, Purpose, Question, labeller_of, shared_by
from selfsame.page.speaking import LONGEST_TURN
from selfsame.page.talk import LONGEST_PERSONA, NOBODY, as_written
from selfsame.types import Prompt

_SAID: dict[Choice, str] = {
    "first": "reply 1 is better",
    "second": "reply 2 is better",
    "tie": "both are as good",
    "both bad": "both are bad",
}
_BUTTONS: tuple[tuple[str, Choice, str], ...] = (
    ("1 · reply 1 is better", "first", "label-first"),
    ("2 · reply 2 is better", "second", "label-second"),
    ("0 · both as good", "tie", "label-tie"),
    ("9 · both bad", "both bad", "label-bad"),
)
_PURPOSES: list[tuple[str, Purpose]] = [
    ("to train on (people of the training part; replies are sampled now)", "train"),
    ("to compare systems (held-out people; recorded replies)", "compare"),
]
_EMPTY = "Give your name and begin."
_DONE = "You have answered all questions that there are. Ask one of your own below."


class LabelTab:
    """Say which of two replies is better.

    Args:
        booth: has the questions, and keeps the answers.
    """

    def __init__(self, booth: Booth) -> None:
        self.booth = booth
        self.labeller, self.question, self.choice = gr.State(""), gr.State(None), gr.State(None)
        with gr.Row(elem_classes="two"):
            with gr.Column(scale=3, min_width=280):
                self._build_question()
            with gr.Column(scale=2, min_width=280):
                self._build_people()
        self._shown: list[Any] = [
            *(self.labeller, self.question, self.choice, self.page, self.note, self.line, self.corrected),
            *self.buttons,
            *(self.next, self.undo),
        ]
        self._wire()

    def _build_question(self) -> None:
        self.page = gr.HTML(_page(None, None, _EMPTY), apply_default_css=False, elem_id="label-question")
        with gr.Row(elem_classes="buttons"):
            self.buttons = [gr.Button(text, elem_id=name, interactive=False) for text, _, name in _BUTTONS]
        self.corrected = gr.Textbox(
            label="A better reply, in your words (it becomes the chosen one)", max_length=LONGEST, elem_id="label-text"
        )
        with gr.Row(elem_classes="buttons"):
            self.next = gr.Button("Enter · next", variant="primary", elem_id="label-next", interactive=False)
            self.undo = gr.Button("Take my last label back", elem_id="label-undo", interactive=False)
        self.note = gr.HTML(note(""), apply_default_css=False, elem_id="label-note")

    def _build_people(self) -> None:
        systems = [("any", ""), *self.booth.systems]
        self.name = gr.Textbox(label="Your name, which labels are kept under", max_length=LONGEST_NAME,
                               elem_id="label-name")  # fmt: skip
        self.first = gr.Dropdown(systems, value="", label="One system", elem_id="label-one")
        self.second = gr.Dropdown(systems, value="", label="The other system", elem_id="label-other")
        self.purpose = gr.Radio([*_PURPOSES], value="train", label="What the labels are for", elem_id="label-purpose")
        self.begin = gr.Button("Begin", variant="primary", elem_id="label-begin")
        self.line = gr.HTML("", apply_default_css=False, elem_id="label-line")
        with gr.Accordion("A question of your own", open=False):
            self.traits = gr.Textbox(label="Who the bot is, a trait a line", lines=3, max_length=LONGEST_PERSONA,
                                     elem_id="label-traits")  # fmt: skip
            self.turn = gr.Textbox(label="What somebody says", max_length=LONGEST_TURN, elem_id="label-turn")
            with gr.Row(elem_classes="buttons"):
                self.ask = gr.Button("Ask both systems", elem_id="label-ask")

    def _wire(self) -> None:
        plan = [self.first, self.second, self.purpose]
        gr.on([self.begin.click, self.name.submit], self.on_begin, [self.name, *plan], self._shown, **QUIET)
        now = [self.labeller, self.question, self.corrected]
        for button, (_, choice, _) in zip(self.buttons, _BUTTONS, strict=True):
            button.click(self._on_choice(choice), [*now, *plan], self._shown, **QUIET)
        gr.on(
            [self.next.click, self.corrected.submit],
            self.on_next,
            [*now, self.choice, *plan],
            self._shown,
            **QUIET,
        )
        self.undo.click(self.on_undo, [*now, self.choice, *plan], self._shown, **QUIET)
        asked = [self.name, self.traits, self.turn, *plan]
        gr.on([self.ask.click, self.turn.submit], self.on_ask, asked, self._shown, **QUIET)

    def on_begin(self, name: str, *plan: Any) -> list[Any]:
        """Ask this person's first open question."""
        try:
            labeller = labeller_of(name)
            return self._show(labeller, self.booth.next(labeller, *_planned(*plan)), plan)
        except PROBLEMS as problem:
            return self._problem(problem)

    def _on_choice(self, choice: Choice) -> Any:
        def chosen(labeller: str, question: Question, corrected: str, *plan: Any) -> list[Any]:
            try:
                self.booth.keep(question.answered(labeller, choice, corrected))
                return self._show(labeller, question, plan, choice, gr.skip())
            except PROBLEMS as problem:
                return self._problem(problem)

        return chosen

    def on_next(
        self, labeller: str, question: Question | None, corrected: str, choice: Choice | None, *plan: Any
    ) -> list[Any]:
        """Keep a corrected reply, and ask the next question."""
        try:
            labeller = labeller_of(labeller)
            if question and corrected.strip():
                # Whoever writes a better reply without a choice finds neither good.
                self.booth.keep(question.answered(labeller, choice or "both bad", corrected))
            elif question and not choice:
                return self._problem("choose first: 1, 2, 0 or 9")
            return self._show(labeller, self.booth.next(labeller, *_planned(*plan)), plan)
        except PROBLEMS as problem:
            return self._problem(problem)

    def on_undo(self, labeller: str, *now: Any) -> list[Any]:
        """Take the last label back, and ask its question again."""
        try:
            return self._show(labeller, self.booth.take_back(labeller), now[-3:])
        except PROBLEMS as problem:
            return self._problem(problem)

    def on_ask(self, name: str, traits: str, turn: str, *plan: Any) -> list[Any]:
        """Ask two systems what was typed."""
        try:
            labeller, (pair, _) = labeller_of(name), _planned(*plan)
            if not turn.strip():
                return self._problem("type what somebody says to the bot")
            if pair is None and not self.booth.pairs():
                return self._problem("there is one system alone: serve a run with two, or two models")
            prompt = Prompt(as_written(NOBODY, traits).persona, (turn,))
            question = self.booth.ask(labeller, prompt, pair or self.booth.pairs()[0])
            if question is None:
                return self._problem("both systems reply the same, word for word: ask something else")
            return self._show(labeller, question, plan)
        except PROBLEMS as problem:
            return self._problem(problem)

    def _show(
        self,
        labeller: str,
        question: Question | None,
        plan: tuple[Any, ...],
        choice: Choice | None = None,
        corrected: Any = "",
    ) -> list[Any]:
        """Values for `_shown`."""
        progress = self.booth.progress(labeller, *_planned(*plan))
        line = markup("booth_line.html.j2", name=labeller, progress=progress)
        asked, done = gr.update(interactive=question is not None), gr.update(interactive=progress.done > 0)
        page = _page(question, choice, _DONE)
        return [labeller, question, choice, page, note(""), line, corrected, *[asked for _ in _BUTTONS], asked, done]

    def _problem(self, problem: Exception | str) -> list[Any]:
        """Values for `_shown` that leave all but the note as it is."""
        shown: list[Any] = [gr.skip() for _ in self._shown]
        shown[4] = note(str(problem))
        return shown


def _planned(first: str, second: str, purpose: Purpose) -> tuple[Pair | None, Purpose]:
    """The systems that are compared, and what for."""
    return shared_by((first, second)), purpose


def _page(question: Question | None, choice: Choice | None, message: str) -> str:
    turns: list[tuple[str, str]] = []
    if question:
        history = question.prompt.history
        turns = [("bot" if k % 2 else "own", text) for k, text in enumerate(history) if text]
    said = _SAID[choice] if choice else ""
    return markup("labelling.html.j2", question=question, turns=turns, chosen=choice, said=said, message=message)
