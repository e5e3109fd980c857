"""The nouns that travel between the rooms: a dialogue, one side of it, a prompt, a pair of replies.

Texts are stored as people wrote them, without leading or trailing white space; control markers never occur in them as
anything but text (`data/processor.py` escapes them).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

Persona = tuple[str, ...]
"""The traits of one person, each a short sentence on one line: `("I have two dogs.", "I teach chemistry.")`."""


def clean_persona(traits: list[str] | tuple[str, ...]) -> Persona:
    """Traits with white space collapsed (a trait is one line) and empty ones left out."""
    return tuple(clean for trait in traits if (clean := " ".join(trait.split())))


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker (1 or 2) said. `traits`: indices of the speaker's own traits that it draws on; None = not annotated."""

    speaker: int
    text: str
    traits: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation of two people with a persona each (an unknown persona is empty)."""

    id: str
    personas: tuple[Persona, Persona]
    turns: tuple[Turn, ...]

    def seen_by(self, speaker: int) -> Example:
        """The dialogue from the side of `speaker` (1 or 2): turns of the same speaker in a row become one, and turns
        alternate, the partner first (an empty text if `speaker` opened) and the speaker's own turn last."""
        texts: list[str] = [""]
        traits: list[tuple[int, ...] | None] = [None]
        for turn in self.turns:
            own = turn.speaker == speaker
            if own == (len(texts) % 2 == 0):  # the side that spoke last goes on
                texts[-1] = f"{texts[-1]}\n{turn.text}" if texts[-1] else turn.text
                traits[-1] = None if traits[-1] is None or turn.traits is None else traits[-1] + turn.traits
            else:
                texts.append(turn.text)
                traits.append(turn.traits)
        if len(texts) % 2:  # ends with the partner: nothing to learn from that turn
            texts, traits = texts[:-1], traits[:-1]
        own_persona, partner_persona = self.personas[speaker - 1], self.personas[2 - speaker]
        return Example(f"{self.id}/{speaker}", own_persona, partner_persona, tuple(texts), tuple(traits[1::2]))


@dataclass(frozen=True, slots=True)
class Prompt:
    """Who the bot is and what was said so far. `history` has odd length: partner, bot, partner, ..., partner; its first
    text is empty where the bot opens the conversation."""

    persona: Persona
    history: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "persona", clean_persona(self.persona))
        object.__setattr__(self, "history", tuple(text.strip() for text in self.history))
        if len(self.history) % 2 == 0:
            raise ValueError(f"a prompt ends with the partner's turn: history has odd length, got {len(self.history)}")

    def followed_by(self, reply: str, answer: str) -> Prompt:
        """The prompt one exchange later: the bot said `reply`, the partner `answer`."""
        return Prompt(self.persona, (*self.history, reply, answer))

    def with_persona(self, persona: Persona) -> Prompt:
        return Prompt(persona, self.history)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to a prompt, with all that its scores need.

    Attributes:
        prompt: what was answered.
        reply: what was said; may be empty.
        gold: what a person said there; empty: unknown.
        gold_traits: indices of the traits that the gold reply draws on; None: unknown.
        group: answers of one group, usually a dialogue, are resampled together.
    """

    prompt: Prompt
    reply: str
    gold: str = ""
    gold_traits: tuple[int, ...] | None = None
    group: Hashable = ""

    def with_reply(self, reply: str) -> Answer:
        """Another reply to the same prompt."""
        return replace(self, reply=reply)

    @property
    def persona(self) -> Persona:
        """Who gave the reply."""
        return self.prompt.persona

    @property
    def history(self) -> tuple[str, ...]:
        """The turns before the reply, the partner's last."""
        return self.prompt.history


@dataclass(frozen=True, slots=True)
class Example:
    """One side of a dialogue: `turns` alternates partner, own, ..., own (even length); `traits[k]` annotates own turn k."""

    id: str
    persona: Persona
    partner_persona: Persona
    turns: tuple[str, ...]
    traits: tuple[tuple[int, ...] | None, ...]

    @property
    def replies(self) -> tuple[str, ...]:
        """The own turns."""
        return self.turns[1::2]

    def prompt(self, k: int) -> Prompt:
        """What stood before own turn `k`."""
        return Prompt(self.persona, self.turns[: 2 * k + 1])

    def prompts(self) -> Iterator[tuple[Prompt, str]]:
        """(prompt, own reply) for every own turn."""
        for k, reply in enumerate(self.replies):
            yield self.prompt(k), reply


LABELS = ("contradiction", "neutral", "entailment")
"""What the first sentence of a pair may say about the second, in the order of a judge's probabilities."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two sentences and what the first says about the second, one of `LABELS`. `group`: where both are from; rows of one
    group are resampled together."""

    premise: str
    hypothesis: str
    label: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two replies to one prompt and why the rejected one is worse (`data/pairs.py` lists the reasons)."""

    prompt: Prompt
    chosen: str
    rejected: str
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Replies to one prompt of which each in `better` is preferred to each in `worse`; a pair is the smallest one."""

    prompt: Prompt
    better: tuple[str, ...]
    worse: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that could not be used; prints as `file:line: reason`."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"
