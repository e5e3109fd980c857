"""Every command and every setting that the README and the pages of `docs/` name exists; every result there comes from a
command; the front page is short, and all pages keep the rules of CONTRIBUTING for English."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from evaluated import estimate, evaluated_run, evaluation
from selfsame.cli import compare
from selfsame.cli.benchmark import DESCRIPTIONS, options_parser
from selfsame.config import preset_names, read_config, setting_names

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
GENERATED = {DOCS / "api.md"}  # by docs/reference.py, from docstrings
SUBJECTS = sorted(set(DOCS.glob("*.md")) - GENERATED)
PAGES = (README, *SUBJECTS, *sorted((DOCS / "guides").glob("*.md")))
LOG = sorted((DOCS / "log").glob("*.md"))  # entries stay as they were: settings have the names of their day
WITH_RESULTS = [page for page in (*PAGES, *LOG) if "<!-- results:" in page.read_text()]
SYSTEMS = ("base", "sft", "ppo", "sft_best_of_n", "ppo_best_of_n")
AVOIDED = re.compile(
    r"\b(told|rightly|own (?:earlier )?turns?|go(?:es)? on|beside|so many|of which|that of)\b", re.IGNORECASE
)
WIDTH = 100


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of a page's code blocks, with continued lines joined."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [(language, re.sub(r" *\\\n *", " ", text)) for language, text in found]


def prose(page: Path) -> list[tuple[int, str]]:
    """(number, line) of a page without its results, code and tables; inline code and the targets of links are blank."""
    text = re.sub(
        r"<!-- results:([\w-]+) -->.*?<!-- /results:\1 -->|^ *```.*?^ *```$",
        lambda match: "\n" * match[0].count("\n"),
        page.read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    return list(enumerate(text.splitlines(), 1))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


COMMANDS = [
    line for page in PAGES for language, text in blocks(page) if not language for line in text.splitlines() if line
]
TRAINING = [
    c for c in COMMANDS if re.search(r"(?:^|/|-m )(?:selfsame|selfsame\.cli) (?:run|sft|reward|ppo|dpo|demo)\b", c)
]
COMPARING = [c for c in COMMANDS if c.startswith("selfsame compare")]


def test_the_pages_show_commands():
    assert (
        len(TRAINING) >= 12
        and sum(c.startswith("selfsame benchmark") for c in COMMANDS) > 3
        and any(c.startswith("make demo") for c in COMMANDS)
        and any("chat" in c for c in COMMANDS)
        and len(COMPARING) > 5
    )


def test_the_front_page_is_short_and_shows_what_it_does():
    text = README.read_text()
    assert len(README.read_bytes()) <= 8192
    picture = re.search(r"!\[[^\]]{10,}\]\((docs/picture\.\w+)\)", text)
    assert picture and (ROOT / picture[1]).stat().st_size <= 12 * 1024
    conversation = [line for line in text.splitlines() if re.match(r"\| [A-Z][^|]*[?.] \|", line)]
    assert len(conversation) >= 3, "lines of a conversation, before and after training"
    assert all(line.count("|") >= 4 for line in conversation)
    shown = [line for language, block in blocks(README) if not language for line in block.splitlines()]
    for command in ("make demo", "make test", "selfsame run", "selfsame evaluate", "selfsame chat"):
        assert any(line.startswith(command) for line in shown), command
    assert "<!-- results:reading -->" in text and "selfsame.load(" in text


def test_the_picture_says_what_the_conversation_says():
    drawn = re.sub(r"<style>.*?</style>|<desc>.*?</desc>", "", (DOCS / "picture.svg").read_text(), flags=re.DOTALL)
    words = " ".join(re.sub(r"<[^>]+>", " ", drawn).split())
    rows = [line.split("|") for line in README.read_text().splitlines() if re.match(r"\| [A-Z][^|]*\? \|", line)][:2]
    assert len(rows) == 2
    for said in (cell.strip() for row in rows for cell in row[1:-1]):
        assert said in words, said


@pytest.mark.parametrize("command", TRAINING)
def test_training_commands_are_valid(command):
    words = shlex.split(command, comments=True)
    start = next(i for i, word in enumerate(words) if re.fullmatch(r"(?:.*/)?selfsame(?:\.cli)?", word))
    config, _ = read_config(words[start + 2 :])
    assert config.run.stages


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("selfsame benchmark")])
def test_benchmark_commands_are_valid(command):
    assert options_parser().parse_args(shlex.split(command)[2:]).benchmark in DESCRIPTIONS


@pytest.mark.parametrize("command", COMPARING)
def test_comparing_commands_work(command, tmp_path, monkeypatch):
    """On runs with the records that these commands need."""
    words = shlex.split(command)[2:]
    options = compare.options_parser().parse_args(words)
    named = [*options.runs, *(run for group in options.group for run in group.partition("=")[2].split(","))]
    measured = evaluation([1.0, 0.0])
    measured["metrics"] |= {metric: estimate(0.5) for metric in options.metrics}
    for seed, run in enumerate(sorted({name.partition(":")[0] for name in named})):
        evaluated_run(tmp_path / run, dict.fromkeys(SYSTEMS, measured), seed=seed)
    monkeypatch.chdir(tmp_path)
    if options.readme:
        Path(options.readme).parent.mkdir(parents=True)
        Path(options.readme).write_text(f"<!-- results:{options.marker} -->\n<!-- /results:{options.marker} -->\n")
    compare.run(words)
    written = tmp_path / (options.html or options.json or options.readme)
    assert written.stat().st_size > (500 if options.readme else 1000)


def test_named_settings_and_presets_exist():
    known = {name.replace("_", "-") for name in setting_names()} | set(setting_names())
    text = "".join(page.read_text() for page in PAGES)
    for flag in re.findall(r"--([a-z_]+\.[a-z._-]+)", text):
        own_reward = flag.startswith("training.ppo.rewards.") and flag.endswith(".py")
        assert flag in known or flag == "a.b.c" or own_reward, flag
    listed = re.search(r"presets/\*\.yaml`: ([^)]*)\)", text)
    assert listed and sorted(re.findall(r"`([\w-]+)`", listed[1])) == preset_names()


def test_results_stand_where_they_are_looked_for():
    expected = {"README.md", "docs/agreement.md", "docs/guides/kaggle.md", "docs/performance.md", "docs/results.md"}
    assert expected <= {name(page) for page in WITH_RESULTS}


@pytest.mark.parametrize("path", WITH_RESULTS, ids=name)
def test_results_come_from_a_record_by_a_command(path):
    text = path.read_text()
    commands = re.sub(r"\s*\\?\s*\n\s*|\s+", " ", text)
    names = re.findall(r"<!-- results:([\w-]+) -->", text)
    assert names and len(set(names)) == len(names)
    for marker in names:
        command = rf"--readme {re.escape(name(path))} --marker {marker}(?![\w-])"
        assert f"<!-- /results:{marker} -->" in text and re.search(command, commands), marker


@pytest.mark.parametrize("path", [*PAGES, *LOG, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name)
def test_links_lead_somewhere(path):
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", path.read_text()):
        target = path.parent / link if link else path
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, anchor


def test_every_page_is_linked_from_the_front_page():
    links = set(re.findall(r"\]\((docs/[^)#]+)\)", README.read_text()))
    assert {name(page) for page in PAGES[1:]} <= links


@pytest.mark.parametrize("path", [*PAGES, DOCS / "log" / "README.md"], ids=name)
def test_pages_keep_the_rules_for_english(path):
    for number, line in prose(path):
        said = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", line)
        assert not (found := AVOIDED.search(said)), f"line {number}: {found[0]}"
        assert len(line) <= WIDTH or line.startswith("|"), f"line {number} has {len(line)} characters"
