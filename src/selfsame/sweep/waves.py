"""Which runs of a sweep train when.

Stages that several runs share are trained by the first of them. The others start from it (`run.start_from`), with its
evaluations of the base and of SFT.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsame.config import Config, merge_configs
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory
from selfsame.run.files import dotted
from selfsame.run.inherit import DEPENDS_ON
from selfsame.run.settings import is_free
from selfsame.sweep.grid import Variant


@dataclass(frozen=True)
class Job:
    """Some stages of one run.

    Attributes:
        variant: the run.
        stages: what it does now.
        source: name of the run that it starts from, if it is one of this sweep.
    """

    variant: Variant
    stages: tuple[str, ...]
    source: str | None = None

    def config(self, folder: Path) -> Config:
        """All settings of the job; `folder`: of the sweep."""
        run: dict[str, object] = {"directory": str(folder / self.variant.name), "stages": self.stages}
        if self.source is not None:
            run["start_from"] = str(folder / self.source)
        return merge_configs(self.variant.config, {"run": run})

    @property
    def key(self) -> str:
        """Tell it from the other jobs of a sweep."""
        return f"{self.variant.name}: {' '.join(self.stages)}"


def make_waves(folder: Path, variants: Sequence[Variant]) -> list[list[Job]]:
    """Order the jobs: those of a wave need nothing of each other, and everything of the waves before.

    Args:
        folder: of the sweep; a run there that has trained a shared stage stays its source.
        variants: the runs.
    """
    settings = variants[0].config.run
    shared = [stage for stage in DEPENDS_ON if stage in settings.stages]
    if not shared and settings.start_from:
        shared = ["reward"]  # both stages come from another run; what is shared is the evaluation of base and SFT
    sources: dict[str, str] = {}
    waves: list[list[Job]] = []
    for number, stage in enumerate(shared, 1):
        groups = _groups(variants, stage)
        if any(_groups(variants, later) == groups for later in shared[number:]):
            continue  # the later stage is trained by the same runs, at once with this one
        stages = tuple(s for s in settings.stages if s in shared[:number] or (s == "evaluate" and not settings.systems))
        if not stages:
            continue
        wave = []
        for group in groups:
            first = next((v for v in group if finished(RunDirectory(folder / v.name), stage)), group[0])
            if len(group) > 1:
                wave.append(Job(first, stages, sources.get(first.name)))
            sources |= {other.name: first.name for other in group if other is not first}
        waves.append(wave)
    whole = [Job(variant, settings.stages, sources.get(variant.name)) for variant in variants]
    return [wave for wave in [*waves, whole] if wave]


def _groups(variants: Sequence[Variant], stage: str) -> list[list[Variant]]:
    """The runs that have this stage in common."""
    groups: dict[str, list[Variant]] = {}
    for variant in variants:
        flat = dotted(variant.config.model_dump(mode="json"))
        behind = {
            key: value for key, value in flat.items()
            if not is_free(key) and any(key == name or key.startswith(f"{name}.") for name in DEPENDS_ON[stage])
        }  # fmt: skip
        groups.setdefault(json.dumps(behind, sort_keys=True), []).append(variant)
    return [*groups.values()]
