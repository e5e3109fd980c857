"""The page in a real browser: every tab, by mouse and by keyboard alone, wide and narrow, and what untrusted text does."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'selfsame-chat[web]'")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from paged import NASTY, site  # noqa: E402
from readable import FAINT, UNNAMED, VISIBLE_BUTTONS  # noqa: E402

from selfsame.labels.store import stored_labels  # noqa: E402
from selfsame.rollout.slots import Slots  # noqa: E402
from selfsame.run.files import append_jsonl  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
    pytest.mark.slow,
]
TABS = ("Chat", "Label", "Runs", "Characters")
expect = playwright.expect
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def work(tmp_path_factory, tiny_models):
    with site(tmp_path_factory.mktemp("page"), tiny_models()) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, work):
    """The page, freshly opened. At the end: no request left this machine, and no script of a text ran."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    asked, errors = [], []
    context.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(work.url)
    expect(page.locator("#talk .room")).to_be_visible()
    yield page
    assert [url for url in asked if not url.startswith((work.url, "data:", "blob:"))] == []
    assert page.title() == "Selfsame" and errors == []
    context.close()


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def said(page, text):
    """Says something in the chat, and waits for the whole reply."""
    before = page.locator("#talk .turn.own").count()
    page.get_by_label("Your turn").fill(text)
    page.get_by_label("Your turn").press("Enter")
    expect(page.locator("#talk .turn.own")).to_have_count(before + 1)
    whole(page)


def whole(page):
    expect(page.locator("#talk .room")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#chat-send")).to_be_visible()


def test_a_talk_with_two_systems(page):
    page.get_by_label("Who the bot is, a trait a line").first.fill("I have two dogs.")
    said(page, "Any pets?")
    assert page.locator("#talk .turn.bot").count() == 1
    page.get_by_label("Next to it, a second system").click()
    page.get_by_role("option", name="tiny:base").click()
    said(page, "And cats?")
    assert page.locator("#talk .columns .turn.bot").count() == 2
    page.locator("#chat-again").click()
    whole(page)
    assert page.locator("#talk .turn.own").all_inner_texts() == ["Any pets?", "And cats?"]
    page.locator("#chat-edit").click()
    expect(page.locator("#talk .turn.own")).to_have_count(1)
    expect(page.get_by_label("Your turn")).to_have_value("And cats?")
    page.locator("#chat-undo").click()
    expect(page.locator("#talk .turn.own")).to_have_count(0)
    page.locator("#chat-undo").click()
    expect(page.locator("#chat-note [role=alert]")).to_contain_text("nothing was said yet")


def test_stopping_and_leaving_free_the_place(browser, work, monkeypatch):
    """The models are slowed down, so that nobody waits for the end of these replies."""
    sample, ended = Slots.sample, []
    monkeypatch.setattr(Slots, "sample", lambda slots: (time.sleep(0.05), sample(slots))[1])
    monkeypatch.setattr(work.live.scheduler, "ended", ended.append)
    for end in (lambda page: page.locator("#chat-stop").click(), lambda page: page.close()):
        page = browser.new_page()
        page.goto(work.url)
        page.get_by_label("Your turn").fill("Any pets?")
        page.get_by_label("Your turn").press("Enter")
        expect(page.locator("#talk .turn.bot .text")).not_to_be_empty()
        end(page)
        if not page.is_closed():
            whole(page)
            page.close()
        assert work.live.idle(60)
    assert len(ended) == 2 and all(job.sampled < job.sampling.max_new_tokens for job in ended)


def test_untrusted_text_stays_text(page, tmp_path):
    greeting = NASTY.replace("{{7*7}}", "")  # a card's macros are filled in
    card = {"name": "<b>Eve</b>", "description": NASTY, "first_mes": greeting}
    (tmp_path / "eve.json").write_text(json.dumps(card))
    page.locator("#chat-card input[type=file]").set_input_files(str(tmp_path / "eve.json"))
    expect(page.locator("#talk .who").first).to_have_text("<b>Eve</b>")
    said(page, NASTY)
    expect(page.locator("#talk .turn.own")).to_have_text(NASTY)
    expect(page.locator("#talk .turn.bot .text").first).to_have_text(greeting)
    assert page.locator("#talk").locator("img, script, a, h1, b").count() == 0
    tab(page, "Characters")
    page.locator("#characters-gallery button").nth(1).click()
    expect(page.locator("#characters-page")).to_contain_text("<script>")
    assert (
        page.locator("#characters-page, #characters-gallery").locator("script, img[src=x], a[href^=javascript]").count()
        == 0
    )


def test_labels_by_keys_alone(page, work):
    tab(page, "Label")
    page.get_by_label("Your name").fill("ann")
    page.keyboard.press("Enter")
    expect(page.locator("#label-question .said")).to_have_count(2)
    page.evaluate("document.activeElement.blur()")
    keys = {"1": "first", "2": "second", "0": "tie", "b": "both bad"}
    for key in keys:
        expect(page.locator("#label-question .badge")).to_have_count(0)
        page.keyboard.press(key)
        expect(page.locator("#label-question .badge")).to_contain_text("saved")
        page.keyboard.press("Enter")
    expect(page.locator("#label-line")).to_contain_text("ann: 4 labelled")
    expect(page.locator("#label-question .badge")).to_have_count(0)
    labels = [label for label in stored_labels(work.places.labels) if label.labeller == "ann"]
    assert [label.choice for label in labels] == list(keys.values())
    assert all({*label.by} == {"tiny:sft", "tiny:base"} and label.replies[0] != label.replies[1] for label in labels)
    text = page.get_by_label("A better reply")
    text.fill("Two dogs, and a cat.")
    text.press("Enter")
    expect(page.locator("#label-line")).to_contain_text("ann: 5 labelled")
    assert stored_labels(work.places.labels)[-1].corrected == "Two dogs, and a cat."
    page.locator("#label-undo").click()
    expect(page.locator("#label-line")).to_contain_text("ann: 4 labelled")


def test_a_run_that_trains_is_drawn_again(page, work):
    tab(page, "Runs")
    expect(page.locator("#runs-curves svg")).to_have_count(1)
    expect(page.locator("#runs-curves")).to_contain_text("up to step")
    expect(page.locator("#runs-results table")).to_have_count(1)
    before = int(re.search(r"up to step (\d+)", page.locator("#runs-curves").inner_text())[1])
    append_jsonl(work.places.runs / "tiny" / "metrics.jsonl", {"stage": "sft", "step": before + 1, "loss": 0.5})
    expect(page.locator("#runs-curves")).to_contain_text(f"up to step {before + 1}")
    page.locator("#runs-compare").click()
    expect(page.locator("#runs-compared")).to_contain_text("On the prompts that both answered")
    assert page.request.get(f"{work.url}/report/tiny").text() == "<title>the report</title><p>all of it</p>"
    for path in ("../tiny", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "tiny/../../cards/n.json"):
        assert page.request.get(f"{work.url}/report/{path}").status == 404


def test_characters_come_and_go(page, work, tmp_path):
    tab(page, "Characters")
    expect(page.locator("#characters-gallery img")).to_have_count(2)
    (tmp_path / "ida.json").write_text(
        json.dumps({"name": "Ida", "description": "I bake bread.", "first_mes": "Hello!"})
    )
    (tmp_path / "no.json").write_text("{}")
    page.locator("#characters-files input[type=file]").set_input_files(
        [str(tmp_path / "ida.json"), str(tmp_path / "no.json")]
    )
    expect(page.locator("#characters-gallery img")).to_have_count(3)
    expect(page.locator("#characters-note")).to_contain_text("no.json: the card has no name")
    expect(page.locator("#characters-page")).to_contain_text("I bake bread.")
    assert (Path(work.places.characters[0]) / "ida.json").exists()
    with page.expect_download() as taken:
        page.locator("#characters-json").click()
    assert json.loads(Path(taken.value.path()).read_text())["data"]["name"] == "Ida"
    page.locator("#characters-chat").click()
    expect(page.locator("#talk .turn.bot")).to_have_text("Hello!")
    expect(page.get_by_label("Who the bot is, a trait a line").first).to_have_value(re.compile("I bake bread"))


def test_the_keyboard_reaches_everything(page):
    """Tab alone, from the address bar to the end of the page."""
    for name in TABS:
        tab(page, name)
        reached = set()
        page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        for _ in range(80):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.closest('[id]')?.id ?? ''"))
        ids = page.evaluate(VISIBLE_BUTTONS)
        assert {name for name in ids if name not in reached} == set()
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement === document.body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_tab_is_readable(browser, work, width, scheme):
    """Names, contrast, and no sideways scrolling. SELFSAME_SHOTS=folder keeps the pictures."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(work.url)
    page.get_by_label("Who the bot is, a trait a line").first.fill("I have two dogs.\nI drive a night bus.")
    said(page, "Any pets?")
    for name in TABS:
        tab(page, name)
        if name == "Label":
            page.get_by_label("Your name").fill(f"{width}{scheme}")
            page.keyboard.press("Enter")
            expect(page.locator("#label-question .said")).to_have_count(2)
            page.locator("#label-first").click()
            expect(page.locator("#label-question .badge")).to_contain_text("saved")
        if name == "Runs":
            expect(page.locator("#runs-curves svg")).not_to_have_count(0)
            page.locator("#runs-compare").click()
            expect(page.locator("#runs-compared .verdict")).to_be_visible()
        if name == "Characters":
            expect(page.locator("#characters-gallery img").first).to_be_visible()
            page.locator("#characters-gallery button").first.click()
            expect(page.locator("#characters-page h3")).to_be_visible()
        if folder := os.environ.get("SELFSAME_SHOTS"):
            page.screenshot(path=f"{folder}/{name.lower()}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(FAINT) == []
    context.close()
