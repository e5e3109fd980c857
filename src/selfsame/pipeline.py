"""All stages of a run, in order: data, base, SFT, preference pairs, reward model, PPO or DPO, evaluation, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsame.config import Config, config_hash, load_config
from selfsame.data.generator import PreferenceGenerator
from selfsame.data.loader import Dataset, DatasetLoader, write_rejects
from selfsame.errors import ConfigError, DataError, RunError
from selfsame.eval.system import evaluate_system
from selfsame.model import parallel
from selfsame.model.roles import Roles, load_roles
from selfsame.model.settings import ModelSettings
from selfsame.model.standin import make_stand_in
from selfsame.report.page import write_report
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory, read_json, write_json
from selfsame.run.logger import RunLogger, say
from selfsame.run.metrics import MetricsTracker
from selfsame.training.dpo import DPOTrainer
from selfsame.training.loop import Record
from selfsame.training.ppo import PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.sft import SFTTrainer

ROLE_OF = {"base": None, "sft": "sft", "ppo": "policy", "dpo": "policy"}
"""Which role speaks for each evaluated system."""


def run_directory(config: Config, name: str) -> Path:
    """Where the run goes: the one given, or `runs/<name>-<hash of the configuration>`, so that the same command resumes."""
    return Path(config.run.directory or f"runs/{name}-{config_hash(config)}")


def run(config: Config, name: str = "run") -> RunDirectory:
    """Does the stages of the configuration that are not done yet and writes the report.

    Raises:
        SelfsameError: see the stages.
        KeyboardInterrupt: Ctrl-C, after saving.
    """
    parallel.start()
    path = run_directory(config, name)
    if parallel.is_main():
        RunDirectory.create(path, config.model_dump(mode="json"), free=("run",))
    parallel.barrier()
    directory = RunDirectory.open(path)
    if not parallel.is_main():
        _Pipeline(config, directory).go()
        return directory
    with directory.lock():
        directory.write_environment()
        _Pipeline(config, directory).go()
        write_report(directory.path)
    return directory


class _Pipeline:
    """One pass over the stages. What several stages need is made once, when first needed."""

    def __init__(self, config: Config, directory: RunDirectory) -> None:
        self.config, self.directory = config, directory
        self.tracker = MetricsTracker(config.run.gpu_hourly_rate, config.run.storage_cost_per_gb)
        if (directory.path / "timing.json").exists():
            self.tracker.from_dict(read_json(directory.path / "timing.json"))

    def go(self) -> None:
        config = self.config
        main = parallel.is_main()
        self.logger = RunLogger(self.directory, config.run.trackers, config.model_dump(mode="json"), enabled=main)
        try:
            with self._timed("data"):
                self.data = self._load_data()
            with self._timed("base"):
                self.roles = self._load_base()
            self.train_pairs = PreferenceGenerator(self.data.train, config.pairs, config.seed)
            self.held_out = PreferenceGenerator(self.data.validation or self.data.train, config.pairs, config.seed + 1)
            for stage in config.run.stages:
                with self._timed(stage):
                    getattr(self, f"_{stage}")()
        finally:
            self.logger.close()

    # --- stages -----------------------------------------------------------------------------------------------------

    def _sft(self) -> None:
        config = self.config
        SFTTrainer(
            self.roles,
            train=self.data.train,
            validation=self.data.validation,
            settings=config.training.sft,
            seed=config.seed,
            record=self._record("sft"),
        ).train()

    def _reward(self) -> None:
        config, trainer = self.config, self._reward_trainer()
        trainer.train()
        if parallel.is_main():
            accuracy = trainer.evaluate_ranking_accuracy(trainer.validation)
            write_json(
                self.directory.path / "reward.json",
                {"pairs": len(trainer.validation), "metrics": accuracy, "seed": config.seed},
            )

    def _ppo(self) -> None:
        config = self.config
        self._need("sft", "reward")
        prompts = self.train_pairs.extract_prompts(config.training.ppo.steps * config.training.ppo.prompts_per_step)
        PPOTrainer(
            self.roles, prompts=prompts, settings=config.training.ppo, seed=config.seed, record=self._record("ppo")
        ).train()

    def _dpo(self) -> None:
        config = self.config
        self._need("sft")
        pairs, held_out = self._pairs()
        DPOTrainer(
            self.roles,
            pairs=pairs,
            validation=held_out,
            settings=config.training.dpo,
            seed=config.seed,
            record=self._record("dpo"),
        ).train()

    def _evaluate(self) -> None:
        """Evaluates the base and every stage that is finished, each once for a state of its weights."""
        config = self.config
        if not self.data.validation:
            raise DataError(
                f"{config.data.path} leaves no held-out persona to evaluate on: add dialogues of more people"
            )
        for system, role in ROLE_OF.items():
            mark = None
            if role is not None:
                checkpoint = finished(self.directory, system)
                if checkpoint is None:
                    continue
                self.roles.load(role, checkpoint / role)
                mark = checkpoint.name
            path = self.directory.eval_path(system)
            if path.exists() and (known := read_json(path)).get("checkpoint") == mark and known.get("items"):
                continue
            result = evaluate_system(
                self.roles,
                role,
                self.data.validation,
                self.held_out,
                config.evaluation,
                config.sampling,
                config.seed,
                system,
            )
            if parallel.is_main():
                write_json(path, {**result, "checkpoint": mark})

    # --- what they need ---------------------------------------------------------------------------------------------

    def _load_data(self) -> Dataset:
        data = DatasetLoader(self.config.data).load()
        if parallel.is_main():
            write_rejects(data.rejected, self.directory.rejects_path)
            write_json(
                self.directory.data_path,
                {"summary": data.summary(), "rejected": len(data.rejected), "removed": data.removed},
            )
            say(data.summary())
        return data

    def _load_base(self) -> Roles:
        settings = self.config.model
        if settings.base == "stand-in":
            if parallel.is_main():
                make_stand_in(
                    self.directory.path / "base",
                    self.data.train,
                    self.config.stand_in,
                    settings.max_length,
                    self.config.seed,
                )
            parallel.barrier()
        return load_roles(resolved_model(self.config, self.directory), self.config.seed)

    def _pairs(self) -> tuple[list[Any], list[Any]]:
        config = self.config.pairs
        return self.train_pairs.generate_pairs(config.count), self.held_out.generate_pairs(config.validation_count)

    def _reward_trainer(self) -> RewardTrainer:
        self._need("sft")
        pairs, held_out = self._pairs()
        config = self.config
        return RewardTrainer(
            self.roles,
            pairs=pairs,
            validation=held_out,
            settings=config.training.reward,
            seed=config.seed,
            record=self._record("reward"),
        )

    def _need(self, *stages: str) -> None:
        """Loads the roles of finished earlier stages that are not in memory."""
        for stage in stages:
            if stage in self.roles.names:
                continue
            checkpoint = finished(self.directory, stage)
            if checkpoint is None:
                raise RunError(
                    f"the stage {stage} of {self.directory.path} is not finished:"
                    f" run it first (`selfsame {stage}` with the same options)"
                )
            self.roles.load(stage, checkpoint / stage)

    def _record(self, stage: str) -> Record:
        settings = self.config.run
        return Record(
            CheckpointManager(self.directory.checkpoints(stage), settings.keep),
            self.logger,
            settings.save_every,
            settings.samples_every,
        )

    def _timed(self, name: str) -> Any:
        return _Timed(self.tracker, self.directory, name)


@dataclass
class _Timed:
    """Times a block and stores the sums so far, also when it is interrupted."""

    tracker: MetricsTracker
    directory: RunDirectory
    name: str

    def __enter__(self) -> None:
        self.tracker.start_timing(self.name)

    def __exit__(self, *_: Any) -> None:
        self.tracker.stop_timing(self.name)
        if parallel.is_main():
            write_json(self.directory.path / "timing.json", self.tracker.to_dict())
            write_json(self.directory.cost_path, self.tracker.track_cost(self.directory.path))


def resolved_model(config: Config, directory: RunDirectory) -> ModelSettings:
    """The model settings with the stand-in's folder filled in."""
    base = str(directory.path / "base") if config.model.base == "stand-in" else config.model.base
    return config.model.model_copy(update={"base": base})


def finished(directory: RunDirectory, stage: str) -> Path | None:
    """The last checkpoint of a stage that is done, else None."""
    path = CheckpointManager(directory.checkpoints(stage)).latest()
    return path if path is not None and read_json(path / "state.json")["done"] else None


@dataclass
class Chatbot:
    """A model that can speak: roles, and the role that speaks (None: the base)."""

    roles: Roles
    role: str | None
    config: Config
    name: str


def load_chatbot(name: str, system: str | None = None) -> Chatbot:
    """The best finished system of a run (ppo, dpo, sft, in this order, or the one named), a saved adapter, or any model.

    Raises:
        SelfsameError: there is no such run, stage or model.
    """
    path = Path(name)
    if (path / "config.yaml").is_file():
        return _from_run(RunDirectory.open(path), system)
    if system is not None:
        raise ConfigError(f"{name} is not a run: leave out the system {system!r}")
    if (path / "adapter_config.json").is_file():
        return _from_adapter(path)
    config = load_config(values={"model": {"base": name}})
    return Chatbot(load_roles(_fitting(config.model)), None, config, name)


def _from_run(directory: RunDirectory, system: str | None) -> Chatbot:
    config = load_config(directory.config_path)
    wanted: Sequence[str] = ("ppo", "dpo", "sft", "base") if system is None else (system,)
    for stage in wanted:
        if stage not in ROLE_OF:
            raise ConfigError(f"unknown system {stage!r}: choose {', '.join(ROLE_OF)}")
        role = ROLE_OF[stage]
        checkpoint = finished(directory, stage) if role is not None else None
        if checkpoint is not None or role is None:
            roles = load_roles(resolved_model(config, directory))
            if checkpoint is not None and role is not None:
                roles.load(role, checkpoint / role)
            return Chatbot(roles, role, config, f"{directory.path.name} ({stage})")
    raise RunError(f"{directory.path} has no finished stage {system}: run it first")


def _from_adapter(path: Path) -> Chatbot:
    saved = read_json(path / "adapter_config.json")
    lora = {"rank": saved["r"], "alpha": saved["lora_alpha"], "targets": sorted(saved["target_modules"])}
    config = load_config(values={"model": {"base": saved["base_model_name_or_path"], "lora": lora}})
    roles = load_roles(_fitting(config.model))
    roles.load("policy", path)
    return Chatbot(roles, "policy", config, path.name)


def _fitting(settings: ModelSettings) -> ModelSettings:
    """The settings with a context no longer than the model's own."""
    from transformers import AutoConfig

    from selfsame.model.base import context_length, explained

    with explained(settings.base):
        context = context_length(AutoConfig.from_pretrained(settings.base))
    return settings.model_copy(update={"max_length": min(settings.max_length, context or settings.max_length)})


def evaluate_model(name: str, data_path: str | None, system: str | None, seed: int | None) -> dict[str, Any]:
    """Evaluates a run's system, an adapter or a model on the held-out personas of `data_path` (None: of the run's data)."""
    bot = load_chatbot(name, system)
    config = bot.config
    settings = (
        config.data
        if data_path is None
        else config.data.model_copy(update={"path": data_path, "format": "auto", "limit": None})
    )
    seed = config.seed if seed is None else seed
    data = DatasetLoader(settings).load()
    if not data.validation:
        raise DataError(f"{settings.path} leaves no held-out persona to evaluate on: add dialogues of more people")
    generator = PreferenceGenerator(data.validation, config.pairs, seed)
    return evaluate_system(
        bot.roles, bot.role, data.validation, generator, config.evaluation, config.sampling, seed, bot.name
    )
