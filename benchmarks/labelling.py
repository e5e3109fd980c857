"""How many labels teach the reward model a taste? A rule plays the labeller, so that it is known what is right.

`python -m benchmarks.labelling --out FOLDER --json FILE` labels pairs of replies to prompts of the bundled
dialogues, by the rule that the reply which asks something back is better, trains a reward model on 50 and on 200 labels, and
counts how many of 200 others it ranks correctly. Labels go the way of people's: the file, `pairs.path`, the stage `reward`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from selfsame.cli import main as selfsame
from selfsame.data.loader import DatasetLoader
from selfsame.data.preferences import split_pairs
from selfsame.data.settings import DataSettings
from selfsame.labels.label import Label
from selfsame.labels.store import LabelStore
from selfsame.labels.votes import LABELLED
from selfsame.run.files import read_json, write_json
from selfsame.types import PreferencePair, Prompt

HELD_OUT = 200
SIZES = (50, 200)
SHARE = 0.5
"""Prompts that are held out, by hash, as `pairs.path` does it."""


def questions(seed: int) -> Iterator[tuple[Prompt, str, str]]:
    """A prompt, a reply that asks something back and one that does not: people's, of that place or of another."""
    rng = random.Random(seed)
    sites = [site for example in DatasetLoader().load().train for site in example.prompts()]
    asking = [reply for _, reply in sites if reply.endswith("?")]
    saying = [reply for _, reply in sites if "?" not in reply]
    rng.shuffle(sites)
    for prompt, reply in sites:
        if reply.endswith("?"):
            yield prompt, reply, rng.choice(saying)
        elif "?" not in reply:
            yield prompt, rng.choice(asking), reply


def label_all(store: LabelStore, size: int, seed: int) -> None:
    """Labels by the rule, so many to train on and `HELD_OUT` others. The better reply is shown first in half of them."""
    rng, left = random.Random(seed), [size, HELD_OUT]
    people = [side.persona for side in DatasetLoader(DataSettings(validation_share=SHARE)).load().validation]
    for prompt, asks, says in questions(seed):
        pair = PreferencePair(prompt, asks, says, LABELLED)
        part = int(bool(split_pairs([pair], people, SHARE)[1]))
        if left[part]:
            left[part] -= 1
            label = Label("rule", prompt, (asks, says), "first", ("people", "people"))
            store.add(label.turned() if rng.random() < 0.5 else label)


def measure(out: Path, base: str, options: list[str]) -> dict[str, float]:
    """The share of the held-out labels that is ranked correctly, by number of labels trained on."""
    common = ["--model.base", base, "--model.max-length", "384", "--data.validation-share", str(SHARE), *options]
    call(["sft", *common, "--run.directory", str(out / "sft")])
    found: dict[str, float] = {}
    for size in SIZES:
        store, run = LabelStore(out / f"{size}.sqlite"), out / f"reward-{size}"
        label_all(store, size, seed=1)
        pairs = ["--pairs.generated", "false", "--pairs.path", str(store.path)]
        pairs += ["--training.reward.sampled-share", "0", "--training.reward.comparison-share", "0"]  # labels alone
        call(["reward", *common, *pairs, "--run.start-from", str(out / "sft"), "--run.directory", str(run)])
        record = read_json(run / "reward.json")
        assert record["pairs"] == HELD_OUT, record
        found[str(size)] = record["metrics"]["accuracy/labelled"]
        print(f"{size} labels: {found[str(size)]:.3f} of {HELD_OUT} other labels ranked correctly", flush=True)
    return found


def call(arguments: list[str]) -> None:
    if code := selfsame(arguments):
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labelling", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for labels and runs")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--base", default="selfsame-9m", help="base model")
    options, more = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = measure(options.out, options.base, more)
    if options.json:
        write_json(
            options.json, {"base": options.base, "options": more, "held_out": HELD_OUT, "accuracy_by_labels": found}
        )


if __name__ == "__main__":
    main()
