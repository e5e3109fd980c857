"""Where a bot comes from: its base, its data, and their licences, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfsame.model.base import locate_model
from selfsame.model.gguf import READY
from selfsame.model.named import NAMED
from selfsame.model.settings import BUNDLED
from selfsame.run.files import read_json
from selfsame.serve.chatbot import Chatbot

UNKNOWN = "see the base"
_DATA = {
    "google/Synthetic-Persona-Chat": ("Synthetic-Persona-Chat, Jandaghi et al. 2023", "CC BY 4.0"),
    "demo": ("the 160 dialogues in Selfsame's package", "CC0"),
}
"""Licences of data that Selfsame knows (docs/credit.md)."""


@dataclass(frozen=True)
class Origin:
    """Something that a bot was made of. `hub`: its id there, if it is there; `note`: what is particular about it."""

    title: str
    licence: str
    hub: str = ""
    note: str = ""


def base_of(bot: Chatbot) -> Origin:
    """The base of a bot."""
    name = bot.config.model.base
    if name in NAMED:
        known = NAMED[name]
        note = (
            f"Its weights are {known.weights}, dequantised ({known.requirement} of the package index); the hub's full weights"
            f" of {known.origin} are others, and an adapter of one does not fit the other."
        )
        return Origin(f"{known.weights} of {known.origin}", known.licence, known.origin, note)
    if name == BUNDLED:
        return Origin("selfsame-9m, the toy in Selfsame's package", "MIT")
    if Path(name).expanduser().exists():
        return Origin(Path(name).name, _licence_in(Path(locate_model(name))) or UNKNOWN, note=_quantised(name))
    return Origin(name, _licence_on_hub(name) or UNKNOWN, name)


def data_of(bot: Chatbot) -> Origin | None:
    """The dialogues that a run was trained on."""
    if bot.directory is None or bot.role is None:
        return None
    path = str(bot.config.data.path)
    title, licence = _DATA.get(path, (path if not Path(path).is_absolute() else Path(path).name, "see the data"))
    return Origin(title, licence)


def _quantised(name: str) -> str:
    if not Path(name).expanduser().is_file() and not (Path(locate_model(name)) / READY).is_file():
        return ""
    return "It was a GGUF file, dequantised to float32: quantisation stays in the weights."


def _licence_in(folder: Path) -> str:
    """The licence in the metadata of a model card."""
    readme = folder / "README.md"
    if not readme.is_file():
        return ""
    head = readme.read_text(encoding="utf-8", errors="replace").split("---")
    try:
        found: Any = yaml.safe_load(head[1]) if len(head) > 2 and not head[0].strip() else {}
    except yaml.YAMLError:
        return ""
    licence = found.get("license_name") or found.get("license") if isinstance(found, dict) else ""
    return licence if isinstance(licence, str) else ""


def _licence_on_hub(name: str) -> str:
    """The same of a model of the hub, from the cache alone."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "README.md")
    return _licence_in(Path(found).parent) if isinstance(found, str) else ""


def record_of(bot: Chatbot) -> dict[str, Any]:
    """Versions that made the bot, where its run recorded them."""
    path = bot.directory.environment_path if bot.directory is not None else None
    found = read_json(path) if path is not None and path.is_file() else {}
    versions = found.get("versions", {}) if isinstance(found, dict) else {}
    return versions if isinstance(versions, dict) else {}
