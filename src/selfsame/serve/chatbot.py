"""What can speak: a system of a run, a saved adapter, or any model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from selfsame.config import Config, load_config
from selfsame.errors import ConfigError, RunError
from selfsame.model.base import context_length, explained, locate_model
from selfsame.model.roles import HEAD_FILE, Roles, load_roles
from selfsame.model.settings import ModelSettings
from selfsame.run.checkpoint import finished
from selfsame.run.directory import BUNDLED_RUNS, RunDirectory, locate_run, read_json
from selfsame.run.settings import RunSettings

ROLE_OF = {"base": None, "sft": "sft", "ppo": "policy", "dpo": "policy"}
"""Which role speaks for each evaluated system."""
BEST_OF = {"sft_best_of_n": "sft", "ppo_best_of_n": "ppo"}
"""Systems that give the reward model's best of several replies, and whose replies those are."""


def stages_behind(system: str) -> set[str]:
    """The stages that a system needs."""
    return {BEST_OF[system], "reward"} if system in BEST_OF else {system} - {"base"}


def roles_behind(system: str) -> set[str]:
    """The roles that a system consists of."""
    role = ROLE_OF[BEST_OF.get(system, system)]
    return ({role} if role else set()) | ({"reward"} if system in BEST_OF else set())


def finished_stages(directory: RunDirectory) -> dict[str, Path]:
    """The last checkpoint of each stage of training that is finished."""
    stages = [stage for stage, role in ROLE_OF.items() if role is not None]
    return {stage: found for stage in (*stages, "reward") if (found := finished(directory, stage))}


def check_systems(settings: RunSettings, directory: RunDirectory) -> None:
    """Raises RunError where a named system needs a stage that is neither finished nor to be done before `evaluate`: told before
    any is done."""
    if not settings.systems or "evaluate" not in settings.stages:
        return
    ready = {*settings.stages[: settings.stages.index("evaluate")], *finished_stages(directory)}
    for system in settings.systems:
        if missing := sorted(stages_behind(system) - ready):
            raise RunError(
                f"run.systems: {system} needs the stage {' and '.join(missing)}, which is neither finished in {directory.path}"
                " nor in run.stages before evaluate"
            )


@dataclass
class Chatbot:
    """A model that can speak: roles, and the role that speaks (None: the base). `of_run`: a system of a run."""

    roles: Roles
    role: str | None
    config: Config
    name: str
    of_run: bool = False


def load_chatbot(name: str, system: str | None = None, reward: bool = False) -> Chatbot:
    """The best finished system of a run (ppo, dpo, sft, in this order, or the one named), a saved adapter, or any model.
    `reward`: with the run's reward role, which the best of several replies is chosen by.

    Raises:
        SelfsameError: there is no such run, stage or model.
    """
    path = locate_run(name) if name in BUNDLED_RUNS else Path(locate_model(name))
    if (path / "config.yaml").is_file():
        directory = RunDirectory.open(path)
        bot = _from_run(directory, system)
        if reward:
            bot.roles.load("reward", _finished(directory, "reward") / "reward")
        return bot
    if reward:
        raise ConfigError(f"{name} is not a run: there is no reward model to choose the best of several replies")
    if system is not None:
        raise ConfigError(f"{name} is not a run: leave out the system {system!r}")
    if (path / HEAD_FILE).exists():
        raise ConfigError(f"{path} is a reward or value role, which cannot speak: give a policy or sft folder")
    if (path / "adapter_config.json").is_file():
        return _from_adapter(path)
    config = load_config(values={"model": {"base": name}})
    return Chatbot(load_roles(_fitting(config.model)), None, config, name)


def _from_run(directory: RunDirectory, system: str | None) -> Chatbot:
    config = load_config(directory.config_path)
    if system is None:
        system = next((stage for stage in ("ppo", "dpo", "sft") if finished(directory, stage)), "base")
    if system not in ROLE_OF:
        raise ConfigError(f"unknown system {system!r}: choose {', '.join(ROLE_OF)}")
    role = ROLE_OF[system]
    checkpoint = None if role is None else _finished(directory, system)
    roles = load_roles(config.model)
    if role is not None and checkpoint is not None:
        roles.load(role, checkpoint / role)
    return Chatbot(roles, role, config, f"{directory.path.name} ({system})", of_run=True)


def _finished(directory: RunDirectory, stage: str) -> Path:
    checkpoint = finished(directory, stage)
    if checkpoint is None:
        raise RunError(f"{directory.path} has no finished stage {stage}: run it first")
    return checkpoint


def _from_adapter(path: Path) -> Chatbot:
    saved = read_json(path / "adapter_config.json")
    odd = [key for key in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern") if saved.get(key)]
    if saved.get("peft_type") != "LORA" or odd or not isinstance(saved.get("target_modules"), list):
        raise ConfigError(
            f"{path} is not a plain LoRA adapter{f' ({odd[0]} is set)' if odd else ''}: merge it into its base first"
        )
    lora = {"rank": saved["r"], "alpha": saved["lora_alpha"], "targets": sorted(saved["target_modules"])}
    config = load_config(values={"model": {"base": saved["base_model_name_or_path"], "lora": lora}})
    roles = load_roles(_fitting(config.model))
    roles.load("policy", path)
    return Chatbot(roles, "policy", config, path.name)


def _fitting(settings: ModelSettings) -> ModelSettings:
    """The settings with a context no longer than the model's own."""
    with explained(settings.base):
        context = context_length(AutoConfig.from_pretrained(locate_model(settings.base)))
    return settings.model_copy(update={"max_length": min(settings.max_length, context or settings.max_length)})
