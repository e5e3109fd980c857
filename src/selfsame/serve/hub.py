"""The models of a server by name: each system of a run, and each with a character.

`NAME:system` is a system of the run NAME, NAME a model that is no run; `@character` behind either is who it speaks as.
"""

from __future__ import annotations

import difflib
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsame.cards.card import Card, Lore, make_card, read_card
from selfsame.data.fitting import fit_persona
from selfsame.errors import ConfigError, DataError, SelfsameError
from selfsame.model.reward_model import RewardModel
from selfsame.rollout.engine import choose_best
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chat import persona_after
from selfsame.serve.chatbot import Chatbot, chat_sampling, finished_stages, load_chatbot
from selfsame.serve.dialogue import read_dialogue
from selfsame.serve.reply_text import ReplyText
from selfsame.serve.requests import Asked, ChatRequest, CompletionRequest, Refused
from selfsame.text.functions import weighted_sum
from selfsame.types import Persona, Prompt

CARD_FILES = (".charx", ".json", ".png", ".yaml", ".yml")
_COLDEST = 1e-3
"""A temperature below it takes the likeliest token, as 0 does: logits divided by less are no numbers."""
_NARROWEST = 1e-6
"""A nucleus of 0 holds the likeliest token."""
_REMEMBERED = 64
"""Texts of users whose tokens are remembered."""


@dataclass(frozen=True)
class Voice:
    """What a name stands for: a role of a model, and perhaps who it speaks as.

    Attributes:
        name: as clients give it.
        bot: the model.
        role: the role that speaks; None: the base.
        card: the character.
    """

    name: str
    bot: Chatbot
    role: str | None
    card: Card | None = None

    @property
    def first_message(self) -> str:
        """How the character opens a chat."""
        return self.card.first_message if self.card else ""


@dataclass(frozen=True)
class Asking:
    """A request in the terms of a model.

    Attributes:
        voice: who is asked.
        ids: the prompt.
        sampling: how the reply is sampled.
        prompt: what the reward model is shown; None: there is no choice among replies.
        opening: what the character says first, where nobody has said anything; it is the reply.
        left_out: traits that did not fit into the context.
    """

    voice: Voice
    ids: list[int]
    sampling: SamplingSettings
    prompt: Prompt | None = None
    opening: str = ""
    left_out: int = 0


class Hub:
    """The models of a server.

    Args:
        voices: the models by their names.
        most_tokens: tokens that a reply may have; None: as many as the model can.
    """

    def __init__(self, voices: Sequence[Voice], most_tokens: int | None = None) -> None:
        self.voices, self.most_tokens, self.created = {v.name: v for v in voices}, most_tokens, int(time.time())
        # Two threads in one tokenizer: it refuses while its settings change.
        self._reading = threading.Lock()
        for processor in {id(v.bot): v.bot.roles.processor for v in voices}.values():
            processor.remember(_REMEMBERED)

    def find(self, name: str) -> Voice:
        """The model of a name.

        Raises:
            Refused: there is none.
        """
        if name in self.voices:
            return self.voices[name]
        near = difflib.get_close_matches(name, self.voices, 1, 0.4) or [*self.voices][:1]
        message = f"the model {name!r:.100} does not exist: there is {near[0]!r}, and /v1/models lists all"
        raise Refused(message, "model", 404, code="model_not_found")

    def read_chat(self, request: ChatRequest) -> Asking:
        """A chat as a prompt.

        Raises:
            Refused: a message, the card or a number cannot be used.
        """
        voice = self.find(request.model)
        traits, history = read_dialogue(request.messages)
        card = voice.card
        if request.card is not None:
            if card is not None:
                raise Refused(
                    f"{voice.name} is a character already: leave the card out, or ask for the model without @", "card"
                )
            card = _card_of(request)
        if card is not None and card.first_message and history == ("",):
            return Asking(voice, [], SamplingSettings(), opening=card.first_message)
        persona = tuple(dict.fromkeys((*(card.persona if card else ()), *traits)))
        return self.ask(voice, persona, card.lore if card else (), history, request)

    def ask(
        self, voice: Voice, persona: Persona, lore: Sequence[Lore], history: tuple[str, ...], asked: Asked
    ) -> Asking:
        """The next turn of a chat as a prompt.

        Args:
            voice: who speaks.
            persona: as whom.
            lore: traits that join the persona while their keys are mentioned.
            history: as a `Prompt` has it.
            asked: how the reply is sampled.

        Raises:
            Refused: the turns are too long.
        """
        with self._reading:
            kept, left = fit_persona(voice.bot.roles.processor, persona)
            sampling, processor = self._sampling(voice, asked, kept), voice.bot.roles.processor
            prompt = Prompt(persona_after(processor, kept, lore, history, sampling.max_new_tokens), history)
            try:
                ids = processor.encode_prompt(prompt, sampling.max_new_tokens)
            except DataError as error:
                raise Refused(str(error), "messages", code="context_length_exceeded") from error
        return Asking(voice, ids, sampling, prompt, left_out=len(left))

    def read_text(self, request: CompletionRequest) -> Asking:
        """A text to be continued, as a prompt.

        Raises:
            Refused: the model is a character, or a number cannot be used.
        """
        voice = self.find(request.model)
        if voice.card is not None:
            raise Refused(
                f"{voice.name} is a character, which talks: ask /v1/chat/completions, or the model without @", "model"
            )
        if request.best_of is not None and request.best_of > (request.n or 1):
            raise Refused("best_of chooses among replies of a chat: ask /v1/chat/completions", "best_of")
        with self._reading:
            sampling = self._sampling(voice, request, ())
            return Asking(
                voice, voice.bot.roles.processor.encode_plain(request.text, sampling.max_new_tokens), sampling
            )

    def text_of(self, asking: Asking, stops: Sequence[str]) -> Callable[[], ReplyText]:
        """What makes the text of a reply."""
        processor = asking.voice.bot.roles.processor

        def decode(ids: list[int]) -> str:
            with self._reading:
                return processor.decode_reply(ids)

        return lambda: ReplyText(decode, processor.format.controls, stops)

    def ranking(self, asking: Asking, wanted: int) -> Callable[[list[list[int]]], list[int]]:
        """What chooses the best of several replies, as in a chat.

        Raises:
            Refused: the run has no reward model.
        """
        bot, prompt = asking.voice.bot, asking.prompt
        if "reward" not in bot.roles.names or prompt is None:
            raise Refused(
                f"{asking.voice.name} has no reward model to choose the best of several: leave best_of out", "best_of"
            )
        rewards, processor = bot.config.training.ppo.rewards, bot.roles.processor
        worth = weighted_sum(rewards.functions, rewards.reward_model)

        def rank(replies: list[list[int]]) -> list[int]:
            scores = RewardModel(bot.roles).score_ids([asking.ids], [replies])[0]
            with self._reading:
                texts = [processor.decode_reply(ids) for ids in replies]
            if worth is not None:
                scores = worth([prompt] * len(texts), texts, scores)
            best = choose_best(prompt, texts, scores, asking.sampling.retries > 0)
            others = sorted((k for k in range(len(texts)) if k != best), key=lambda k: -scores[k])
            return [best, *others][:wanted]

        return rank

    def count(self, voice: Voice, text: str) -> int:
        """Tokens of a reply with this text."""
        with self._reading:
            return len(voice.bot.roles.processor.encode_reply(text))

    def _sampling(self, voice: Voice, asked: Asked, persona: Persona) -> SamplingSettings:
        """How the reply is sampled: as in a chat, with what the request changes, and no longer than the model can."""
        sampling = chat_sampling(voice.bot, persona)
        room = voice.bot.roles.processor.max_length // 2
        limit = min(asked.limit or sampling.max_new_tokens, room, self.most_tokens or room)
        temperature = sampling.temperature if asked.temperature is None else asked.temperature
        top_p = sampling.top_p if asked.top_p is None else asked.top_p
        changed = {
            "max_new_tokens": limit,
            "temperature": temperature if temperature >= _COLDEST else 0.0,
            "top_p": max(top_p, _NARROWEST),
        }
        return sampling.model_copy(update=changed)


def _card_of(request: ChatRequest) -> Card:
    try:
        return make_card(request.card or {}, "card")
    except SelfsameError as error:
        raise Refused(str(error), "card") from error


def load_hub(
    models: Sequence[str], characters: Sequence[str] = (), base: str | None = None, most_tokens: int | None = None
) -> Hub:
    """Loads models with all their finished systems, and gives each the characters, and its own, if it was made for one.

    Args:
        models: run directories, adapters, models.
        characters: cards, and folders with cards.
        base: where the base of a run or adapter lies now.
        most_tokens: see `Hub`.

    Raises:
        SelfsameError: a model or card cannot be used, or two have one name.
    """
    cards = _cards(characters)  # a mistake in one is reported before anything is loaded
    voices = [voice for model in models for voice in _voices(load_chatbot(model, base=base), model, cards)]
    _refuse_twice([voice.name for voice in voices])
    return Hub(voices, most_tokens)


def _voices(bot: Chatbot, model: str, cards: Sequence[Card]) -> Iterator[Voice]:
    name = Path(model).resolve().name if Path(model).exists() else model.rpartition("/")[2]
    roles = {f"{name}:{system}": load() for system, load in bot.systems().items()} or {name: bot.role}
    if bot.directory is not None and "reward" in finished_stages(bot.directory):
        bot.load_reward()
    own = [read_card(bot.own_card())] if bot.directory is not None and bot.directory.card_path.exists() else []
    spoken = {slug(card.name): card for card in (*own, *cards)}
    for full, role in roles.items():
        yield Voice(full, bot, role)
        yield from (Voice(f"{full}@{who}", bot, role, card) for who, card in spoken.items())


def _cards(places: Sequence[str]) -> list[Card]:
    """The cards of files and folders.

    Raises:
        SelfsameError: a folder has none, one cannot be read, or two have one name.
    """
    files: list[Path] = []
    for place in map(Path, places):
        found = sorted(f for f in place.iterdir() if f.suffix.lower() in CARD_FILES) if place.is_dir() else [place]
        if not found:
            raise ConfigError(f"{place} holds no character card ({', '.join(CARD_FILES)})")
        files += found
    cards = [read_card(file) for file in files]
    _refuse_twice([slug(card.name) for card in cards])
    return cards


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two models or characters have the name {twice[0]}: rename one of them")


def slug(name: str) -> str:
    """A character's name as it stands in that of a model: "Dr. Mika Öz" -> "dr-mika-öz"; "?!" -> "character-" and a number
    that stands for this name."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-") or f"character-{zlib.crc32(name.encode('utf-8', 'replace'))}"
