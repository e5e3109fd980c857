"""Dialogues -> training rows. Row k of step s is a function of (seed, s, k) alone, so a resumed run sees the same rows.

A row is a dialogue from one side in Selfsame's own prompt format, with the persona in front. What teaches the model to
look at the persona instead of guessing what people usually say:

- a dialogue without personas gets one made of statements from the speaker's own turns, among traits of others;
- renaming: content words that persona and own turns share become similar words everywhere, so "a cat" may be "a parrot"
  and only the persona can tell;
- drills: a partner names a word of a trait (or one like it), and the answer is that trait, or a string of random words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from base_model.neighbours import WORD
from base_model.settings import ViewSettings, value_at
from selfsame.data.processor import DataProcessor, EncodedDialogue
from selfsame.errors import DataError
from selfsame.text.keywords import content_stems, sentences
from selfsame.types import Dialogue, Example, Persona

_ABOUT_ME = re.compile(r"\b(?:I|I'm|I've|I'd|my|My|we|We)\b")


@dataclass(frozen=True)
class Row:
    """Token ids, and for each the weight of its prediction in the loss."""

    ids: list[int]
    weights: list[float]


class RowMaker:
    """Makes the rows of a step from the corpus."""

    def __init__(
        self,
        corpus: dict[str, Sequence[Dialogue]],
        tokenizer: Any,
        similar: dict[str, list[str]],
        settings: ViewSettings,
        context: int,
        seed: int,
    ) -> None:
        self.similar, self.settings, self.seed = similar, settings, seed
        self.sides = {name: _Sides(dialogues, name) for name, dialogues in corpus.items()}
        self.usual = DataProcessor(tokenizer, settings.usual_length)
        self.long = DataProcessor(tokenizer, context)
        personas = [p for dialogues in corpus.values() for d in dialogues for p in d.personas if p]
        self.traits = sorted({trait for persona in personas for trait in persona}) or ["I like to talk."]
        self.words = sorted(similar)

    def rows(self, step: int, total: int, indices: Sequence[int]) -> list[Row]:
        """Rows number `indices` of step `step` of `total`."""
        progress = step / total
        return [self._row(random.Random(f"{self.seed}/{step}/{k}"), progress) for k in indices]

    def _row(self, draw: random.Random, progress: float) -> Row:
        s = self.settings
        drill = value_at(s.drill_share, progress)
        for _ in range(1000):
            example = self._drill(draw) if draw.random() < drill else self._view(draw, progress)
            processor = self.long if draw.random() < s.long_share else self.usual
            with suppress(DataError):  # a persona that does not fit
                if encoded := processor.encode_example(example):
                    return self._weigh(draw.choice(encoded), value_at(s.drawn_weight, progress))
        raise DataError(f"1,000 rows did not fit into views.usual_length {s.usual_length}: raise it")

    # --- views of a dialogue ----------------------------------------------------------------------------------------

    def _view(self, draw: random.Random, progress: float) -> Example:
        s = self.settings
        names = list(s.source_weights)
        weights = [value_at(s.source_weights[name], progress) for name in names]
        source = draw.choices(names, weights)[0]
        example = self.sides[source].draw(draw)
        if draw.random() < s.no_persona_share:
            return replace(example, persona=())
        if not example.persona:
            example = replace(example, persona=self._derived_persona(draw, example))
        else:
            example = replace(example, persona=tuple(draw.sample(example.persona, len(example.persona))))
        return self._renamed(draw, example) if draw.random() < value_at(s.rename_share, progress) else example

    def _derived_persona(self, draw: random.Random, example: Example) -> Persona:
        """One to four statements that the speaker makes, if there are any, and one to three traits of other people."""
        said = [s for turn in example.replies for s in sentences(turn) if _states(s)]
        own = draw.sample(said, min(len(said), draw.randint(1, 4)))
        return tuple(
            draw.sample(both := [*own, *draw.sample(self.traits, min(draw.randint(1, 3), len(self.traits)))], len(both))
        )

    def _renamed(self, draw: random.Random, example: Example) -> Example:
        """The example with words that the persona and the own turns share replaced by similar ones, each with
        probability 0.7."""
        in_persona = {w for trait in example.persona for w in WORD.findall(trait.lower())}
        in_replies = {w for turn in example.replies for w in WORD.findall(turn.lower())}
        mapping = {
            word: draw.choice(self.similar[word])
            for word in sorted(in_persona & in_replies)
            if word in self.similar and draw.random() < 0.7
        }
        if not mapping:
            return example
        persona = tuple(_rename(t, mapping) for t in example.persona)
        return replace(example, persona=persona, turns=tuple(_rename(t, mapping) for t in example.turns))

    # --- drills -----------------------------------------------------------------------------------------------------

    def _drill(self, draw: random.Random) -> Example:
        """The partner names a word, or one like it; the answer is the trait with that word. Half of the drills have
        strings of random words for traits."""
        count = draw.randint(3, 6)
        if draw.random() < 0.5:
            traits = [" ".join(draw.choices(self.words, k=draw.randint(2, 6))) for _ in range(count)]
        else:
            traits = draw.sample(self.traits, min(count, len(self.traits)))
        turns: list[str] = []
        for trait in draw.sample(traits, len(traits)):
            named = [w for w in WORD.findall(trait.lower()) if w in self.similar] or WORD.findall(trait) or [trait]
            cue = draw.choice(named)
            if cue in self.similar and draw.random() < 0.4:
                cue = draw.choice(self.similar[cue][:8])
            turns += [f"{cue}?", trait]
        return Example("drill", tuple(traits), (), tuple(turns), (None,) * len(traits))

    # --- weights ----------------------------------------------------------------------------------------------------

    def _weigh(self, row: EncodedDialogue, drawn: float) -> Row:
        s, ids = self.settings, row.ids
        persona = self.long.content_ids().intersection(ids[slice(*row.persona)])
        header = row.persona[1] + 1  # with the marker that opens the dialogue
        weights = [s.persona_weight] * header + [s.partner_weight] * (len(ids) - header)
        for start, end in row.spans:
            weights[start:end] = [drawn if token in persona else 1.0 for token in ids[start:end]]
        weights[0] = 0.0  # nothing predicts the first token
        return Row(ids, weights)


class _Sides:
    """The sides of a source's dialogues: each as likely as the number of its turns that share a content word with the
    persona, plus one half. Of dialogues without personas all sides are equally likely."""

    def __init__(self, dialogues: Sequence[Dialogue], source: str) -> None:
        speakers = (1,) if source == "crd3" else (1, 2)  # there speaker 2 is the rest of the table
        self.sides = [(d, speaker) for d in dialogues for speaker in speakers]
        self.cumulative = list(accumulate(0.5 + _drawn_turns(d, speaker) for d, speaker in self.sides))

    def draw(self, draw: random.Random) -> Example:
        dialogue, speaker = draw.choices(self.sides, cum_weights=self.cumulative)[0]
        return dialogue.seen_by(speaker)


def _drawn_turns(dialogue: Dialogue, speaker: int) -> int:
    stems = {stem for trait in dialogue.personas[speaker - 1] for stem in content_stems(trait)}
    return (
        sum(t.speaker == speaker and not stems.isdisjoint(content_stems(t.text)) for t in dialogue.turns)
        if stems
        else 0
    )


def _states(sentence: str) -> bool:
    """A statement about the speaker, of the length of a trait."""
    return not sentence.endswith("?") and 4 <= len(sentence.split()) <= 16 and bool(_ABOUT_ME.search(sentence))


def _rename(text: str, mapping: dict[str, str]) -> str:
    def new(match: re.Match[str]) -> str:
        word = mapping.get(match[0].lower())
        return match[0] if word is None else word.capitalize() if match[0][0].isupper() else word

    return WORD.sub(new, text)
