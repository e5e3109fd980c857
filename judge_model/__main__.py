"""`python -m judge_model`: how the judge in the package is made, step by step; see README.md here."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from selfsame.errors import SelfsameError

HERE = Path(__file__).parent
BUNDLED = HERE.parent / "src/selfsame/model/bundled/judge"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m judge_model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pairs = commands.add_parser("pairs", help="make the pairs: train.jsonl and the held-out sets")
    train = commands.add_parser("train", help="train on them; the same command again goes on")
    export = commands.add_parser("export", help="write the judge, with its accuracy on the held-out sets")
    for command in (pairs, export):
        command.add_argument("--data", type=Path, required=True, help="folder with the public dialogue sets")
    export.add_argument("--to", type=Path, default=BUNDLED, help="the folder")
    for command in (pairs, train, export):
        command.add_argument("--recipe", type=Path, default=HERE / "recipe.yaml", help="settings")
        command.add_argument("--work", type=Path, default=Path("runs/judge"), help="where everything is written")
    options = parser.parse_args()
    try:
        {"pairs": _pairs, "train": _train, "export": _export}[options.command](options)
    except SelfsameError as error:
        sys.exit(f"judge_model: {error}")
    except KeyboardInterrupt:
        sys.exit("judge_model: stopped; the same command goes on after the last checkpoint")


def _pairs(options: argparse.Namespace) -> None:
    from judge_model.corpus import prepare
    from judge_model.settings import load_recipe

    for name, count in prepare(options.data, options.work, load_recipe(options.recipe)).items():
        print(f"{name}: {count} pairs")


def _train(options: argparse.Namespace) -> None:
    from judge_model.settings import load_recipe
    from judge_model.train import train
    from selfsame.model import parallel

    parallel.start()
    try:
        train(load_recipe(options.recipe), options.work)
    finally:
        parallel.stop()


def _export(options: argparse.Namespace) -> None:
    from judge_model.settings import load_recipe
    from judge_model.train import export

    folder = options.work / "judge"
    record = export(load_recipe(options.recipe), options.work, options.data, folder)
    options.to.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        shutil.copy(file, options.to)
    for name, result in record["held_out"].items():
        print(f"{name}: {result['balanced_accuracy']['value']:.3f}")


if __name__ == "__main__":
    main()
