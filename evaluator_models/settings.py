"""Everything that judge, ranker and reader depend on besides the data: `recipe.yaml` holds the values they were made with."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from selfsame.config import read_yaml
from selfsame.errors import ConfigError
from selfsame.model.settings import BUNDLED, LoraSettings
from selfsame.settings import Settings
from selfsame.training.settings import OptimiserSettings, RewardSettings, SFTSettings

WHAT = {
    "decode_turns": "DECODE's contradictions, and two turns of one speaker of ConvAI2's validation part",
    "decode_crossed": "the same, and turns of two different DECODE pairs",
    "decode_near": "the same, and turns of two DECODE pairs with a content word in common",
    "prosecco": "debates: self-contradiction or not",
    "persona": "unseen people: a trait and a reply that our own rules edited to deny it, is of another trait, or draws on it",
}
"""The held-out sets."""


class JudgeSettings(OptimiserSettings):
    """The judge of contradictions, trained on labelled pairs of sentences."""

    eval_every: int = Field(default=200, ge=1)
    """Steps between evaluations on held-out pairs; the last step is always evaluated."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Largest number of steps; none: no limit."""
    batch_size: int = Field(default=64, ge=1)
    """Pairs per step."""


class PairCounts(Settings):
    """Training pairs of each kind, at most; `corpus.py` says what they are."""

    decode: int = Field(default=40_000, ge=0)
    denied: int = Field(default=8_000, ge=0)
    prosecco: int = Field(default=700, ge=0)
    crossed: int = Field(default=40_000, ge=0)
    near: int = Field(default=2_000, ge=0)
    turns: int = Field(default=24_000, ge=0)
    traits: int = Field(default=3_000, ge=0)
    drawn: int = Field(default=9_000, ge=0)
    part: int = Field(default=3_000, ge=0)


class Recipe(Settings):
    """Judge, ranker and reader."""

    seed: int = 0
    base: str = BUNDLED
    """Base model of both, by the name that `model.base` takes."""
    save_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""
    pairs: PairCounts = PairCounts()
    held_out_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the groups of connected DECODE pairs that are not trained on (of ProSeCCo's: half)."""
    plain_share: float = Field(default=0.4, ge=0, le=1)
    """Share of the pairs that are lower-cased and split into words as PersonaChat is."""
    held_out_size: int = Field(default=2000, ge=10)
    """Pairs of each label in a held-out set, at most."""
    threshold_replies: int = Field(default=2000, ge=20)
    """Replies of people that the judge's threshold is set on."""
    lora: LoraSettings = LoraSettings(rank=32, alpha=64)
    training: JudgeSettings = JudgeSettings()
    """Of the judge."""
    ranker_pairs: int = Field(default=24_000, ge=10)
    """Pairs of replies that the ranker is trained on."""
    ranker: RewardSettings = RewardSettings()
    """Training of the ranker."""
    reader_base: str = "smollm2-135m"
    reader_seed: int = 101
    """Unlike that of any run, so that a reader never is the model that it reads."""
    reader_lora: LoraSettings = LoraSettings(rank=8, alpha=16, layers=10)
    reader: SFTSettings = SFTSettings(batch_size=8, max_steps=70, learning_rate=1e-3)
    """Training of the reader."""


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ConfigError: it is empty, or a value cannot be.
    """
    content = read_yaml(path)
    if not content:
        raise ConfigError(f"{path} is empty: an empty recipe would silently be all defaults")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e.get('input')!r})" for e in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from error
