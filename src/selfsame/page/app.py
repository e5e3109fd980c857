"""The page in the app of the API: gradio in the same process, on the same models."""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Match, Mount

from selfsame.page.door import Door, Streams, is_api
from selfsame.page.markup import head
from selfsame.page.questions import Booth
from selfsame.page.runs import Runs
from selfsame.page.shelf import Shelf
from selfsame.page.speaking import Speaking
from selfsame.serve.desk import Limits
from selfsame.serve.gate import LARGEST_CARD
from selfsame.serve.hub import Hub

_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_AT_ONCE, _MOST_CLICKS = 32, 256
"""Events of one kind under way, and events that wait."""
_KEPT_SECONDS = 6 * 3600
"""How long gradio keeps what visitors brought."""
_FONTS = ("system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")


@dataclass(frozen=True)
class Places:
    """Where the page reads and writes.

    Attributes:
        labels: the file of labels.
        runs: the folder of runs.
        characters: cards, and folders with cards.
    """

    labels: Path = Path("labels.sqlite")
    runs: Path = Path("runs")
    characters: tuple[str, ...] = ()


def add_page(app: FastAPI, hub: Hub, limits: Limits, places: Places, token: str = "") -> None:
    """Put the page at `/` of an app that `make_app` made with the larger bodies `UPLOADS`.

    Args:
        app: has the scheduler.
        hub: the models.
        limits: those of the API.
        places: see `Places`.
        token: of the server; empty: none.

    Raises:
        SelfsameError: a card cannot be read.
    """
    own = tempfile.TemporaryDirectory(prefix="selfsame-page-")
    app.state.page_folder = own  # lives as long as the app
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": f"{own.name}/files"}
    speaking = Speaking(hub, app.state.scheduler, limits)
    runs = Runs(places.runs, [v.bot.directory.path for v in hub.voices.values() if v.bot.directory])
    exports, brought = (Path(own.name) / name for name in ("exports", "brought"))
    for folder in (exports, brought):
        folder.mkdir()
    characters = {v.card.name: v.card for v in hub.voices.values() if v.card}
    shelf = Shelf(places.characters, brought, [*characters.values()])
    _add_reports(app, runs)
    _mount(app, _blocks(Booth(places.labels, speaking), runs, shelf, exports))
    streams = Streams()
    app.state.at_end.append(streams.end)
    app.add_middleware(Door, token=token, streams=streams)


def _blocks(booth: Booth, runs: Runs, shelf: Shelf, exports: Path) -> Any:
    import gradio as gr

    from selfsame.page.characters_tab import CharactersTab
    from selfsame.page.chat_tab import QUIET, ChatTab
    from selfsame.page.label_tab import LabelTab
    from selfsame.page.runs_tab import RunsTab

    with gr.Blocks(
        title="Selfsame", analytics_enabled=False, fill_width=True, delete_cache=(3600, _KEPT_SECONDS)
    ) as blocks:
        gr.HTML('<div class="selfsame"><h1>Selfsame</h1></div>', apply_default_css=False)
        with gr.Tabs(selected="chat", elem_id="rooms") as tabs:
            with gr.Tab("Chat", id="chat"):
                chat = ChatTab(booth.speaking)
            with gr.Tab("Label", id="label"):
                LabelTab(booth)
            with gr.Tab("Runs", id="runs") as runs_tab:
                shown = RunsTab(runs, booth)
            with gr.Tab("Characters", id="characters") as characters_tab:
                characters = CharactersTab(shelf, chat, tabs, exports)
        look, inputs, outputs = shown.opened()
        runs_tab.select(look, inputs, outputs, **QUIET).then(
            shown.on_tick, [shown.run, shown.stamp], [shown.results, shown.curves, shown.stamp, shown.note], **QUIET
        )
        tabs.select(shown.on_tab, None, [shown.timer], **QUIET)
        characters_tab.select(characters.on_open, None, [characters.gallery, characters.note], **QUIET)
    return blocks


def _mount(app: FastAPI, blocks: Any) -> None:
    import gradio as gr

    # Replies wait in the scheduler's line, which refuses what is too much; gradio's is for everything else that is clicked.
    blocks.queue(api_open=False, max_size=_MOST_CLICKS, default_concurrency_limit=_AT_ONCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gr.mount_gradio_app(
            app,
            blocks,
            "/",
            footer_links=[],
            run_history=False,
            app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
            max_file_size=LARGEST_CARD,
            show_error=False,  # what went wrong is said by the tabs; anything else is in the log
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            theme=_theme(),
            head=head(),
        )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    app.router.routes[-1] = _BesidesTheApi("/", mounted.app)


class _BesidesTheApi(Mount):
    """Takes all paths but those of the API, which answers in its own way where it has none."""

    def matches(self, scope: Any) -> Any:
        return (Match.NONE, {}) if is_api(scope["path"]) else super().matches(scope)


def _add_reports(app: FastAPI, runs: Runs) -> None:
    @app.get("/report/{name:path}", include_in_schema=False)
    def report(name: str) -> Response:
        page = runs.report(name)
        if page is None:
            return PlainTextResponse("there is no such report", 404)
        return HTMLResponse(page, headers={"Content-Security-Policy": _REPORT_POLICY})


def _theme() -> Any:
    """The colours of the report."""
    from gradio.themes import Base

    colours = {
        "body_background_fill": "var(--page)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--soft)",
        "background_fill_primary": "var(--card)",
        "background_fill_secondary": "var(--page)",
        "block_background_fill": "var(--card)",
        "block_label_background_fill": "var(--card)",
        "block_label_text_color": "var(--ink)",
        "block_title_text_color": "var(--ink)",
        "block_info_text_color": "var(--soft)",
        "border_color_primary": "var(--line)",
        "block_border_color": "var(--line)",
        "input_background_fill": "var(--card)",
        "input_border_color": "var(--edge)",
        "input_placeholder_color": "var(--soft)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent)",
        "button_primary_text_color": "var(--on-accent)",
        "button_primary_text_color_hover": "var(--on-accent)",
        "button_secondary_background_fill": "var(--card)",
        "button_secondary_background_fill_hover": "var(--page)",
        "button_secondary_text_color": "var(--ink)",
        "button_secondary_border_color": "var(--edge)",
        "button_cancel_background_fill": "var(--wait-back)",
        "button_cancel_text_color": "var(--wait)",
        "color_accent": "var(--accent)",
        "link_text_color": "var(--accent)",
    }
    both = {**colours, **{f"{name}_dark": value for name, value in colours.items() if name != "color_accent"}}
    return Base(font=_FONTS, font_mono=("ui-monospace", "DejaVu Sans Mono", "monospace")).set(
        **both, button_secondary_border_color_hover="var(--accent)", block_shadow="none"
    )
