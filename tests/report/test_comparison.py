"""The page of `selfsame compare`."""

from __future__ import annotations

import re

import pytest
from test_report import HOSTILE, Reader, section

from evaluated import evaluated_run, evaluation
from selfsame.comparing.runs import compare
from selfsame.report.comparison import write_comparison

TALK = {"persona": ["I sing."], "partner_persona": ["I <u>knit</u>."], "turns": ["Hi.", "La la.", "Purl.", ""]}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pages")
    one, two, three = evaluation([1.0, 0.0] * 10), evaluation([0.0] * 20), evaluation([0.0] * 20)
    two["replies"][0] |= {"reply": f"Dogs! {HOSTILE}"}
    two["replies"][0]["scores"] = {"consistency": 0.0, "contradiction": 1.0}
    for content in (one, two, three):
        content["replies"][0]["history"] = [f"Turn {k}." for k in range(7)]
    two["selfplay"] = {"items": 1, "metrics": {"coverage": {"value": 0.5}}, "references": {}, "samples": [TALK]}
    evaluated_run(folder / "a", {"sft": one})
    evaluated_run(folder / "b", {"ppo": two}, training={"ppo": {"kl_coef": 0.5}})
    evaluated_run(folder / "c", {"ppo": three}, seed=1)
    comparison = compare([f"{folder}/a", f"{folder}/b"], [])
    write_comparison(folder / "page.html", comparison)
    write_comparison(folder / "seeds.html", compare([f"{folder}/a"], [f"<b>={folder}/b,{folder}/c"]))
    assert "&lt;b&gt; (2 seeds)" in (folder / "seeds.html").read_text()
    assert Reader((folder / "seeds.html").read_text()).open == []
    return (folder / "page.html").read_text(encoding="utf-8")


def test_every_part_is_there(page):
    assert Reader(page).open == [] and page.startswith("<!doctype html>") and "Selfsame comparison" in page
    assert "<title>a:sft, b:ppo" in page
    assert '50% <span class="interval">[40, 60]</span>' in section(page, "results")
    assert "b:ppo less a:sft" in section(page, "differences") and "<svg" in section(page, "differences")
    assert "wins 0, ties 10, losses 10" in section(page, "differences")
    assert "6 min 00 s" in section(page, "cost") and "2.1 GB" in section(page, "cost")
    setup = section(page, "setup")
    assert "training.ppo.kl_coef" in setup and ">0.05<" in setup and ">0.5<" in setup


def test_replies_stand_side_by_side_with_their_scores(page):
    first = section(page, "dialogues").split('<div class="talk">')[1]
    assert first.count('<div class="said">') == 3 and "Two dogs!" in first and "what the person said" in first
    ours, theirs = first.split('<div class="said">')[2:]
    assert '<span class="badge good">consistent</span>' in ours and "contradiction" not in ours
    assert '<mark class="drawn">two</mark> <mark class="drawn">dogs</mark>' in ours
    assert '<span class="badge bad">not consistent</span>' in theirs
    assert '<span class="badge bad">contradiction</span>' in theirs and '<mark class="drawn">Dogs</mark>!' in theirs
    assert "3 turns before" in first and first.index("Turn 2.") < first.index("</details>") < first.index("Turn 3.")
    assert '<div class="turn bot">Turn 5.</div>' in first and '<div class="turn partner">Turn 6.</div>' in first


def test_a_dialogue_with_itself_where_there_is_one(page):
    talks = section(page, "selfplay")
    assert talks.count("<h3>") == 1 and "b:ppo" in talks and '<div class="turn bot">La la.</div>' in talks
    assert "&lt;u&gt;knit" in talks


def test_text_of_people_is_escaped_and_nothing_is_fetched(page):
    reader = Reader(page)
    assert "script" not in reader.tags and "u" not in reader.tags and "alert" in "".join(reader.text)
    without_dialogue = page.replace("https://example.org", "")
    assert "http:" not in without_dialogue and "https:" not in without_dialogue
    assert all(address.startswith("#") for address in reader.addresses) and "@import" not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_look_is_that_of_the_report(page):
    for rule in ("prefers-color-scheme: dark", "@media (max-width: 560px)", ".columns", "currentColor"):
        assert rule in page
