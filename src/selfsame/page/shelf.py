"""The characters of a server: cards of files and folders, those that visitors bring, and what they take away."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfsame.cards.card import Card, read_card
from selfsame.cards.write import write_card
from selfsame.errors import ConfigError, SelfsameError
from selfsame.page.markup import markup
from selfsame.serve.hub import CARD_FILES, slug

_SIZE = (240, 320)
"""Pixels of a picture in the gallery."""
_COLOURS = ((70, 84, 104), (47, 111, 222), (26, 127, 85), (176, 71, 155), (138, 109, 29))
MOST, MOST_PIXELS = 500, 20_000_000


@dataclass(frozen=True)
class Character:
    """A card, and the picture that it came in."""

    card: Card
    picture: Path | None = None

    @property
    def name(self) -> str:
        return self.card.name

    @cached_property
    def thumbnail(self) -> Any:
        """A small picture, without what else its file holds; the first letter of the name where there is none. It is made
        once: a picture is decoded in full for it."""
        from PIL import Image, ImageDraw, ImageFont, ImageOps

        if self.picture is not None:
            try:
                with Image.open(self.picture) as found:
                    found.draft("RGB", _SIZE)
                    return ImageOps.fit(found.convert("RGB"), _SIZE)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                pass  # a damaged picture costs the picture
        drawn = Image.new("RGB", _SIZE, _COLOURS[sum(map(ord, self.name)) % len(_COLOURS)])
        centre, font = (_SIZE[0] // 2, _SIZE[1] // 2), ImageFont.load_default(120)
        ImageDraw.Draw(drawn).text(centre, self.name[:1].upper(), (255, 255, 255), font, anchor="mm")
        return drawn

    def html(self) -> str:
        """Who it is."""
        return markup("character.html.j2", card=self.card, unused=self.card.not_used())


class Shelf:
    """Characters by name, in the order in which they came.

    Args:
        places: cards, and folders with cards; those that visitors bring are kept in the first folder.
        otherwise: where these are kept if no folder is among the places.
        more: characters that need no file.
    """

    def __init__(self, places: Sequence[str], otherwise: Path, more: Sequence[Card] = ()) -> None:
        self.folder = next((Path(place) for place in places if Path(place).is_dir()), otherwise)
        self._changing = threading.Lock()
        self._found = {slug(card.name): Character(card) for card in more}
        self._brought: dict[str, Path] = {}
        for place in map(Path, places):
            files = sorted(f for f in place.iterdir() if f.suffix.lower() in CARD_FILES) if place.is_dir() else [place]
            for file in files:
                self._put(Character(read_card(file), _picture(file)))

    def all(self) -> list[Character]:
        """The characters."""
        return [*self._found.values()]

    def find(self, name: str | None) -> Character:
        """The one of a name.

        Raises:
            ConfigError: there is none.
        """
        if name is None or slug(name) not in self._found:
            raise ConfigError("choose a character first")
        return self._found[slug(name)]

    def bring(self, file: str | Path) -> Character:
        """A card that a visitor drops. It takes the place of one of the same name that came this way since the server began.

        Raises:
            SelfsameError: it is no card, cannot be kept, is another character's namesake, or there are too many.
        """
        file = Path(file)
        _check_size(file)
        card, picture = read_card(file), _picture(file)
        name = slug(card.name)
        path = self.folder / f"{name[:100]}{'.png' if picture else '.json'}"
        with self._changing:
            older = self._brought.get(name)
            if (older is None and name in self._found) or (path != older and path.exists()):
                raise ConfigError(
                    f"{file}: there is a character {card.name} here that visitors cannot replace: rename yours"
                )
            if len(self._found) >= MOST and name not in self._found:
                raise ConfigError(f"this server has {MOST} characters, which is the most: remove one from its folder")
            write_card(card, path, picture=picture)
            self._brought[name] = path
            if older not in (None, path):
                older.unlink(missing_ok=True)
            return self._put(Character(card, _picture(path)))

    def bring_all(self, files: Sequence[str]) -> tuple[list[Character], list[str]]:
        """(those that could be read, what is wrong with each other file)."""
        found, wrong = [], []
        for file in files:
            try:
                found.append(self.bring(file))
            except SelfsameError as error:
                wrong.append(str(error).replace(str(Path(file).parent) + "/", ""))
        return found, wrong

    def export(self, name: str | None, kind: str, folder: Path) -> Path:
        """The card as a file in a folder, `png` or `json`.

        Raises:
            SelfsameError: there is no such character, or it cannot be written.
        """
        character = self.find(name)
        path = folder / f"{slug(character.name)[:100]}.{kind}"
        write_card(character.card, path, picture=character.picture if kind == "png" else None)
        return path

    def _put(self, character: Character) -> Character:
        self._found[slug(character.name)] = character
        return character


def _picture(file: Path) -> Path | None:
    return file if file.suffix.lower() == ".png" else None


def _check_size(file: Path) -> None:
    """Refuse a picture that takes long to decode. What is no picture at all is told by who reads the card."""
    from PIL import Image

    try:
        with Image.open(file, formats=["PNG"]) as picture:
            width, height = picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    if width * height > MOST_PIXELS:
        raise ConfigError(
            f"{file}: the picture has {width} x {height} pixels: the most are {MOST_PIXELS // 10**6} million"
        )
