"""Inputs of a run's stages besides their settings: its directory and its base.

They also say who watches PPO, what makes sense to its reward, and whether the reward model can be trusted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfsame.config import Config, get_default_config
from selfsame.data.loader import Dataset, half
from selfsame.data.pairs import HELD_OUT, PreferenceGenerator
from selfsame.data.processor import DataProcessor
from selfsame.errors import DataError, RunError
from selfsame.eval.during_training import PolicyEvaluation
from selfsame.eval.evaluate import sense_of
from selfsame.metrics.judge import load_judge
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.reader import Reader
from selfsame.metrics.sense import SenseEvaluator
from selfsame.model import parallel
from selfsame.model.load import load_roles
from selfsame.model.roles import Roles
from selfsame.model.run_base import settle_base
from selfsame.run.directory import RunDirectory, locate_run
from selfsame.run.inherit import inherit
from selfsame.run.logger import say
from selfsame.run.records import EvaluationRecord, RewardRecord, read_record
from selfsame.run.settings import FREE
from selfsame.systems import SYSTEMS, Stage
from selfsame.text.functions import digests, load_functions
from selfsame.text.keywords import TraitMatcher
from selfsame.training.rewards import Sense
from selfsame.types import Answer, Example, Prompt

SENSE_TURNS = 200
"""Turns of the training part on which the reward's bounds of sense are set."""
CHANCE = 0.5


def make_directory(config: Config, path: Path, moved: Sequence[str], dtype: str) -> None:
    """Makes the directory of a run, or comes back to it, and copies the stages of the run that it starts from.

    Args:
        config: of the run.
        path: the directory.
        moved: settings that may be others than stored, since they mean the same.
        dtype: number format of the base.

    Raises:
        SelfsameError: the directory holds another run, or the other run has nothing to start from.
    """
    now, usual = (c.model_dump(mode="json") for c in (config, get_default_config()))
    made, source = RunDirectory.create(path, now, (*FREE, *moved), usual), config.run.start_from
    if source is not None:
        _, same = settle_base(config.model, RunDirectory(locate_run(source)))
        inherit(made, source, now, config.run.stages, dtype, usual, same)


def load_base(config: Config) -> Roles:
    """The base that all stages train roles on, with a line on its prompts where they are not what one might expect.

    Raises:
        ConfigError: it cannot be used.
    """
    say(f"loading the base model {config.model.base}", parallel.is_main())
    roles = load_roles(config.model, config.seed)
    if roles.processor.note:
        say(roles.processor.note, parallel.is_main())
    return roles


def those_that_fit(config: Config, data: Dataset, processor: DataProcessor) -> Dataset:
    """The data without the sides whose persona takes more than half of the context, or none of whose replies fits.

    Raises:
        DataError: no side of the training part is left.
    """
    parts = {"train": data.train, "validation": data.validation}
    kept = {name: [side for side in part if processor.fits_example(side)] for name, part in parts.items()}
    known = {side.id for part in kept.values() for side in part}
    long = [side for part in parts.values() for side in part if side.id not in known]
    if not kept["train"]:
        raise DataError(
            f"no side of {config.data.path} fits into the context: {_too_long(config, data.train, processor)}"
        )
    if long:
        say(f"left out, {len(long)} sides: {_too_long(config, long, processor)}", parallel.is_main())
    return replace(data, **kept)


def _too_long(config: Config, sides: Sequence[Example], processor: DataProcessor) -> str:
    """Which sides are too long, and the context that would hold them."""
    personas = {side.id: len(processor.header_ids(Prompt(side.persona))) for side in sides}
    exchange = {
        side.id: min(
            len(processor.header_ids(Prompt(side.persona, (asked,)))) + len(processor.encode_reply(f"{asked} {reply}"))
            for asked, reply in zip(side.turns[::2], side.turns[1::2], strict=True)
        )
        for side in sides
    }
    wanted = {side.id: max(2 * personas[side.id], exchange[side.id]) for side in sides}
    shown = ", ".join(f"{id} ({personas[id]} tokens of persona)" for id in list(wanted)[:3])
    more = f" and {len(wanted) - 3} more" if len(wanted) > 3 else ""
    least = 64 * math.ceil((max(wanted.values()) + 16) / 64)
    return (
        f"{shown}{more}. The persona may take half of model.max_length ({config.model.max_length}), and one turn with its"
        f" reply the rest: --model.max-length {least} holds them all, if the base reads so many tokens"
    )


def held_out_people(config: Config, data: Dataset) -> list[Example]:
    """The held-out sides that are evaluated on; none where nothing is held out.

    Raises:
        DataError: somebody is held out, but nobody in the half that is to be evaluated on.
    """
    which = config.evaluation.split
    people = half(data.validation, which)
    if not people and data.validation and "evaluate" in config.run.stages:
        raise DataError(
            f"{config.data.path} has no held-out person in the half that is evaluated on (evaluation.split {which}):"
            " set --evaluation.split all, or add dialogues of more people"
        )
    return people


def possible_stages(config: Config, data: Dataset, people: Sequence[Example]) -> list[Stage]:
    """The stages of the configuration, without the evaluation where nothing was held out.

    Raises:
        DataError: no stage is left.
    """
    stages = list(config.run.stages)
    if people or "evaluate" not in stages:
        return stages
    if stages == ["evaluate"]:
        raise DataError(f"{config.data.path}: nothing is held out to evaluate on; {'; '.join(data.notes)}")
    say("nothing is held out: the run ends without an evaluation", parallel.is_main())
    return [stage for stage in stages if stage != "evaluate"]


def gold_traits_of(matcher: TraitMatcher, item: Answer) -> tuple[int, ...] | None:
    """The traits that a prompt calls for, by the matcher that replies are held against; where it sees none and the data says
    that there are some, they are not known."""
    return matcher.drawn(item.prompt.persona, item.reply) or (None if item.gold_traits else ())


def policy_evaluation(config: Config, validation: Sequence[Example]) -> PolicyEvaluation | None:
    """A look at the held-out people on whom settings are chosen; None where no prompt calls for the persona."""
    people = half(validation, "all" if config.evaluation.split == "all" else "dev")
    size = config.training.ppo.eval_size
    tests = PreferenceGenerator(people, config.pairs, HELD_OUT + 1).create_test_sets(size, size)
    if not tests.consistency:
        return None
    say("ppo: preparing the evaluation during training", parallel.is_main())
    evaluator = PersonaEvaluator(TraitMatcher.of(people), judge=load_judge(config.evaluation.judge))
    sides = random.Random(HELD_OUT + 1).sample(people, min(size, len(people)))
    sense = sense_of(
        config.evaluation.model,
        people,
        [*tests.consistency, *tests.engagement],
        config.seed,
        evaluator.matcher.language,
    )
    return PolicyEvaluation(tests.consistency, tests.engagement, sides, evaluator, config.sampling, config.seed, sense)


def reward_sense(config: Config, roles: Roles, pairs: PreferenceGenerator) -> Sense | None:
    """Which replies make sense to the frozen SFT role, by bounds set on people of the training part; None where that costs
    nothing. Evaluation reads with another model: what judges is not what pays."""
    weights = config.training.ppo.rewards
    if not (weights.malformed or weights.no_answer):
        return None
    turns = [(item.prompt.history, item.reply) for item in pairs.extract_items(SENSE_TURNS, 0.5)]
    say(f"ppo: reading {len(turns)} human turns to learn what makes sense", parallel.is_main())
    reader = Reader(roles, "sft", "sft", remember=False)
    evaluator = SenseEvaluator(reader, turns, config.seed, pairs.matcher.language, others=False)
    say(f"reward: {evaluator.bounds.line()}", parallel.is_main())

    def sense(prompts: Sequence[Prompt], replies: Sequence[str]) -> Mapping[str, Sequence[float]]:
        return evaluator.evaluate([prompt.history for prompt in prompts], replies)

    return sense


def accuracy_table(metrics: Mapping[str, Any]) -> str:
    """How many held-out pairs of each kind the reward model ranks correctly, a line each; what is below chance says so."""
    kinds = {name.partition("/")[2] or "all pairs": value for name, value in metrics.items() if value is not None}
    width = max(map(len, kinds), default=0)
    lines = [
        f"  {kind:<{width}}  {value:.2f}{'  below chance' if value < CHANCE else ''}" for kind, value in kinds.items()
    ]
    return "\n".join(["reward: accuracy on held-out pairs, by kind of the rejected reply", *lines])


def _surely_below(accuracy: float, pairs: int) -> bool:
    """Whether so many pairs, ranked so often correctly, leave no doubt (95 %, Wilson 1927) that it is less than chance."""
    from scipy.stats import binomtest

    return binomtest(round(accuracy * pairs), pairs).proportion_ci(0.95, "wilson").high < CHANCE


def distrusted_kinds(directory: RunDirectory) -> tuple[str, ...]:
    """Kinds of held-out pairs that the reward model ranks below chance, said in one line. None where nothing was measured.

    Raises:
        RunError: it ranks all pairs together below chance, beyond doubt: PPO would climb a broken reward.
    """
    path = directory.path / "reward.json"
    record = read_record(path, RewardRecord) if path.exists() else RewardRecord(pairs=0, metrics={})
    metrics = record.metrics
    below = [name for name, value in metrics.items() if value is not None and value < CHANCE]
    accuracy = metrics.get("accuracy")
    if accuracy is not None and accuracy < CHANCE and _surely_below(accuracy, record.pairs):
        raise RunError(
            f"the reward model ranks {accuracy:.2f} of the held-out pairs correctly, less than chance: PPO would"
            " climb a broken reward. Train it longer (--training.reward.epochs) or on more pairs (--pairs.count)"
        )
    kinds = tuple(name.partition("/")[2] for name in below if "/" in name)
    if kinds:
        say(f"reward: not paid out for {', '.join(kinds)}, which it ranks below chance", parallel.is_main())
    return kinds


def check_functions(config: Config) -> None:
    """Load the user's functions, so that a mistake in one is known before anything is trained.

    Raises:
        ConfigError: one cannot be loaded, or two have the same label.
    """
    load_functions(config.evaluation.functions)
    load_functions([*config.training.ppo.rewards.functions])


def functions_behind(config: Config, system: str) -> dict[str, str]:
    """Hashes of the user's functions that the evaluation of a system rests on."""
    chosen = config.training.ppo.rewards.functions if SYSTEMS[system].best_of_n else {}
    return digests([*config.evaluation.functions, *chosen])


def is_evaluated(config: Config, directory: RunDirectory, system: str, checkpoint: Path | None) -> bool:
    """Whether there is a record of these weights, measured with the same functions. `checkpoint`: of the system's stage; None:
    the base."""
    path, mark = directory.eval_path(system), checkpoint.name if checkpoint else None
    try:
        known = read_record(path, EvaluationRecord) if path.exists() else None
    except RunError:  # damaged: it is measured again
        return False
    if known is None or not known.items or known.checkpoint != mark:
        return False
    return known.settings.get("functions", {}) == functions_behind(config, system)
