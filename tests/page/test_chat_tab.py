"""The tab *Chat* without a browser: whoever begins another talk hears no more of the one before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

gr = pytest.importorskip("gradio", reason="the page needs gradio: pip install 'selfsame-chat[web]'")
from paged import speaking  # noqa: E402
from served import MIKA, TALKER, tiny_hub  # noqa: E402

from selfsame.cards.write import write_card  # noqa: E402
from selfsame.page.characters_tab import CharactersTab  # noqa: E402
from selfsame.page.chat_tab import ChatTab  # noqa: E402
from selfsame.page.shelf import Shelf  # noqa: E402
from selfsame.page.talk import NOBODY, Talk  # noqa: E402

VISITOR, OTHER = SimpleNamespace(session_hash="one"), SimpleNamespace(session_hash="other")


@pytest.fixture(scope="module")
def tab(tiny_models):
    with speaking(tiny_hub(tiny_models())) as asked, gr.Blocks():
        yield ChatTab(asked)


def begun(tab, visitor=VISITOR):
    """A reply that streams: the first word is there."""
    stream = tab.on_say(visitor, "Hi.", Talk(), NOBODY, "", TALKER, "", 1.0, 100)
    for _ in range(2):
        next(stream)
    return stream


@pytest.mark.parametrize("how", ["card", "new", "characters", "said"])
def test_another_talk_ends_the_reply(tab, tmp_path, how):
    stream, others = begun(tab), begun(tab, OTHER)
    inbox = tab.inboxes["one"]
    if how == "card":
        write_card(MIKA, tmp_path / "mika.json")
        tab.on_card(VISITOR, str(tmp_path / "mika.json"), NOBODY, "")
    elif how == "new":
        tab.on_new(VISITOR, NOBODY)
    elif how == "characters":
        with gr.Blocks(), gr.Tabs() as tabs:
            characters = CharactersTab(Shelf([], tmp_path, [MIKA]), tab, tabs, tmp_path)
        characters.on_talk(VISITOR, MIKA.name)
    else:
        begun(tab).close()
    assert [*stream] == [[gr.skip() for _ in tab.shown]] and tab.inboxes.get("one") is not inbox
    assert len([*others]) > 0 and tab.inboxes == {}


def test_the_reply_stays_where_only_the_card_goes(tab):
    stream = begun(tab)
    assert tab.on_clear(VISITOR) is NOBODY
    talk = [*stream][-1][1]
    assert not talk.writing and talk.exchanges[0].said == "Hi." and tab.inboxes == {}
