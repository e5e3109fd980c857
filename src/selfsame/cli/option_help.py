"""The help of `selfsame run`: the settings that people change, in groups; with `--help-all` every setting.

The texts are the docstrings of the settings. The defaults are those of the command, its preset and its files.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from selfsame.config import Config, flag_of, preset_names, setting_fields, setting_names

WHAT = {
    "demo": "The whole journey on the bundled dialogues: PPO, evaluation and report, in minutes and offline.",
    "run": "Train a persona chatbot and evaluate it: SFT, reward model, PPO, evaluation, report.",
    "character": "A bot for one character, from its card and chats; --run.stages ppo evaluate trains it further.",
    "sft": "Supervised fine-tuning: the first stage of a run.",
    "reward": "Train the reward model: needs a finished SFT stage in the same run directory.",
    "ppo": "PPO against the reward model: needs finished SFT and reward stages in the same run directory.",
    "dpo": "DPO on preference pairs: needs a finished SFT stage in the same run directory.",
}
_FILES = {"character": " CARD [CHATS ...] [--out RUN]"}
_OF_STAGE = {
    "sft": ("epochs", "max_steps", "batch_size", "learning_rate", "persona_weight", "eval_every", "token_budget"),
    "reward": ("epochs", "max_steps", "batch_size", "learning_rate", "sampled_share", "eval_every", "token_budget"),
    "ppo": ("steps", "prompts_per_step", "samples_per_prompt", "learning_rate", "kl_coef", "kl_target",
            "advantage_estimator", "value_model", "max_new_tokens", "temperature", "token_budget"),
    "dpo": ("epochs", "max_steps", "batch_size", "learning_rate", "beta", "eval_every", "token_budget"),
}  # fmt: skip
_GROUPS = {
    "data": ("data.path", "data.bot", "data.card", "data.limit", "data.validation_share", "pairs.path"),
    "model": ("model.base", "model.max_length", "model.device", "model.dtype", "model.lora.rank"),
    "training": (
        "training.sft.epochs", "training.sft.learning_rate", "training.reward.epochs", "training.reward.learning_rate",
        "training.ppo.steps", "training.ppo.prompts_per_step", "training.ppo.samples_per_prompt",
        "training.ppo.learning_rate", "training.ppo.kl_coef",
    ),
    "evaluation": ("evaluation.consistency_size", "evaluation.engagement_size", "sampling.temperature",
                   "sampling.max_new_tokens"),
    "run": ("seed", "run.directory", "run.stages", "run.start_from", "run.max_hours", "run.trackers"),
}  # fmt: skip
_INDENT = 6


def training_help(command: str, config: Config, everything: bool = False) -> str:
    """Return the help of a command that trains, as plain text.

    Args:
        command: which one.
        config: its configuration, whose values are shown as defaults.
        everything: all settings.
    """
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    kinds = {name: _kind(field.annotation) for name, field in setting_fields().items()}
    texts, values = setting_texts(), _values(config.model_dump())
    groups = _all_groups() if everything else _groups(command)
    count = sum(map(len, groups.values()))
    parts = [
        f"usage: selfsame {command}{_FILES.get(command, '')} [--preset NAME] [--config FILE ...] [--SETTING VALUE ...]",
        textwrap.fill(f"{WHAT[command]} Run the same command again to resume where it stopped.", width),
        "\n".join([
            _option("--preset NAME", "", f"Start from a preset: {', '.join(preset_names())}.", width),
            _option("--config FILE ...", "", "YAML files with settings: they override the preset.", width),
            _option("--full", "", "End with all tables instead of a verdict.", width),
        ]),
    ]  # fmt: skip
    for group, names in groups.items():
        options = [_option(f"{flag_of(name)} {kinds[name]}", values[name], texts[name], width) for name in names]
        parts.append("\n".join([f"{group}:", *options]))
    rest = "" if everything else f"These are {count} of {len(kinds)} settings: selfsame {command} --help-all lists all."
    parts.append(textwrap.fill(f"{rest} Defaults are those of this command.".strip(), width))
    return "\n\n".join(parts)


def setting_texts() -> dict[str, str]:
    """Map the dotted name of every setting to what it does."""
    return {name: " ".join((field.description or "").split()) for name, field in setting_fields().items()}


def _groups(command: str) -> Mapping[str, Sequence[str]]:
    if command not in _OF_STAGE:
        return _GROUPS
    names = tuple(f"training.{command}.{name}" for name in _OF_STAGE[command])
    data = tuple(name for name in _GROUPS["data"] if command in ("reward", "dpo") or not name.startswith("pairs."))
    run = tuple(name for name in _GROUPS["run"] if name != "run.stages")
    return {"data": data, "model": _GROUPS["model"], "training": names, "run": (*run, "run.save_every")}


def _all_groups() -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for name in setting_names():
        section = name.rpartition(".")[0]
        found.setdefault(section or "general", []).append(name)
    return found


def _option(head: str, default: str, text: str, width: int) -> str:
    shown = f"{text} (default: {default})" if default else text
    body = textwrap.fill(
        shown, width, initial_indent=" " * _INDENT, subsequent_indent=" " * _INDENT, break_on_hyphens=False
    )
    return f"  {head}\n{body}"


def _values(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in nested.items():
        found |= _values(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: _shown(value)}
    return found


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(annotation: Any) -> str:
    """What a setting takes: `{auto,cpu,cuda}`, `INT`, `TEXT ...`."""
    if get_origin(annotation) is Literal:
        return "{" + ",".join(map(str, get_args(annotation))) + "}"
    if get_origin(annotation) is tuple:
        return f"{_kind(get_args(annotation)[0])} ..."
    inside = [a for a in get_args(annotation) if a is not type(None)]
    if inside:
        return _kind(inside[0])
    return {bool: "{true,false}", int: "INT", float: "NUMBER"}.get(annotation, "TEXT")
