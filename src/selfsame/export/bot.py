"""From a run or model to a folder that other programs read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from selfsame.cards.card import Card, read_card
from selfsame.cards.write import write_card
from selfsame.data.fitting import fit_persona, left_out_line
from selfsame.errors import ConfigError
from selfsame.export.about import base_of
from selfsame.export.folder import RECORD, check_free, whole_folder
from selfsame.export.gguf_file import KINDS, About, check_writable_as_gguf, write_gguf
from selfsame.export.modelfile import modelfile
from selfsame.export.push import check_push, push
from selfsame.export.readme import Leaving, model_card
from selfsame.export.template import leave_with_template, other_prompts
from selfsame.export.vocabulary import Unknown
from selfsame.export.weights import dequantised, fill, merge, write_adapter, write_merged
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.directory import locate_run
from selfsame.serve.chatbot import Chatbot, chat_sampling, load_chatbot

DTYPES: dict[str, tuple[str, ...]] = {
    "adapter": (),
    "merged": ("float32", "float16", "bfloat16"),
    "gguf": tuple(KINDS),
    "ollama": tuple(KINDS),
}
"""Formats of a model, and the number formats of each; the first of `KINDS` is the default of GGUF."""
FORMATS = (*DTYPES, "card")
_USED = ("name", "description", "personality", "scenario", "first_mes")
"""The fields of a card that a Modelfile holds."""


@dataclass(frozen=True)
class Wanted:
    """An export. `model`: a run or anything that can speak; `form`: one of `FORMATS`; `out`: the folder, or the file of a card;
    `card`: who the bot is; `base`, `system`: as for a chat; `dtype`: None: the default; `push`: a repository of the hub."""

    model: str
    form: str
    out: Path
    card: Card | None = None
    system: str | None = None
    base: str | None = None
    dtype: str | None = None
    overwrite: bool = False
    push: str | None = None


def check(wanted: Wanted) -> None:
    """Checks what can be checked before anything is loaded.

    Raises:
        ConfigError: an unknown format, options that do not go together, an OUT that is taken.
    """
    if wanted.form not in FORMATS:
        near = [f" - did you mean {name}?" for name in difflib.get_close_matches(wanted.form, FORMATS, 1)]
        raise ConfigError(f"--to {wanted.form} is no format{''.join(near)}; choose {', '.join(FORMATS)}")
    if wanted.form == "card":
        if wanted.push or wanted.dtype:
            raise ConfigError("a card has neither weights nor a repository: leave out --dtype and --push")
        if wanted.out.exists() and not wanted.overwrite:
            raise ConfigError(f"{wanted.out} exists: add --overwrite to replace it, or choose another OUT")
        return
    allowed = DTYPES[wanted.form]
    if wanted.dtype is not None and wanted.dtype not in allowed:
        what = f"choose {', '.join(allowed)}" if allowed else "an adapter is always in float32, leave it out"
        raise ConfigError(f"--dtype {wanted.dtype} is no number format of {wanted.form}: {what}")
    if wanted.card is not None and wanted.form != "ollama":
        raise ConfigError(
            f"--to {wanted.form} takes no persona, which is the system message: leave --card or --persona out"
        )
    check_free(wanted.out, wanted.overwrite)
    if wanted.push:
        check_push(wanted.push)


def export(wanted: Wanted) -> list[str]:
    """Writes the export; returns lines on what was done.

    Raises:
        SelfsameError: the model, an option or OUT cannot be used; OUT is then as it was.
    """
    check(wanted)
    if wanted.form == "card":
        return [_export_card(wanted)]
    bot = _load(wanted)
    if wanted.push and wanted.form == "adapter" and (not base_of(bot).hub or base_of(bot).note):
        raise ConfigError(
            f"the base of {bot.name} is on this machine alone, and an adapter needs it: --push what is exported --to merged"
        )
    card = _who(bot, wanted)
    traits, left = fit_persona(bot.roles.processor, card.persona) if card else ((), ())
    sampling = chat_sampling(bot, traits)
    leave_with_template(bot.roles.processor)
    notes = [left_out_line(bot.roles.processor, left), card.not_used(_USED) if card else ""]
    notes = [note for note in notes if note]
    if kinds := other_prompts(bot.roles.processor):
        notes.append(
            f"The chat template writes prompts {' and '.join(kinds)} in other tokens than the bot was trained on."
        )
    with whole_folder(wanted.out, wanted.overwrite) as folder:
        if wanted.form == "adapter":
            write_adapter(bot, folder)
        else:
            with _converter_named(wanted):
                if wanted.form != "merged":
                    check_writable_as_gguf(bot.roles.config, bot.roles.processor.tokenizer)
                notes += _write_weights(bot, wanted, folder / _file_of(wanted), sampling)
        if wanted.form == "ollama":
            text = modelfile(bot.roles.processor, sampling, traits, card)
            (folder / "Modelfile").write_text(text, encoding="utf-8")
        leaving = Leaving(_name_of(wanted), wanted.form, _file_of(wanted), notes, sampling.max_new_tokens, bool(traits))
        (folder / "README.md").write_text(model_card(bot, leaving), encoding="utf-8")
        of = Path(bot.name).name if Path(bot.name).is_absolute() else bot.name
        record = {"format": wanted.form, "of": of, "system": bot.system, "notes": notes}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    pushed = [f"on the hub: {push(wanted.out, wanted.push)}"] if wanted.push else []
    return [f"{bot.name}: {wanted.form} in {wanted.out}", *notes, *pushed]


def _load(wanted: Wanted) -> Chatbot:
    """The bot, in float32 where its weights are merged; a base in 4 bits then has the numbers that these mean."""
    load = partial(load_chatbot, wanted.model, wanted.system, base=wanted.base)
    if wanted.form == "adapter":
        return load()
    bot = load(model={"dtype": "float32"})
    if not bot.config.model.four_bit:
        return bot
    meant = dequantised(bot.roles.base)
    bot = load(model={"dtype": "float32", "four_bit": False})
    fill(bot.roles.base, meant)
    return bot


def _write_weights(bot: Chatbot, wanted: Wanted, path: Path, sampling: SamplingSettings) -> list[str]:
    """Merged weights in the folder of `path`, or as the GGUF file `path`."""
    merged = merge(bot, wanted.dtype if wanted.form == "merged" else "float32")
    notes = [f"Merged in float32, log-probabilities are off by {merged.off[0]:.1g} nats at most."]
    if wanted.form == "merged":
        stored = str(merged.dtype).removeprefix("torch.")
        if stored != "float32":
            notes.append(f"Stored in {stored}, which changes log-probabilities by up to {merged.off[1]:.2g} nats.")
        write_merged(merged, bot, sampling, path.parent)
        return notes
    write_gguf(merged.model, bot.roles.processor, path, About(_name_of(wanted), base_of(bot).licence, _kind(wanted)))
    return [*notes, f"The matrices are stored in {_kind(wanted)}."]


@contextmanager
def _converter_named(wanted: Wanted) -> Iterator[None]:
    """Says how else a GGUF file can be had."""
    try:
        yield
    except Unknown as error:
        raise ConfigError(
            f"{wanted.model} is not written as GGUF here, because {error}: export it --to merged DIR, then run llama.cpp's"
            f" `python convert_hf_to_gguf.py DIR --outtype {_kind(wanted)}`"
        ) from error


def _export_card(wanted: Wanted) -> str:
    card = wanted.card
    if card is None:
        own = locate_run(wanted.model) / "card.json"
        if not own.is_file():
            raise ConfigError(
                f"{wanted.model} was not made for one character: give --card FILE, or --persona with --name"
            )
        card = read_card(own)
    write_card(card, wanted.out)
    return f"{card.name}: card in {wanted.out}"


def _who(bot: Chatbot, wanted: Wanted) -> Card | None:
    """The card of the options, or that of the run, for Ollama."""
    if wanted.form != "ollama" or wanted.card is not None:
        return wanted.card
    made_for = bot.directory is not None and bot.directory.card_path.is_file()
    return read_card(bot.own_card()) if made_for else None


def _name_of(wanted: Wanted) -> str:
    return (wanted.push or "").rpartition("/")[2] or wanted.out.resolve().name or "bot"


def _file_of(wanted: Wanted) -> str:
    """The name of the file of the weights."""
    if wanted.form in ("adapter", "merged"):
        return "model.safetensors"
    return "model.gguf" if wanted.form == "ollama" else f"{_name_of(wanted)}-{_kind(wanted)}.gguf"


def _kind(wanted: Wanted) -> str:
    return wanted.dtype or next(iter(KINDS))
