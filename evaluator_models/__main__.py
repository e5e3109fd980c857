"""`python -m evaluator_models`: how judge, ranker and reader in the package are made, step by step; see README.md here."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from selfsame.errors import ConfigError, SelfsameError

HERE = Path(__file__).parent
BUNDLED = HERE.parent / "src/selfsame/model/bundled"
MODELS = ("judge", "ranker", "reader")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluator_models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pairs = commands.add_parser("pairs", help="make the judge's pairs: train.jsonl and the held-out sets")
    train = commands.add_parser("train", help="train one; the same command again goes on")
    export = commands.add_parser("export", help="write one, with its accuracy on held-out rows")
    for command in (train, export):
        command.add_argument("model", choices=MODELS)
    export.add_argument("--to", type=Path, default=BUNDLED, help="folder, in which it gets one of its name")
    export.add_argument(
        "--weights", type=Path, help="measure the judge in this folder, not that of the last checkpoint"
    )
    for command in (pairs, train, export):
        command.add_argument("--data", type=Path, required=True, help="folder with the public dialogue sets")
        command.add_argument("--recipe", type=Path, default=HERE / "recipe.yaml", help="settings")
        command.add_argument("--work", type=Path, default=Path("runs/evaluators"), help="where everything is written")
    table = commands.add_parser("table", help="print what both score, from their records")
    table.add_argument("--models", type=Path, default=BUNDLED, help="folder with both")
    table.add_argument("--readme", type=Path, help="file that the tables are written into, too")
    options = parser.parse_args()
    try:
        {"pairs": _pairs, "train": _train, "export": _export, "table": _table}[options.command](options)
    except SelfsameError as error:
        sys.exit(f"evaluator_models: {error}")
    except KeyboardInterrupt:
        sys.exit("evaluator_models: stopped; the same command goes on after the last checkpoint")


def _pairs(options: argparse.Namespace) -> None:
    from evaluator_models.corpus import prepare
    from evaluator_models.settings import load_recipe

    for name, count in prepare(options.data, options.work, load_recipe(options.recipe)).items():
        print(f"{name}: {count} pairs")


def _train(options: argparse.Namespace) -> None:
    from evaluator_models import judge, ranker, reader
    from evaluator_models.settings import load_recipe
    from selfsame.model import parallel

    parallel.start()
    try:
        {"judge": judge, "ranker": ranker, "reader": reader}[options.model].train(
            load_recipe(options.recipe), options.work, options.data
        )
    finally:
        parallel.stop()


def _export(options: argparse.Namespace) -> None:
    from evaluator_models import judge, ranker, reader
    from evaluator_models.settings import load_recipe

    folder, recipe = options.work / "export" / options.model, load_recipe(options.recipe)
    if options.model == "judge":
        record = judge.export(recipe, options.work, folder, options.weights)
    elif options.weights:
        raise ConfigError("--weights is for the judge: ranker and reader are written from their checkpoints")
    else:
        record = {"ranker": ranker, "reader": reader}[options.model].export(recipe, options.work, options.data, folder)
    target = options.to / options.model
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        shutil.copy(file, target)
    print(json.dumps(record["held_out"], indent=1))


def _table(options: argparse.Namespace) -> None:
    from evaluator_models.table import markdown
    from selfsame.report.tables import update_readme

    text = markdown(options.models)
    print(text)
    if options.readme:
        update_readme(options.readme, "evaluators", text)


if __name__ == "__main__":
    main()
