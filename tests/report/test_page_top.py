"""What both pages begin with: verdict, tiles, unselected replies, the command to chat; and what comes below, in which order."""

from __future__ import annotations

import re
import shlex
from html import unescape

import pytest
from test_report import HOSTILE, Reader, section

from evaluated import estimate, evaluated_run, evaluation, reply
from selfsame.cli.chat import options_parser
from selfsame.comparing.pairs import compare_systems
from selfsame.comparing.runs import compare
from selfsame.metrics.statistics import Bootstrap
from selfsame.report.comparison import write_comparison
from selfsame.report.page import write_report
from selfsame.report.verdict import verdict
from selfsame.run.files import append_jsonl, read_json, write_json
from selfsame.run.records import EvaluationRecord


def system(hits, says="Reply", **more):
    """Replies in mid-dialogue, forty of twenty dialogues."""
    talk = [reply(k, None, f"{says} {k}.") | {"scores": {"in_character": hit}} for k, hit in enumerate(hits)]
    made = evaluation(hits, talk=talk) | more
    made["metrics"]["in_character"] = estimate(sum(hits) / len(hits))
    made["references"]["gold"]["in_character"] = estimate(0.85)
    return made


def make_run(folder, **systems):
    path = evaluated_run(folder, systems)
    records = {name: EvaluationRecord.model_validate(content) for name, content in systems.items()}
    write_json(path / "comparisons.json", compare_systems(records, Bootstrap(200)))
    append_jsonl(path / "metrics.jsonl", {"stage": "sft", "step": 1, "loss": 2.0})
    return path


@pytest.fixture
def run(tmp_path):
    return make_run(
        tmp_path / "my run",
        base=system([0.0] * 40, "Base"),
        sft=system([1.0, 0.0] * 20, "Tuned"),
        ppo=system([1.0, 1.0, 1.0, 0.0] * 10, "Trained"),
    )


def page_of(run):
    return write_report(run).read_text(encoding="utf-8")


def test_the_verdict_stands_above_all_else(run):
    page = page_of(run)
    assert Reader(page).open == []
    top = unescape(re.sub(r"<[^>]+>", "", section(page, "top")))
    assert " ".join(verdict(run).split()) in " ".join(top.split())
    ids = re.findall(r'<section id="(\w+)"', page)
    wanted = ["top", "headline", "results", "training", "data", "cost", "setup", "missing", "definitions"]
    assert [name for name in ids if name in wanted] == wanted and ids[0] == "top"
    assert page.index(verdict(run)[:30]) < page.index('class="tile') < page.index("<table")


def test_tables_and_curves_are_folded(run):
    page = page_of(run)
    for name in ("results", "training", "cost"):
        assert section(page, name).strip().startswith("<details><summary><h2>"), name
    outside = re.sub(
        r"<details>.*</details>", "", section(page, "results") + section(page, "training"), flags=re.DOTALL
    )
    assert "<table" not in outside and "<svg" not in outside


def test_tiles_say_how_often_each_is_in_character_and_what_it_cost(run):
    tiles = re.findall(r'<div class="tile[^"]*"><span>([^<]*)</span><b>([^<]*)</b>(?:<span>([^<]*))?', page_of(run))
    assert tiles[:4] == [
        ("people", "85%", "[75, 95]"),
        ("base model", "0%", "[-10, 10]"),
        ("SFT", "50%", "[40, 60]"),
        ("trained (PPO)", "75%", "[65, 85]"),
    ]
    assert not any(label in ("time of all stages", "cost") for label, *_ in tiles)  # neither is known
    bill = read_json(run / "cost.json")
    write_json(run / "cost.json", bill | {"total_seconds": 3720.0, "total_cost": None})
    assert "<span>time of all stages</span><b>1 h 02 min</b>" in section(page_of(run), "top")
    assert "<span>cost</span>" not in section(page_of(run), "top")
    write_json(run / "cost.json", bill | {"total_seconds": 3720.0, "total_cost": 0.35})
    assert "<span>cost</span><b>$0.35</b>" in section(page_of(run), "top")


def test_all_systems_reply_to_the_same_prompts(run):
    talks = section(page_of(run), "top").split('<div class="talk">')[1:]
    assert len(talks) == 3
    for talk, number in zip(talks, (0, 13, 26), strict=True):
        assert f'<div class="turn partner">Any pets, {number}?</div>' in talk
        assert '<span class="trait">I have two dogs.</span>' in talk
        said = re.findall(r'<span class="soft">([^<]*)</span><div class="text">([^<]*)<', talk)
        assert said == [
            ("base model", f"Base {number}."), ("SFT", f"Tuned {number}."), ("trained (PPO)", f"Trained {number}.")
        ]  # fmt: skip


def test_the_command_to_chat_is_one_that_chat_takes(run):
    line = re.search(r"<pre>(.*?)</pre>", section(page_of(run), "top"))
    assert line
    name, chat, *words = shlex.split(unescape(line[1]))
    options = options_parser().parse_args(words)
    assert (name, chat) == ("selfsame", "chat") and options.model == str(run)
    record = read_json(run / "eval" / "base.json")
    assert options.persona == record["replies"][0]["persona"][:3]


def test_what_was_said_is_escaped_on_top(run):
    for name in ("base", "sft", "ppo"):
        record = read_json(run / f"eval/{name}.json")
        record["talk"][0] |= {"persona": [HOSTILE], "history": [HOSTILE], "reply": HOSTILE}
        write_json(run / f"eval/{name}.json", record)
    reader = Reader(page_of(run))
    assert "script" not in reader.tags and "".join(reader.text).count("<script>alert('x')</script>") == 5


def test_fewer_than_ten_dialogues_make_no_table(tmp_path):
    talk = {"items": 9, "metrics": {"coverage": estimate(0.5)}, "references": {}, "samples": []}
    few = make_run(tmp_path / "few", sft=system([1.0, 0.0] * 9, selfplay=talk), base=system([0.0] * 18))
    page = page_of(few)
    assert 'class="results"' not in page and "in character</a>, share of replies" not in page
    assert "sft: 9 dialogues are too few for a table, which needs 10." in section(page, "results")
    assert "sft: 9 dialogues are too few" in section(page, "selfplay")
    ten = make_run(tmp_path / "ten", sft=system([1.0, 0.0] * 10), base=system([0.0] * 20))
    assert 'class="results"' in section(page_of(ten), "results") and "too few" not in page_of(ten)
    record = read_json(ten / "eval/base.json")
    write_json(ten / "eval/base.json", record | {part: record[part][:4] for part in ("replies", "talk")})
    page = page_of(ten)
    assert "base: 2 dialogues are too few" in page and "less base" not in page
    assert re.findall(r"<th>(\w+)</th>", section(page, "results"))[:1] == ["sft"]


def compared(folder, *runs, groups=()):
    write_comparison(folder / "compare.html", compare([str(run) for run in runs], groups))
    return (folder / "compare.html").read_text(encoding="utf-8")


def test_a_comparison_begins_with_its_verdict(run, tmp_path):
    other = evaluated_run(tmp_path / "other", {"ppo": evaluation([1.0] * 40)})
    page = compared(tmp_path, f"{run}:sft", other)
    assert Reader(page).open == []
    ids = re.findall(r'<section id="(\w+)"', page)
    assert ids == ["top", "differences", "results", "dialogues", "cost", "setup", "missing", "definitions"]
    top = unescape(re.sub(r"<[^>]+>", "", section(page, "top")))
    assert "other:ppo is more often consistent than my run:sft (100% of replies against 50%, +50 points [" in top
    assert "Training took 1 min 00 s for my run:sft, 6 min 00 s for other:ppo." in top
    tiles = re.findall(r'<div class="tile[^"]*"><span>([^<]*)</span><b>([^<]*)</b>', page)
    assert tiles == [
        ("people", "90%"), ("my run:sft", "50%"), ("other:ppo", "100%"),
        ("training time of my run:sft", "1 min 00 s"), ("training time of other:ppo", "6 min 00 s"),
    ]  # fmt: skip
    assert "+50 points" in section(page, "differences") and "higher, p &lt; 0.001" in section(page, "differences")


def test_a_comparison_of_few_dialogues_has_no_table_of_results(tmp_path):
    runs = [evaluated_run(tmp_path / name, {"sft": evaluation([1.0, 0.0] * 4)}, seed=k) for k, name in enumerate("ab")]
    page = compared(tmp_path, *runs)
    for name in ("results", "differences"):
        assert "<table" not in section(page, name) and "too few for a table" in section(page, name), name
    wide = [evaluated_run(tmp_path / name, {"sft": evaluation([1.0, 0.0] * 20)}, seed=k) for k, name in enumerate("cd")]
    part = evaluation([1.0, 0.0] * 20)
    for row in part["replies"][5:]:
        row["history"] = ["Something else?"]
    page = compared(tmp_path, wide[0], evaluated_run(tmp_path / "e", {"sft": part}))
    assert "e:sft and c:sft: 5 shared prompts are too few for a table." in section(page, "differences")
    assert "<table" in section(page, "results") and "<table" not in section(page, "differences")
    group = compared(tmp_path, wide[0], groups=[f"x={runs[0]},{runs[1]}"])
    assert "x (2 seeds): 8 dialogues are too few" in group  # the seeds answer the same prompts
