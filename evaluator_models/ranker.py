"""The ranker: which of two replies a person gave at this point of a dialogue. Pairs, training, export."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from base_model.bundle import reduce_role

from evaluator_models.corpus import CHATS, CONVAI2, SPC, chat_turns
from evaluator_models.evaluate import write_record
from evaluator_models.settings import Recipe
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.model.load import load_roles
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.ratings.ranker import RECENT, RECORD
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.environment import describe_environment
from selfsame.run.logger import RunLogger
from selfsame.text.keywords import words
from selfsame.training.comparisons import PairSampler, matcher_of
from selfsame.training.keeper import Record
from selfsame.training.reward import RewardTrainer
from selfsame.types import Example, PreferencePair, Prompt


def make_pairs(examples: Sequence[Example], count: int, seed: int) -> list[PreferencePair]:
    """What a person said against: a reply from another dialogue (`other`), another own turn of this one (`elsewhere`), the
    speaker's or the partner's last turn again (`echo`). Half of the prompts that have a persona lose it."""
    rng = random.Random(seed)
    sites = [(e, k) for e in examples for k in range(len(e.replies)) if len(words(e.replies[k])) > 1]
    pairs = []
    for example, k in rng.sample(sites, min(count, len(sites))):
        history = example.turns[max(0, 2 * k + 1 - RECENT) : 2 * k + 1]
        prompt = Prompt(example.persona if rng.random() < 0.5 else (), history)
        gold, (reason, rejected) = example.replies[k], _rejected(example, k, sites, rng)
        if words(rejected) and words(rejected) != words(gold):
            pairs.append(PreferencePair(prompt, gold, rejected, reason))
    return pairs


def _rejected(example: Example, k: int, sites: Sequence[tuple[Example, int]], rng: random.Random) -> tuple[str, str]:
    draw = rng.random()
    if draw < 0.35 and len(example.replies) > 2:
        return "elsewhere", example.replies[rng.choice([j for j in range(len(example.replies)) if j != k])]
    if draw < 0.5:
        said = example.turns[max(0, 2 * k - 1) : 2 * k + 1]
        return "echo", rng.choice(said)
    other, place = rng.choice(sites)
    return "other", other.replies[place]


def sides(dialogues: Iterator[list[str]], name: str) -> list[Example]:
    """Dialogues without personas, seen by whoever speaks second."""
    found = []
    for number, turns in enumerate(dialogues):
        even = tuple(turns[: len(turns) // 2 * 2])
        if len(even) > 3 and all(map(str.strip, even)):
            found.append(Example(f"{name}-{number}/2", (), (), even, (None,) * (len(even) // 2)))
    return found


def train(recipe: Recipe, work: Path, data: Path) -> None:
    """Trains on Synthetic-Persona-Chat and chats without personas, going on from the newest checkpoint. Replies that the
    base samples are among the rejected ones."""
    trainer = _trainer(recipe, work, data)
    trainer.train()


def _trainer(recipe: Recipe, work: Path, data: Path) -> RewardTrainer:
    dataset = DatasetLoader(DataSettings(path=str(data / SPC))).load()
    chats = [e for name in CHATS for e in sides(chat_turns(data / name), name)]
    pairs = make_pairs(dataset.train, recipe.ranker_pairs // 2, recipe.seed)
    pairs += make_pairs(chats, recipe.ranker_pairs // 2, recipe.seed + 1)
    random.Random(recipe.seed).shuffle(pairs)
    roles = _start(recipe)
    return RewardTrainer(
        roles, pairs=pairs, validation=make_pairs(dataset.validation, 400, recipe.seed + 2),
        settings=recipe.ranker, seed=recipe.seed, sampler=PairSampler(roles, recipe.ranker, recipe.seed, 40, matcher_of(pairs)),
        record=Record(CheckpointManager(work / "ranker"), RunLogger(RunDirectory(work)), 100, 200),
    )  # fmt: skip


def _start(recipe: Recipe) -> Roles:
    roles = load_roles(ModelSettings(base=BUNDLED, lora=recipe.lora), recipe.seed)
    roles.add("sft")  # as it is now, the base itself: what the rejected replies are sampled from
    return roles


def export(recipe: Recipe, work: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Writes the ranker of the last checkpoint: the adapter in half precision, its head, and `ranker.json` with its accuracy
    on people and chats that it was not trained on."""
    checkpoint = CheckpointManager(work / "ranker").load()
    roles = _start(recipe)
    roles.load("reward", checkpoint.path / "reward")
    roles.save("reward", folder)
    reduce_role(folder, BUNDLED)
    held = {
        "synthetic-persona-chat": DatasetLoader(DataSettings(path=str(data / SPC))).load().validation,
        "personachat": [d.seen_by(1) for d in DatasetLoader().read(data / CONVAI2, "personachat")[0]],
    }
    accuracy = {name: _accuracy(roles, recipe, examples) for name, examples in held.items()}
    lora = recipe.lora.model_dump(exclude_defaults=True)
    record = {"base": BUNDLED, "lora": lora, "held_out": accuracy, "environment": describe_environment()}
    write_record(folder / RECORD, record)
    return record


def _accuracy(roles: Roles, recipe: Recipe, examples: Sequence[Example]) -> dict[str, float]:
    """Share of held-out pairs ranked rightly (a tie counts half), by reason; `sampled`: against a reply of the base."""
    pairs = make_pairs(examples, 1000, recipe.seed + 3)
    prompts = [pair.prompt for pair in pairs]
    samples = RolloutEngine(roles).reply(None, prompts, SamplingSettings(), recipe.seed)
    scores = RewardModel(roles).score(prompts, [[p.chosen, p.rejected, s] for p, s in zip(pairs, samples, strict=True)])
    right: dict[str, list[float]] = {}
    for pair, (chosen, rejected, sampled) in zip(pairs, scores, strict=True):
        for reason, other in ((pair.reason, rejected), ("sampled", sampled)):
            right.setdefault(reason, []).append(float(chosen > other) + 0.5 * (chosen == other))
    return {reason: sum(values) / len(values) for reason, values in sorted(right.items())}
