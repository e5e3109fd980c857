"""A card -> a file that other programs read: JSON (V2 or V3), or a picture (PNG) with both versions in text chunks."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from selfsame.cards.card import Card
from selfsame.cards.fields import MAX_BITS
from selfsame.errors import ConfigError, DataError, RunError

Version = Literal[2, 3]
_V2 = {"name": "", "description": "", "personality": "", "scenario": "", "first_mes": "", "mes_example": "",
       "creator_notes": "", "system_prompt": "", "post_history_instructions": "", "alternate_greetings": [], "tags": [],
       "creator": "", "character_version": "", "extensions": {}}  # fmt: skip
_V3 = {**_V2, "group_only_greetings": []}
"""What each version must have (specifications of malfoyslastname and kwaroran), with its value where a card says nothing."""
_SIZE, _COLOUR = (400, 600), (70, 84, 104)
"""The plain picture of a card that has none."""


def card_object(card: Card, version: Version = 3) -> dict[str, Any]:
    """The card as JSON of a version. All fields that it was read with stay, also those that Selfsame does not use."""
    required: Mapping[str, Any] = _V2 if version == 2 else _V3
    made = {
        "name": card.name,
        "description": "\n".join(card.persona),
        "scenario": card.scenario,
        "first_mes": card.first_message,
    }
    data = {**required, **_as_json(card.fields.data or made)}
    return {"spec": f"chara_card_v{version}", "spec_version": f"{version}.0", "data": data}


def _as_json(value: Any) -> Any:
    """What JSON can say: a date of YAML, a set or bytes become text or a list, and so do names of fields that are no text."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_as_json(inner) for inner in value]
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def write_card(card: Card, path: str | Path, version: Version = 3, picture: str | Path | None = None) -> None:
    """Write a card to a `.json` or `.png` file. A file that was there stays if that fails.

    Args:
        card: what `read_card` or `make_card` returned.
        path: the file; its ending says in which form.
        version: of the JSON; a picture holds both.
        picture: the picture of a `.png` card (any format that Pillow reads); by default a plain one.

    Raises:
        ConfigError: the ending is another one, or a picture is given for a JSON card.
        DataError: the picture cannot be read.
        RunError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".json", ".png"):
        raise ConfigError(f"{path}: a card is written as .json or .png; choose one of these endings")
    if picture is not None and path.suffix.lower() == ".json":
        raise ConfigError(f"{path}: a JSON card has no picture; write a .png, or leave the picture {picture} out")
    if path.suffix.lower() == ".json":
        content = (
            json.dumps(card_object(card, version), ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n"
        )
    else:
        content = _with_card(card, picture)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path} ({error.strerror}): choose another file") from error


def _with_card(card: Card, picture: str | Path | None) -> bytes:
    """A PNG with the card in the chunks `chara` (V2) and `ccv3` (V3), base64 of UTF-8 JSON as all readers expect."""
    from PIL import Image, PngImagePlugin

    try:
        image = Image.new("RGB", _SIZE, _COLOUR) if picture is None else Image.open(picture)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
            image = image.convert("RGB")
        texts, out = PngImagePlugin.PngInfo(), io.BytesIO()
        versions: tuple[tuple[str, Version], ...] = (("chara", 2), ("ccv3", 3))
        for keyword, version in versions:
            text = json.dumps(card_object(card, version), ensure_ascii=False)
            texts.add_text(keyword, base64.b64encode(text.encode("utf-8", "replace")).decode())
        image.save(out, "PNG", pnginfo=texts)  # other text of the picture, such as an older card, is left behind
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{picture}: cannot be used as a picture ({error}); give a PNG or JPEG file") from None
    return out.getvalue()
