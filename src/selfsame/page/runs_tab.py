"""The tab *Runs*."""

from __future__ import annotations

from typing import Any

import gradio as gr

from selfsame.page.chat_tab import PROBLEMS, QUIET
from selfsame.page.markup import note
from selfsame.page.questions import Booth
from selfsame.page.runs import Runs, Stamp

_SECONDS = 3.0
"""Between two looks at a run that is shown."""


class RunsTab:
    """Look at runs, and hold systems against each other.

    Args:
        runs: which there are.
        booth: has the labels.
    """

    def __init__(self, runs: Runs, booth: Booth) -> None:
        self.runs, self.booth = runs, booth
        self.stamp: Any = gr.State(None)
        self.timer = gr.Timer(_SECONDS, active=False)
        with gr.Row(elem_classes="buttons"):
            self.run = gr.Dropdown([], label="Run, the newest first", elem_id="runs-run", scale=4, min_width=220)
            self.look = gr.Button("Look again", elem_id="runs-look", scale=1, min_width=120)
        self.note = gr.HTML(note(""), apply_default_css=False, elem_id="runs-note")
        self.results = gr.HTML("", apply_default_css=False, elem_id="runs-results")
        gr.HTML('<div class="selfsame"><h2>Learning curves</h2></div>', apply_default_css=False)
        self.curves = gr.HTML("", apply_default_css=False, elem_id="runs-curves")
        gr.HTML('<div class="selfsame"><h2>Compare two systems</h2></div>', apply_default_css=False)
        with gr.Row(elem_classes="buttons"):
            self.first = gr.Dropdown([], label="This one", elem_id="runs-first", min_width=220)
            self.second = gr.Dropdown([], label="against this one", elem_id="runs-second", min_width=220)
            self.compare = gr.Button("Compare", elem_id="runs-compare", min_width=120)
        self.compared = gr.HTML("", apply_default_css=False, elem_id="runs-compared")
        self._wire()

    def _wire(self) -> None:
        shown = [self.results, self.curves, self.stamp, self.note]
        self.look.click(self.on_look, [self.run, self.first, self.second], [self.run, self.first, self.second],
                        **QUIET).then(self.on_choose, [self.run], shown, **QUIET)  # fmt: skip
        self.run.input(self.on_choose, [self.run], shown, **QUIET)
        self.timer.tick(self.on_tick, [self.run, self.stamp], shown, **QUIET)
        self.compare.click(self.on_compare, [self.first, self.second], [self.compared, self.note], **QUIET)

    def opened(self) -> tuple[Any, list[Any], list[Any]]:
        """(function, inputs, outputs) for when the tab is opened: it lists the runs."""
        chosen = [self.run, self.first, self.second]
        return self.on_look, chosen, chosen

    def on_tab(self, event: gr.SelectData) -> Any:
        """Look at the run again and again while this tab is open, when another one was."""
        return gr.Timer(active=event.value == "Runs")

    def on_look(self, run: str | None, first: str | None, second: str | None) -> list[Any]:
        """List the runs and systems; what is chosen stays."""
        names, systems = [*self.runs.found()], self.runs.systems()
        chosen = [
            run if run in names else next(iter(names), None),
            first if first in systems else next(iter(systems[-1:]), None),
            second if second in systems else next(iter(systems), None),
        ]
        choices = (names, systems, systems)
        return [gr.update(choices=c, value=v) for c, v in zip(choices, chosen, strict=True)]

    def on_choose(self, run: str | None) -> list[Any]:
        """Show a run."""
        if not run:
            return ["", "", None, note(f"There is no run in {self.runs.folder} yet: `selfsame run` makes one.", "")]
        try:
            stamp = self.runs.stamp(run)
            return [self.runs.results(run), self.runs.curves(run), stamp, note("")]
        except PROBLEMS as problem:
            return ["", "", None, note(str(problem))]

    def on_tick(self, run: str | None, stamp: Stamp | None) -> list[Any]:
        """Show the run again where it has changed."""
        try:
            if not run or self.runs.stamp(run) == stamp:
                return [gr.skip() for _ in range(4)]
        except PROBLEMS:
            pass  # it is gone: `on_choose` says so
        return self.on_choose(run)

    def on_compare(self, first: str | None, second: str | None) -> list[Any]:
        """Hold two systems against each other."""
        try:
            return [self.runs.compared([first, second], self.booth.labels()), note("")]
        except PROBLEMS as problem:
            return ["", note(str(problem))]
