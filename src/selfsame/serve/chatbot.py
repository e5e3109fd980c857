"""Bots that can speak: a system of a run, a saved adapter, or any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import AutoConfig

from selfsame.cards.card import Card, read_character
from selfsame.config import Config, check, load_config
from selfsame.data.fitting import fit_persona, left_out_line
from selfsame.errors import ConfigError, RunError
from selfsame.model.adapter import load_adapter, read_adapter_config
from selfsame.model.base import context_length, explained, locate_model
from selfsame.model.load import load_roles
from selfsame.model.roles import HEAD_FILE, Roles
from selfsame.model.run_base import found_base, model_of_run
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.checkpoint import finished
from selfsame.run.directory import BUNDLED_RUNS, RunDirectory, locate_run
from selfsame.run.settings import RunSettings
from selfsame.serve.chat import Conversation
from selfsame.systems import LATEST, SINGLE, SYSTEMS, TRAINED
from selfsame.text.functions import weighted_sum
from selfsame.types import Persona, Prompt

_ROLE = "policy"
"""The role of an adapter that is no run's."""
LONGEST = 128
"""Tokens that a reply of a larger model may have in a chat, or half of what the persona leaves, if that is less."""


def finished_stages(directory: RunDirectory) -> dict[str, Path]:
    """The last checkpoint of each stage of training that is finished."""
    return {stage: found for stage in TRAINED if (found := finished(directory, stage))}


def check_systems(settings: RunSettings, directory: RunDirectory) -> None:
    """Raises RunError where a named system needs a stage that is neither finished nor to be done before `evaluate`: told before
    any is done."""
    if not settings.systems or "evaluate" not in settings.stages:
        return
    ready = {*settings.stages[: settings.stages.index("evaluate")], *finished_stages(directory)}
    for system in settings.systems:
        if missing := sorted({*SYSTEMS[system].loaded} - ready):
            raise RunError(
                f"run.systems: {system} needs the stage {' and '.join(missing)}, which is neither finished in {directory.path}"
                " nor in run.stages before evaluate"
            )


@dataclass
class Chatbot:
    """A model that can speak. `chat` begins a conversation with it.

    Args:
        roles: the model.
        role: the role that speaks; None: the base.
        config: the configuration of its run, or the default one.
        name: how it is called.
        of_run: whether it is a system of a run.
        directory: that run.
        system: which of its systems.
    """

    roles: Roles
    role: str | None
    config: Config
    name: str
    of_run: bool = False
    directory: RunDirectory | None = None
    system: str | None = None

    def chat(
        self, persona: Sequence[str] | str | Path | Card | None = None, seed: int = 0, best_of: int = 1, **sampling: Any
    ) -> Conversation:
        """Begin a conversation in which the bot has this persona.

        Args:
            persona: a list of sentences, a character card or its path; None: the character that the run was made for. Of a card
                that is too long for the model, the first traits are taken, and `notes` of the conversation names the others.
            seed: random seed.
            best_of: sample this many replies and say the one that the reward model scores highest (runs only).
            sampling: other settings than the run's, such as `temperature=0` or `max_new_tokens=60`.

        Raises:
            SelfsameError: the persona, the card or a setting cannot be used.
        """
        card = read_character(self.own_card() if persona is None else persona)
        traits, left = fit_persona(self.roles.processor, card.persona) if card.name else (card.persona, ())
        settings = chat_sampling(self, traits, **sampling)
        if best_of > 1:
            self.load_reward()
        rewards = self.config.training.ppo.rewards
        worth = weighted_sum(rewards.functions, rewards.reward_model) if best_of > 1 else None
        policy = Policy(self.roles, self.role, settings, seed, best_of, worth)
        unused = (
            card.not_used() if persona is not None else ""
        )  # the run has said what it used, and trained on the rest
        notes = [note for note in (unused, left_out_line(self.roles.processor, left)) if note]
        made = Conversation(policy, traits, card.first_message, self.systems(), self.system, card.lore, notes)
        tight = [entry.keys[0] for entry in card.lore if not {*entry.traits} <= {*made.persona_after(entry.sample())}]
        if tight:
            made.notes += (f"lore that does not fit into the context besides the persona: {', '.join(tight)}",)
        return made

    def own_card(self) -> Path:
        """The card of the character that its run was made for.

        Raises:
            ConfigError: there is none.
        """
        if self.directory is None or not self.directory.card_path.exists():
            raise ConfigError(f"{self.name} was not made for one character: give a persona, or a character card")
        return self.directory.card_path

    def systems(self) -> dict[str, Callable[[], str | None]]:
        """The systems of its run that can speak. Each entry loads one, if needed, and returns its role."""
        if self.directory is None:
            return {}
        ready = {"base", *finished_stages(self.directory)}
        return {system: partial(self._load, system) for system in SINGLE if system in ready}

    def load_reward(self) -> None:
        """Load the run's reward model, if it is not loaded yet.

        Raises:
            SelfsameError: this is not a run, or its reward stage is not finished.
        """
        if "reward" in self.roles.names:
            return
        if self.directory is None:
            raise ConfigError(
                f"{self.name} is not a run: there is no reward model to choose the best of several replies"
            )
        self.roles.load("reward", _finished(self.directory, "reward") / "reward")

    def _load(self, system: str) -> str | None:
        """The role of a system. PPO and DPO both train `policy`, so a system that joins gets a role of its own name."""
        if system == self.system or self.directory is None:
            return self.role
        if system == "base":
            return None
        if system not in self.roles.names:
            self.roles.load(system, _finished(self.directory, system) / str(SYSTEMS[system].role))
        return system


def load(name: str | Path, system: str | None = None, base: str | None = None) -> Chatbot:
    """Load a chatbot to talk to: `selfsame.load("runs/demo").chat(["I have two dogs."]).say("Hi")`.

    Args:
        name: a run directory, `selfsame-135m`, an adapter folder, a model folder, a GGUF file or a hub id.
        system: which system of a run: ppo, dpo, sft or base; by default the best finished one.
        base: where the base of a run or adapter lies now, if it was moved.

    Raises:
        SelfsameError: there is no such run, stage or model.
    """
    return load_chatbot(str(name), system, base=base)


def chat_sampling(bot: Chatbot, persona: Persona, **chosen: Any) -> SamplingSettings:
    """How a bot's replies are sampled in a chat: as its run says, where that trained the bundled base. Any other model has more
    to say than that one and gets `LONGEST` tokens.

    Args:
        bot: who speaks.
        persona: as whom.
        chosen: sampling settings to change; None leaves one as it is.

    Raises:
        ConfigError: a setting is unknown or wrong, or leaves no room for the dialogue.
    """
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if problems := check("chat", {"sampling": chosen}):
        raise ConfigError("; ".join(problems))
    sampling, processor = bot.config.sampling, bot.roles.processor
    limit, context = sampling.max_new_tokens, processor.max_length
    if not (bot.of_run and bot.config.model.base == BUNDLED):
        room = context - len(processor.header_ids(Prompt(persona)))
        limit = max(limit, min(LONGEST, room // 2))
    limit = chosen.get("max_new_tokens", limit)
    if limit > context // 2:
        raise ConfigError(f"max_new_tokens is {limit}: give 1 to {context // 2}, half of the model's context")
    return SamplingSettings(**sampling.model_dump() | chosen | {"max_new_tokens": limit})


def load_chatbot(
    name: str,
    system: str | None = None,
    reward: bool = False,
    base: str | None = None,
    model: Mapping[str, Any] = MappingProxyType({}),
) -> Chatbot:
    """The best finished system of a run (ppo, dpo, sft, in this order, or the one named), a saved adapter, or any model.
    `reward`: with the run's reward role, which the best of several replies is chosen by. `base`: where the base of a run or
    adapter lies now. `model`: settings of the model that are to be others than the run's, such as its `dtype`.

    Raises:
        SelfsameError: there is no such run, stage or model.
    """
    path = locate_run(name) if name in BUNDLED_RUNS else Path(locate_model(name))
    if (path / "config.yaml").is_file():
        directory = RunDirectory.open(path)
        bot = _from_run(directory, system, base, model)
        if reward:
            bot.load_reward()
        return bot
    if reward:
        raise ConfigError(f"{name} is not a run: there is no reward model to choose the best of several replies")
    if system is not None:
        raise ConfigError(f"{name} is not a run: leave out the system {system!r}")
    if (path / HEAD_FILE).exists():
        raise ConfigError(f"{path} is a reward or value role, which cannot speak: give a policy or sft folder")
    if (path / "adapter_config.json").is_file():
        return _from_adapter(path, base, model)
    if base is not None:
        raise ConfigError(f"{name} is neither a run nor an adapter, which have a base: leave out --model.base")
    config = load_config(values={"model": {"base": name, **model}})
    return Chatbot(load_roles(_fitting(config.model)), None, config, name)


def _from_run(directory: RunDirectory, system: str | None, base: str | None, other: Mapping[str, Any]) -> Chatbot:
    config = load_config(directory.config_path)
    if system is None:
        system = next((name for name in LATEST if finished(directory, name)), "base")
    if system not in SINGLE:
        raise ConfigError(f"unknown system {system!r}: choose {', '.join(SINGLE)}")
    role = SYSTEMS[system].role
    checkpoint = None if role is None else _finished(directory, system)
    model = model_of_run(directory, config.model, base).model_copy(update=dict(other))
    config = config.model_copy(update={"model": model})
    roles = load_roles(config.model)
    if role is not None and checkpoint is not None:
        roles.load(role, checkpoint / role)
    return Chatbot(roles, role, config, f"{directory.path.name} ({system})", True, directory, system)


def _finished(directory: RunDirectory, stage: str) -> Path:
    checkpoint = finished(directory, stage)
    if checkpoint is None:
        raise RunError(f"{directory.path} has no finished stage {stage}: run it first")
    return checkpoint


def _from_adapter(path: Path, base: str | None, other: Mapping[str, Any]) -> Chatbot:
    saved = read_adapter_config(path)
    named = base or saved.base_model_name_or_path
    if not named:
        raise ConfigError(f"{path}/adapter_config.json names no base: name it by --model.base")
    found = found_base(named, path)
    if found is None:
        raise ConfigError(
            f"{path} is an adapter for the base {named}, which is not there: name its place by --model.base"
        )
    values = {"base": found, "revision": None if base else saved.revision, **other}
    config = load_config(values={"model": values})
    return Chatbot(load_adapter(path, _fitting(config.model), _ROLE), _ROLE, config, path.name)


def _fitting(settings: ModelSettings) -> ModelSettings:
    """The settings with a context no longer than the model's own."""
    with explained(settings.base):
        context = context_length(AutoConfig.from_pretrained(locate_model(settings.base), revision=settings.revision))
    return settings.model_copy(update={"max_length": min(settings.max_length, context or settings.max_length)})
