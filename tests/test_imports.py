"""The rooms of CONTRIBUTING.md and who may import whom: `types, errors, settings <- config`; `text <- cards, labels <- data,
run <- model <- rollout <- training, eval, serve <- plan, pipeline, page <- cli`; `report` reads run directories only. A file
has the rule of its room, or its own, which is stricter: each command imports what it needs and no more."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import selfsame

ROOT = Path(selfsame.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
GROUND = {"types", "errors", "settings", "systems"}
TEXT = GROUND | {"text"}
CARDS = TEXT | {"cards"}
LABELS = GROUND | {"labels"}
DATA = CARDS | LABELS | {"data"}
RUN = GROUND | {"run", "renamed"}
MODEL = DATA | RUN | {"model"}
ROLLOUT = MODEL | {"rollout"}
METRICS = ROLLOUT | {"metrics"}
COMPARING = METRICS | {"comparing"}
RATINGS = METRICS | {"ratings"}
EVAL = RATINGS | COMPARING | {"eval"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "settings": set(),
    "systems": set(),
    "renamed": set(),
    "config": GROUND | {"renamed"},  # and each room's settings.py, as every room may
    "text": TEXT,
    "cards": CARDS,
    "labels": LABELS,
    "data": DATA,
    "run": RUN,
    "model": MODEL,
    "rollout": ROLLOUT,
    "training": ROLLOUT | {"training"},
    "metrics": METRICS,
    "comparing": COMPARING,
    "comparing.runs": DATA | RUN | {"comparing", "metrics"},
    "ratings": RATINGS,
    "eval": EVAL,
    "tasks": EVAL | {"tasks"},
    "serve": ROLLOUT | {"serve", "config"},
    "page": TEXT | CARDS | LABELS | RUN | {"comparing", "report", "serve", "page"},
    "report": RUN | {"report"},
    "export": ROLLOUT | {"export", "serve", "report"},
    "plan": ROLLOUT | {"plan", "config", "training", "serve"},
    "pair_inputs": DATA | RUN | {"config", "model"},
    "stage_inputs": METRICS | {"config", "training", "eval"},
    "pipeline": METRICS | {"config", "training", "eval", "comparing", "serve", "report", "stage_inputs", "pair_inputs"},
    "character": MODEL | {"config", "pipeline"},
    "launch": ROLLOUT | {"config", "pipeline", "training"},
    "sweep": RUN | {"config", "launch", "training", "comparing", "report", "sweep"},
    "show": DATA | RUN | {"report", "eval", "metrics", "tasks", "serve", "plan", "config"},
    "cli": {"cli"},
    "cli.dispatch": {"errors", "run", "cli"},
    "cli.parsing": {"errors"},
    "cli.output": {"run"},
    "cli.model_options": {"errors", "model", "rollout", "serve", "cli"},
    "cli.option_help": {"config"},
    "cli.train": {"systems", "config", "model", "pipeline", "cli"},
    "cli.sweep": {"errors", "config", "sweep", "cli"},
    "cli.plan": {"errors", "config", "run", "plan", "cli"},
    "cli.evaluate": {"errors", "data", "run", "rollout", "eval", "serve", "report", "cli"},
    "cli.report": {"report", "cli"},
    "cli.compare": {"run", "labels", "comparing", "report", "cli"},
    "cli.chat": {"errors", "cards", "serve", "cli"},
    "cli.serve": {"errors", "serve", "page", "cli"},
    "cli.export": {"errors", "cards", "export", "cli"},
    "cli.measure": {"text", "model", "run", "metrics", "ratings", "eval", "tasks", "serve", "report", "cli"},
    "cli.benchmark": {"errors", "model", "run", "metrics", "tasks", "cli"},
    "cli.convai2": {"errors", "run", "metrics", "tasks", "cli"},
    "cli.card": {"errors", "cards", "cli"},
    "cli.character": {"errors", "config", "model", "character", "cli"},
    "cli.labels": {"data", "labels", "run", "cli"},
    "cli.data": {"errors", "systems", "types", "config", "data", "run", "cli"},
    "cli.base": {"model", "cli"},
    "__main__": {"cli"},
    "__init__": {"launch", "config", "types", "errors", "data", "model", "rollout", "training", "metrics", "run"},
}
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "shared"}
LONGEST, LONGEST_TEST = 320, 340
LONGEST_FUNCTION, MOST_ARGUMENTS = 60, 7
GIVEN = {"model/attention.py:matmul_attention", "model/vocabulary.py:forward"}
"""Functions whose arguments transformers and torch set."""


def imported(file: str, source: str | None = None) -> set[str]:
    """Modules of this package that a file imports anywhere, also inside functions, without `selfsame.` in front."""
    found: set[str] = set()
    package = ["selfsame", *Path(file).parts[:-1]]
    for node in ast.walk(ast.parse(source or (ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" if is_package(module) else module for alias in node.names}
    return {name.removeprefix("selfsame.") for name in found if name.startswith("selfsame.")}


def is_package(module: str) -> bool:
    return (ROOT.parent / module.replace(".", "/")).is_dir()


def room(module: str) -> str:
    return module.split(".")[0]


def dotted(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def settings_of_a_room(module: str) -> bool:
    return module.endswith(".settings")


def strangers(file: str, source: str | None = None) -> list[str]:
    """What a file imports and may not."""
    allowed = MAY_IMPORT.get(dotted(file), MAY_IMPORT[room(dotted(file))])
    own_settings_only = file.endswith("/settings.py")
    return sorted(
        module
        for module in imported(file, source)
        if (room(module) not in allowed and not (settings_of_a_room(module) and not file.startswith("report/")))
        or (own_settings_only and module not in GROUND)
    )


@pytest.mark.parametrize("file", FILES)
def test_imports_point_one_way(file):
    assert strangers(file) == []


@pytest.mark.parametrize(
    ("file", "line", "stranger"),
    [
        ("training/loop.py", "from selfsame.report.page import write_report", "report.page"),
        ("training/loop.py", "def f():\n    import selfsame.eval.evaluate", "eval.evaluate"),
        ("eval/evaluate.py", "from selfsame.training import loop", "training.loop"),
        ("eval/evaluate.py", "from ..training.loop import fit", "training.loop"),
        ("eval/evaluate.py", "from .. import pipeline", "pipeline"),
        ("report/page.py", "from selfsame.data.settings import DataSettings", "data.settings"),
        ("data/loader.py", "from selfsame import cli", "cli"),
        ("serve/chat.py", "from selfsame.cli.parsing import natural", "cli.parsing"),
        ("serve/api.py", "from selfsame.page.app import add_page", "page.app"),
        ("comparing/runs.py", "from selfsame.model.roles import Roles", "model.roles"),
        ("cli/parsing.py", "from selfsame.run.directory import write_json", "run.directory"),
        ("cli/chat.py", "def f():\n    from selfsame import pipeline", "pipeline"),
        ("cli/another.py", "from selfsame.eval.evaluate import evaluate_system", "eval.evaluate"),
        ("model/settings.py", "from selfsame.model.roles import Roles", "model.roles"),
        ("config.py", "from selfsame.data.loader import Dataset", "data.loader"),
    ],
)
def test_a_wrong_import_is_seen(file, line, stranger):
    assert strangers(file, line) == [stranger]


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The files of the first circle of imports; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_file_imports_itself_by_way_of_others():
    names = {file.removesuffix(".py").replace("/", "."): file for file in FILES}
    assert circles({name: imported(file) & names.keys() for name, file in names.items()}) == []
    assert {*circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})} == {"a", "b", "c"}


def test_every_room_has_a_rule_and_every_rule_a_room():
    modules = {dotted(file) for file in FILES}
    assert {room(module) for module in modules} == {rule for rule in MAY_IMPORT if "." not in rule}
    assert {rule for rule in MAY_IMPORT if "." in rule} <= modules
    assert imported("cli/train.py") >= {"pipeline", "model.parallel"}  # inside functions too


def test_the_command_line_needs_all_that_its_rules_allow():
    own = {rule: MAY_IMPORT[rule] for rule in MAY_IMPORT if rule.startswith("cli.")}
    used = {rule: {room(module) for module in imported(rule.replace(".", "/") + ".py")} for rule in own}
    assert used == own


def test_names_say_what_is_inside():
    assert [file for file in FILES if VAGUE & {part.removesuffix(".py") for part in Path(file).parts}] == []


def test_files_are_short():
    tests = Path(__file__).parent
    assert len(FILES) > 60
    for root, longest in ((ROOT, LONGEST), (tests, LONGEST_TEST)):
        lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in root.rglob("*.py")}
        assert {path: length for path, length in lengths.items() if length > longest} == {}


def functions(source: str) -> dict[str, tuple[int, int]]:
    """(lines, arguments but for self and cls) of each function of a file."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len(own) - (own[:1] in (["self"], ["cls"], ["ctx"]))
            found[node.name] = ((node.end_lineno or 0) - node.lineno + 1, count)
    return found


def test_functions_are_short_and_take_few_arguments():
    measured = {
        f"{file}:{name}": size
        for file in FILES
        for name, size in functions((ROOT / file).read_text(encoding="utf-8")).items()
    }
    assert len(measured) > 800
    assert {n: lines for n, (lines, _) in measured.items() if lines > LONGEST_FUNCTION} == {}
    assert {n for n, (_, count) in measured.items() if count > MOST_ARGUMENTS} <= GIVEN
    assert functions("class A:\n    def f(self, a, *, b):\n        pass\n") == {"f": (2, 2)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["compare", "--help"],
        ["serve", "--help"],
        ["--version"],
        ["run", "--preset", "none"],
    ],
)
def test_what_needs_no_model_imports_none(arguments):
    """Torch and its friends take seconds to import."""
    code = (
        "import json, sys\nfrom selfsame.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as done:\n    code = done.code\n"
        "print(json.dumps([code, sorted(name for name in sys.modules if '.' not in name)]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == (2 if "none" in arguments else 0)
    assert "argparse" in modules
    heavy = "torch transformers peft accelerate datasets matplotlib scipy numpy sacrebleu gradio fastapi uvicorn wandb".split()  # noqa: SIM905
    assert set(heavy).isdisjoint(modules)
