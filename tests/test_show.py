"""What notebooks show, from made-up records."""

from __future__ import annotations

import pytest

from evaluated import evaluated_run, evaluation
from selfsame import DatasetLoader, PreferenceGenerator, show
from selfsame.config import get_default_config
from selfsame.data.audit import audit
from selfsame.run.files import append_jsonl, write_json
from selfsame.run.metrics import MetricsTracker


@pytest.fixture
def run(tmp_path):
    path = evaluated_run(tmp_path / "<b>", {"sft": evaluation([0.0] * 4), "ppo": evaluation([1.0] * 4)})
    for step in range(3):
        numbers = {"reward": step / 2, "kl": step, "entropy": 1.0}
        append_jsonl(path / "metrics.jsonl", {"stage": "ppo", "step": step, "time": 0.0, **numbers})
        row = {"prompt": "p", "persona": ["I sing."], "history": ["Hi!"], "reply": f"<i>La{step}", "reward": 0.5}
        append_jsonl(path / "samples.jsonl", {"stage": "ppo", "step": step, **row})
    reply = {"parts": [["I ", ""], ["<sing>", "drawn"]], "scores": {"consistency": 1.0}, "at_odds": ["I am mute."]}
    found = {"persona": ["I sing."], "history": ["Hi!"], "gold": "La.", "differ": False, "replies": {"ppo": reply}}
    write_json(path / "dialogues.json", [found])
    tracker = MetricsTracker()
    tracker.seconds |= {"sft": 60.0, "ppo": 120.0}
    write_json(path / "cost.json", tracker.track_cost())
    return path


def test_tables_are_escaped_html_and_plain_text(run):
    tables = [show.results(run), show.samples(run), show.dialogues(run), show.cost(run), show.environment()]
    html = [table._repr_html_() for table in tables]
    assert all(text.startswith("<table>") and "<i>La" not in text and "<sing>" not in text for text in html)
    assert "&lt;i&gt;La2" in html[1] and "<i>La2" in repr(tables[1])
    assert "I <u>&lt;sing&gt;</u><br>at odds with <s>I am mute.</s>" in html[2]
    assert "I <sing>at odds with I am mute." in repr(tables[2]) and "what the person said" in html[2]
    assert "3 min 00 s" in html[3] and "2 min 00 s" in repr(tables[3])
    assert "python" in repr(tables[4])


def test_two_runs_cost_beside_each_other(run, tmp_path):
    other = evaluated_run(tmp_path / "full", {})
    tracker = MetricsTracker()
    tracker.seconds |= {"sft": 60.0, "ppo": 300.0}
    write_json(other / "cost.json", tracker.track_cost())
    assert "time saved: 50 %" in repr(show.cost(run, than=other))
    same_name = evaluated_run(tmp_path / "elsewhere" / run.name, {})
    tracker.seconds["dpo"] = 1.0
    write_json(same_name / "cost.json", tracker.track_cost())
    shown = show.cost(run, than=same_name)
    assert len(shown.grids[0][0]) == 3 and "saved" not in repr(shown)  # other stages


def test_pictures_are_png_or_say_that_nothing_is_there(run, tmp_path):
    for picture in (show.curves(run, "ppo"), show.reward(run), show.intervals(run, ["consistency"])):
        assert picture._repr_png_().startswith(b"\x89PNG") and "nothing" not in repr(picture)
    assert [plot.title for plot in show.intervals(run, ["consistency"]).plots] == ["Consistency"]
    empty = evaluated_run(tmp_path / "empty", {})
    for name in ("cost.json", "reward.json"):
        (empty / name).unlink()
    assert show.curves(empty, "sft")._repr_png_() is None and "nothing recorded yet" in repr(show.curves(empty, "sft"))
    for table in (show.results(empty), show.samples(empty), show.dialogues(empty)):
        assert table._repr_html_() == repr(table) == "nothing recorded yet"
    assert show.reward(empty)._repr_png_() is None


def test_data_are_shown(capsys):
    config = get_default_config()
    loader = DatasetLoader(config.data)
    data = loader.load()
    picture = show.dataset(data)
    assert picture._repr_png_().startswith(b"\x89PNG") and len(picture.plots) == 3
    parts, _ = loader.read_parts()
    table = show.audit(audit([dialogue for part in parts.values() for dialogue in part]))
    assert "placeholder" in repr(table) and "left out" in repr(table)
    made = show.pairs(PreferenceGenerator(data.train, config.pairs).generate_pairs(30))
    assert "bland" in repr(made) and len(made.grids[0]) > 4


def test_published_numbers_keep_their_notes():
    table = show.published("ConvAI2", {"hits_at_1": "Hits@1"}, "ours", {"hits_at_1": 11.4})
    assert "11.4" in repr(table) and len(table.grids[0]) > 3 and any("not comparable" in note for note in table.notes)
