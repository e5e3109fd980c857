"""What the model can do so far: bits per byte of own turns, and the share of replies that draw on the persona."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from selfsame.eval.system import strangers

from base_model.settings import WatchSettings
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.settings import PairSettings
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.metrics.statistics import Bootstrap
from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.text.keywords import TraitMatcher
from selfsame.types import Dialogue


def watch(
    folder: Path, dialogues: Sequence[Dialogue], settings: WatchSettings, context: int, seed: int
) -> dict[str, float]:
    """`bits_per_byte`, `grounding` and `grounding_random` (against somebody else's persona) on dialogues set aside."""
    examples = [d.seen_by(speaker) for d in dialogues for speaker in (1, 2)]
    examples = [e for e in examples if e.persona and e.replies]
    roles = load_roles(ModelSettings(base=str(folder), max_length=min(512, context)), seed)
    bootstrap = Bootstrap(100, 0.95, seed)
    sides = random.Random(seed).sample(examples, min(settings.sides, len(examples)))
    bits = QualityEvaluator(bootstrap).compute_perplexity(roles, None, sides)["bits_per_byte"].value
    calls = PreferenceGenerator(examples, PairSettings(), seed).create_test_sets(settings.prompts, 1).consistency
    sampling = SamplingSettings()
    replies = RolloutEngine(roles, sampling.batch_size).reply(None, [item.prompt for item in calls], sampling, seed)
    evaluator = PersonaEvaluator(TraitMatcher([t for e in examples for t in (*e.persona, *e.turns)]), bootstrap)
    personas = [item.prompt.persona for item in calls]
    scores = {"grounding": personas, "grounding_random": strangers(personas, seed)}
    found = {name: bootstrap.share(evaluator.evaluate_grounding(held, replies)).value for name, held in scores.items()}
    return {"bits_per_byte": bits, **found}
