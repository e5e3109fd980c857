"""Labelled pairs of sentences from public dialogue sets: what the judge is trained on, and what it is tested on.

Contradictions: `decode` (turns that people wrote to contradict one of their own), `prosecco` (debates), `denied` (a trait and
a reply that was edited to deny it). Neutral: `turns` (two turns of one speaker), `traits` (two traits of one persona),
`crossed` (a turn of one DECODE pair and one of another, so that how they are written tells nothing), `near`
(the same with a content word in common, so that a common topic tells nothing). Entailed: `drawn` (a reply that draws on a
trait, and the trait), `part` (a sentence of a turn). Labels of made pairs are as good as the rules that made them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import math
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from evaluator_models.settings import Recipe
from selfsame.data.corruptions import contradictions, spoken
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError
from selfsame.text.contradictions import RuleJudge
from selfsame.text.keywords import TraitMatcher, content_stems, sentences, words
from selfsame.types import LABELS, Example

DECODE, PROSECCO = "prosecco/decode_contradiction_pairs.tsv.xz", "prosecco/ProSeCCo_final.json"
SPC, CONVAI2 = "synthetic-persona-chat", "personachat-convai2/valid_both_original_no_cands.txt.xz"
CHATS = ("pretrain/self-dialogue/dialogues.jsonl.gz", "pretrain/topical-chat-valid-test/dialogues.jsonl.gz")
CONTRADICTION, NEUTRAL, ENTAILMENT = LABELS
Two = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """A row of the files that `selfsame judge` reads, with the kind of pair it is."""

    premise: str
    hypothesis: str
    label: str
    dialogue: str
    kind: str


def prepare(data: Path, work: Path, recipe: Recipe) -> dict[str, int]:
    """Writes `train.jsonl` and the held-out sets under `work`; returns how many rows each has.

    Raises:
        DataError: a source is missing.
    """
    missing = [name for name in (DECODE, PROSECCO, SPC, CONVAI2, *CHATS) if not (data / name).exists()]
    if missing:
        raise DataError(f"{data} lacks {', '.join(missing)}: see evaluator_models/README.md for where they are from")
    work.mkdir(parents=True, exist_ok=True)
    known, held = split(decode_pairs(data / DECODE), recipe.held_out_share)
    debates, debates_held = split(prosecco_pairs(data / PROSECCO), 0.5)
    dataset = DatasetLoader(DataSettings(path=str(data / SPC))).load()
    made = Kinds(dataset.train, recipe.seed)
    rng = random.Random(recipe.seed)
    chats = [turns for name in CHATS for turns in chat_turns(data / name)]
    kinds = {
        "decode": [Row(*two, CONTRADICTION, g, "decode") for p, g in known for two in (p, p[::-1])],
        "prosecco": [Row(*p, label, g, "prosecco") for (p, label), g in debates],
        "denied": made.rows("denied", CONTRADICTION, made.denied()),
        "turns": [*made.rows("turns", NEUTRAL, made.turns()), *_turn_rows(chats, rng)],
        "traits": made.rows("traits", NEUTRAL, made.traits()),
        "crossed": list(crossed([p for p, _ in known], rng, passes=math.ceil(recipe.pairs.crossed / len(known)))),
        "near": list(near([p for p, _ in known], rng)),
        "drawn": made.rows("drawn", ENTAILMENT, made.drawn()),
        "part": list(_parts([*(p for p, _ in known)], rng)),
    }
    train = [row for name, rows in kinds.items() for row in _some(rows, getattr(recipe.pairs, name), rng)]
    train = [_plain(row) if rng.random() < recipe.plain_share else row for row in train]
    rng.shuffle(train)
    sets = {"train": train, **_held_out(data, held, debates_held, dataset.validation, recipe)}
    for name, rows in sets.items():
        lines = [json.dumps(asdict(row), ensure_ascii=False) for row in rows]
        (work / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in sets.items()}


def _held_out(
    data: Path, held: Sequence[tuple[Two, str]], debates: Sequence[tuple[tuple[Two, str], str]],
    validation: Sequence[Example], recipe: Recipe,
) -> dict[str, list[Row]]:  # fmt: skip
    """Sets of which nothing was trained on: contradictions of DECODE against three kinds of neutral pairs, debates, and
    replies of people unseen."""
    rng, size = random.Random(recipe.seed + 1), recipe.held_out_size
    positives = _some([Row(*p, CONTRADICTION, g, "decode") for p, g in held], size, rng)
    made = Kinds(validation, recipe.seed + 1)
    people = [list(d.seen_by(1).turns) for d in DatasetLoader().read(data / CONVAI2, "personachat")[0]]
    neutral = {
        "decode_turns": _turn_rows(people, rng),
        "decode_crossed": list(crossed([p for p, _ in held], rng)),
        "decode_near": list(near([p for p, _ in held], rng)),
    }
    found = {name: [*positives, *_some(rows, size, rng)] for name, rows in neutral.items()}
    found["prosecco"] = [Row(*p, label, g, "prosecco") for (p, label), g in debates]
    kinds = (
        (CONTRADICTION, "denied", made.denied()),
        (NEUTRAL, "other", made.other()),
        (ENTAILMENT, "drawn", made.drawn()),
    )
    found["persona"] = [r for label, kind, pairs in kinds for r in _some(made.rows(kind, label, pairs), size, rng)]
    return found


# --- sources ------------------------------------------------------------------------------------------------------------


def decode_pairs(path: Path) -> list[Two]:
    """Two turns of one speaker each, the second of which people wrote, or marked, to contradict the first."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        cells = [line.rstrip("\n").split("\t") for line in file]
    pairs = [(cell[0].strip(), cell[1].strip()) for cell in cells if len(cell) == 3 and cell[2] == "self-contradiction"]
    return list(dict.fromkeys(p for p in pairs if words(p[0]) and words(p[1])))


def prosecco_pairs(path: Path) -> list[tuple[Two, str]]:
    """Propositions of one speaker in a debate; what is no contradiction counts as neutral."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    label = {"self-contradiction": CONTRADICTION, "no self-contradiction": NEUTRAL}
    return [((row["proposition_1"], row["proposition_2"]), label[row["label"]]) for row in rows]


def chat_turns(path: Path) -> Iterator[list[str]]:
    """The turns of each dialogue."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["dialogue"]


def split(pairs: Sequence, share: float) -> tuple[list, list]:
    """(kept, held out), each with the name of its group: pairs that share a sentence, directly or over others, stay
    together, and which side they are on is a function of their words."""
    texts: dict[str, int] = {}
    ends = [[texts.setdefault(" ".join(words(t)), len(texts)) for t in _two(pair)] for pair in pairs]
    first, second = np.array(ends).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(texts), len(texts)))
    group_of = connected_components(graph, directed=False)[1]
    key_of: dict[int, str] = {}
    for text, number in texts.items():
        key_of[group_of[number]] = min(text, key_of.get(group_of[number], text))
    sides: tuple[list, list] = ([], [])
    for pair, (end, _) in zip(pairs, ends, strict=True):
        digest = hashlib.sha256(key_of[group_of[end]].encode()).hexdigest()
        sides[int(digest[:8], 16) / 16**8 < share].append((pair, digest[:12]))
    return sides


def _two(pair: tuple) -> Two:
    return pair if isinstance(pair[0], str) else pair[0]


# --- kinds --------------------------------------------------------------------------------------------------------------


class Kinds:
    """Pairs made of people with personas. Each kind yields (premise, hypothesis, dialogue)."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self.examples, self.rng = list(examples), random.Random(seed)
        self.rng.shuffle(self.examples)
        self.matcher = TraitMatcher([t for e in self.examples for t in (*e.persona, *e.turns)])

    def rows(self, kind: str, label: str, pairs: Iterator[tuple[str, str, str]]) -> list[Row]:
        return list(dict.fromkeys(Row(p, h, label, d, kind) for p, h, d in pairs))

    def drawn(self) -> Iterator[tuple[str, str, str]]:
        """A trait and a reply that draws on it, in both orders."""
        for example, reply, traits in self._replies():
            for k in traits[:1]:
                trait = spoken(example.persona[k])
                yield (*_either_way((trait, reply), self.rng), example.id)

    def denied(self) -> Iterator[tuple[str, str, str]]:
        """A trait and a reply drawn on it that was edited to deny it, or the trait itself denied, in both orders."""
        for example, reply, traits in self._replies():
            own = frozenset(s for text in (*example.persona, *example.replies) for s in content_stems(text))
            for k in traits[:1]:
                trait = spoken(example.persona[k])
                for source in (reply, trait):
                    edits = contradictions(source, [example.persona[k]], own, self.rng)
                    if edits:
                        yield (*_either_way((trait, self.rng.choice(edits)), self.rng), example.id)

    def other(self) -> Iterator[tuple[str, str, str]]:
        """A trait and a reply of the same person that does not draw on it but on another one."""
        for example, reply, traits in self._replies():
            rest = [k for k in range(len(example.persona)) if k not in traits]
            if rest:
                yield spoken(example.persona[self.rng.choice(rest)]), reply, example.id

    def turns(self) -> Iterator[tuple[str, str, str]]:
        """Two own turns, and a trait and an own turn."""
        for example in self.examples:
            replies = [r for r in example.replies if words(r)]
            if len(replies) > 1:
                yield (*self.rng.sample(replies, 2), example.id)
        yield from self.other()

    def traits(self) -> Iterator[tuple[str, str, str]]:
        """Two traits of one persona."""
        for example in self.examples:
            if len(example.persona) > 1:
                first, second = self.rng.sample(list(map(spoken, example.persona)), 2)
                yield first, second, example.id

    def _replies(self) -> Iterator[tuple[Example, str, tuple[int, ...]]]:
        """Own turns that draw on one trait, and it."""
        for example in self.examples:
            for reply in example.replies:
                traits = self.matcher.drawn(example.persona, reply)
                if len(traits) == 1:
                    yield example, reply, traits


def _turn_rows(dialogues: Sequence[Sequence[str]], rng: random.Random) -> list[Row]:
    """Two turns of one speaker from each dialogue."""
    rows = []
    for number, turns in enumerate(dialogues):
        own = [turn for turn in turns[rng.randint(0, 1) :: 2] if words(turn)]
        if len(own) > 1:
            rows.append(Row(*rng.sample(own, 2), NEUTRAL, f"chat-{number}", "turns"))
    return rows


def crossed(pairs: Sequence[Two], rng: random.Random, passes: int = 1) -> Iterator[Row]:
    """A turn of a pair and a turn of another, each turn of either side; `passes` times every pair with other ones."""
    for _ in range(passes):
        others = rng.sample(range(len(pairs)), len(pairs))
        for pair, k in zip(pairs, others, strict=True):
            one, other = rng.choice(pair), rng.choice(pairs[k])
            if not {*pair} & {*pairs[k]}:
                yield Row(*_either_way((one, other), rng), NEUTRAL, f"crossed-{k}", "crossed")


def near(pairs: Sequence[Two], rng: random.Random) -> Iterator[Row]:
    """As `crossed`, with a content word in common; what the rules call a contradiction is left out."""
    by_stem: dict[str, list[int]] = defaultdict(list)
    for k, (_, second) in enumerate(pairs):
        for stem in set(content_stems(second)):
            by_stem[stem].append(k)
    judge = RuleJudge()
    for number, (first, own) in enumerate(pairs):
        stems = sorted(s for s in set(content_stems(first)) if len(by_stem[s]) > 1)
        if stems:
            second = pairs[rng.choice(by_stem[rng.choice(stems)])][1]
            if second != own and judge.label(first, second) != LABELS.index(CONTRADICTION):
                yield Row(*_either_way((first, second), rng), NEUTRAL, f"near-{number}", "near")


def _parts(pairs: Sequence[Two], rng: random.Random) -> Iterator[Row]:
    """A turn of several sentences and one of them."""
    for number, pair in enumerate(pairs):
        for turn in pair:
            said = [s for s in sentences(turn) if len(words(s)) > 3 and not s.endswith("?")]
            if len(said) > 1:
                yield Row(turn, rng.choice(said), ENTAILMENT, f"part-{number}", "part")


def _either_way(pair: Two, rng: random.Random) -> Two:
    return pair if rng.random() < 0.5 else (pair[1], pair[0])


def _some(rows: Sequence[Row], count: int, rng: random.Random) -> list[Row]:
    return list(rows) if len(rows) <= count else rng.sample(list(rows), count)


def _plain(row: Row) -> Row:
    """Lower-cased, with spaces around punctuation and without apostrophes, as PersonaChat is."""
    made: Callable[[str], str] = lambda text: " ".join(  # noqa: E731
        re.sub(r"([.,!?;:])", r" \1 ", text.replace("'", " ").replace("’", " ")).lower().split()
    )
    return Row(made(row.premise), made(row.hypothesis), row.label, row.dialogue, row.kind)
