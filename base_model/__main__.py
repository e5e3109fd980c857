"""`python -m base_model`: how the bundled base model is made, step by step; see README.md here."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from selfsame.errors import SelfsameError

HERE = Path(__file__).parent
WORK = Path("runs/base-model")
BUNDLED = HERE.parent / "src/selfsame/model/bundled"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m base_model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="data, tokenizer and pre-training; the same command again goes on")
    train.add_argument("--data", type=Path, help="folder with the public dialogue sets")
    export = commands.add_parser("export", help="copy the model of the last checkpoint")
    export.add_argument("--to", type=Path, default=BUNDLED, help="the folder")
    evaluate = commands.add_parser("evaluate", help="write the records that the model card is made of")
    evaluate.add_argument("--model", default=str(BUNDLED), help="the exported model")
    evaluate.add_argument("--data", type=Path, required=True, help="Synthetic-Persona-Chat: train and validation")
    evaluate.add_argument("--run", type=Path, required=True, help="run of `selfsame run` on the same data")
    card = commands.add_parser("card", help="write the model card from the records")
    card.add_argument("--to", type=Path, default=BUNDLED / "README.md", help="the file")
    for command in (train, export, evaluate, card):
        command.add_argument("--recipe", type=Path, default=HERE / "recipe.yaml", help="settings")
        command.add_argument("--work", type=Path, default=WORK, help="where the training is written")
        command.add_argument("--records", type=Path, default=HERE / "records", help="where the records are")
    options = parser.parse_args()
    try:
        {"train": _train, "export": _export, "evaluate": _evaluate, "card": _card}[options.command](options)
    except SelfsameError as error:
        sys.exit(f"base_model: {error}")
    except KeyboardInterrupt:
        sys.exit("base_model: stopped; the same command goes on after the last checkpoint")


def _train(options: argparse.Namespace) -> None:
    from base_model.corpus import prepare  # torch takes seconds: not before --help
    from base_model.settings import load_recipe
    from base_model.train import pretrain
    from selfsame.model import parallel

    recipe = load_recipe(options.recipe)
    parallel.start()
    try:
        if parallel.is_main():
            prepare(options.data, options.work, recipe.views.source_weights)
        parallel.barrier()
        pretrain(recipe, options.work)
    finally:
        parallel.stop()


def _export(options: argparse.Namespace) -> None:
    from selfsame.run.checkpoint import CheckpointManager

    checkpoint = CheckpointManager(options.work / "checkpoints").load()
    options.to.mkdir(parents=True, exist_ok=True)
    for file in sorted((checkpoint.path / "model").iterdir()):
        shutil.copy(file, options.to)
    print(f"step {checkpoint.step} -> {options.to}")


def _evaluate(options: argparse.Namespace) -> None:
    from base_model.evaluate import evaluate

    evaluate(options.model, options.work, options.data, options.run, options.records)


def _card(options: argparse.Namespace) -> None:
    from base_model.card import write_card
    from base_model.settings import load_recipe

    write_card(load_recipe(options.recipe), options.records, options.to)


if __name__ == "__main__":
    main()
