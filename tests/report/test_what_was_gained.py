"""The first lines of a report, its dialogues side by side and the plots of the reward."""

from __future__ import annotations

import pytest
from test_report import HOSTILE, Reader, make_full, section

from selfsame.errors import RunError
from selfsame.report.headline import headline
from selfsame.report.page import write_report
from selfsame.report.plots import Plot, png, reward_plots, training_plots
from selfsame.report.tables import Cell, Row
from selfsame.run.comparisons import ComparisonRecord
from selfsame.run.files import read_json, write_json
from selfsame.run.records import RewardRecord


def record(metric, verdict, value=0.1, system="ppo", than="sft"):
    ends = {"low": value - 0.05, "high": value + 0.05}
    return ComparisonRecord(system=system, than=than, metric=metric, value=value, verdict=verdict, **ends)


def row(name, **cells):
    return Row(name, "system", cells={metric: Cell(value) for metric, value in cells.items()})


ROWS = [
    row("base", consistency=0.2),
    row("sft", consistency=0.4, contradiction=0.03),
    row("ppo", consistency=0.5, contradiction=0.01),
]


def test_the_last_stage_is_shown_against_the_one_it_began_with():
    found = headline(
        ROWS, [record("consistency", "higher"), record("contradiction", "higher", -0.02), record("keywords", "tie")]
    )
    assert [(t["metric"].name, t["from"], t["to"], t["verdict"]) for t in found] == [
        ("consistency", "40%", "50%", "better"), ("contradiction", "3%", "1%", "worse"),
    ]  # fmt: skip
    assert found[0]["change"] == "+10 points [5, 15], higher" and found[0]["systems"] == "sft → ppo"
    assert headline(ROWS[:2], [record("consistency", "tie", system="sft", than="base")])[0]["verdict"] == "tie"
    assert headline(ROWS, []) == headline([], [record("consistency", "higher")]) == []


def test_what_it_cost_stands_beside_it():
    def of(name, perplexity, distinct, margin=0.1):
        cells = {"consistency": Cell(0.5), "perplexity": Cell(perplexity, perplexity - margin, perplexity + margin)}
        return Row(name, "system", cells=cells | {"distinct_2": Cell(distinct, distinct - margin, distinct + margin)})

    def said(name, share):
        return Row(name, "system", cells={"repetition": Cell(share, share - 0.1, share + 0.1)})

    pair, talk = [record("consistency", "tie")], [said("sft", 0.2), said("ppo", 0.7)]
    found = headline([of("sft", 4.0, 0.5), of("ppo", 5.0, 0.45)], pair, talk)[1:]
    assert [(t["metric"].label or t["metric"].name, t["verdict"]) for t in found] == [
        ("perplexity", "worse"), ("distinct 2", "tie"), ("self-play repetition", "worse"),
    ]  # fmt: skip
    assert found[0]["change"] == "[3.90, 4.10] → [4.90, 5.10]"
    better = headline([of("sft", 4.0, 0.1), of("ppo", 3.0, 0.9)], pair, [talk[1], said("sft", 0.95)])[1:]
    assert [t["verdict"] for t in better] == ["better", "better", "better"]
    assert [t["metric"].name for t in headline([of("sft", 4.0, 0.5), of("ppo", 5.0, 0.45)], pair)] == [
        "consistency",
        "perplexity",
        "distinct 2",
    ]


@pytest.fixture
def page(tmp_path):
    run = make_full(tmp_path / "run")
    write_json(run.path / "comparisons.json", [record("consistency", "higher")])
    write_json(run.path / "reward.json", {"pairs": 9, "metrics": {"accuracy": 0.75, "accuracy/bland": 1.0}})
    reply = {"parts": [["I have ", ""], ["two dogs", "copied"], [HOSTILE, "drawn"]], "scores": {"consistency": 0.0}}
    found = {"persona": ["I have two dogs."], "history": ["Hi!"], "gold": "Woof.", "differ": True}
    found["replies"] = {"ppo": reply | {"at_odds": ["I have no dogs."]}}
    write_json(run.path / "dialogues.json", [found])
    write_report(run.path)
    return run.report_path.read_text(encoding="utf-8")


def test_the_page_shows_them(page):
    assert Reader(page).open == []
    tiles = section(page, "headline")
    assert 'class="tile better"' in tiles and "52% → 61%" in tiles and "sft → ppo" in tiles
    talk = section(page, "dialogues")
    assert '<mark class="copied">two dogs</mark>' in talk and '<mark class="odds">I have no dogs.</mark>' in talk
    assert "not consistent" in talk and "Woof." in talk and "script" not in Reader(page).tags
    training = section(page, "training")
    assert "Held-out pairs ranked correctly" in training and "Score against KL" in training
    main, _, more = training[training.index("<h3>ppo</h3>") :].partition("<details>")
    assert "KL coefficient" in more and "KL coefficient" not in main  # it never moves


def test_a_damaged_file_of_them_is_told(tmp_path):
    run = make_full(tmp_path / "run")
    (run.path / "dialogues.json").write_text("[")
    write_report(run.path)
    page = run.report_path.read_text(encoding="utf-8")
    assert "dialogues.json is damaged" in section(page, "missing") and 'id="dialogues"' not in page


def test_what_was_saved_against_another_run(tmp_path):
    run, full = make_full(tmp_path / "run"), make_full(tmp_path / "full")
    bill = read_json(full.cost_path)
    write_json(full.cost_path, bill | {"total_seconds": 2 * bill["total_seconds"]})
    write_report(run.path, full.path)
    cost = section(run.report_path.read_text(encoding="utf-8"), "cost")
    assert "<th>time saved percent against full</th><td>50</td>" in cost
    write_json(full.cost_path, bill | {"seconds": {"sft": 1.0}})
    with pytest.raises(RunError, match="other stages"):
        write_report(run.path, full.path)


def test_plots_of_the_reward_need_their_numbers():
    assert (
        reward_plots([], None)
        == reward_plots([{"stage": "ppo", "step": 1, "kl": 1.0}], RewardRecord(pairs=0, metrics={}))
        == []
    )


def test_plots_together_are_one_picture():
    records = [{"stage": "ppo", "step": k, "time": 0.0, "kl": k, "reward": k / 2} for k in range(3)]
    plots = [*training_plots(records), *reward_plots(records, None)]
    assert len(plots) == 3 and all(isinstance(plot, Plot) for plot in plots)
    one, three = png(plots[:1]), png(plots, columns=2)
    assert one.startswith(b"\x89PNG") and three.startswith(b"\x89PNG")
    size = [(int.from_bytes(p[16:20], "big"), int.from_bytes(p[20:24], "big")) for p in (one, three)]
    assert size[1][0] == 2 * size[0][0] and abs(size[1][1] - 2 * size[0][1]) < 2  # whole points
