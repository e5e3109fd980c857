"""Public dialogue sets -> clean dialogues in one file, `corpus.jsonl`, and an account of what was left out, `corpus.json`.

Left out: what `selfsame.data.audit` removes (placeholders, empty turns, copies, speakers who claim the other's persona);
every dialogue that shares 13 words in a row with a turn of a set that Selfsame is evaluated on; and every dialogue with
a trait of Synthetic-Persona-Chat's validation personas. Shorter turns of small talk that both have stay.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from selfsame.data.audit import audit
from selfsame.data.loader import DatasetLoader
from selfsame.errors import ConfigError, DataError
from selfsame.run.files import write_json, write_text
from selfsame.run.logger import say
from selfsame.text.keywords import words
from selfsame.types import Dialogue, Turn

SOURCES = {
    "new-persona": "synthetic-persona-chat/spc_new_persona.jsonl.xz",
    "self-dialogue": "pretrain/self-dialogue/dialogues.jsonl.gz",
    "topical-chat": "pretrain/topical-chat-valid-test/dialogues.jsonl.gz",
    "schema-guided": "pretrain/sgd/dialogues.jsonl.gz",
    "taskmaster-4": "pretrain/taskmaster4/dialogues.jsonl.gz",
    "crd3": "pretrain/crd3/dialogues.jsonl.gz",
}
"""Name of each source and its file in the data folder; `demo` is the package's own small set."""
EVALUATED = (
    "synthetic-persona-chat/Synthetic-Persona-Chat_valid.csv",
    "personachat-convai2",
    "personachat-orig-nli",
    "persona-min-edit",
    "convai2-human-eval",
    "fed",
    "conture",
    "grade",
    "dstc9-interactive",
    "personagym",
)
"""Files and folders of the data folder that numbers are reported on."""
WINDOW = 13
"""Words in a row that count as the same text (the length that GPT-3's authors used, arXiv:2005.14165)."""


def prepare(data: Path | None, work: Path, sources: Iterable[str]) -> Path:
    """Writes `corpus.jsonl` and `corpus.json` to `work`, unless they are there; returns the former."""
    target = work / "corpus.jsonl"
    if target.exists():
        return target
    evaluated, traits = _evaluated(data) if data else (set(), set())
    account: dict[str, Any] = {}
    lines: list[str] = []
    for name in sources:
        dialogues = list(_read(name, data))
        removed = audit(dialogues).reasons()
        for dialogue in dialogues:
            if dialogue.id not in removed and (reason := _contaminated(dialogue, evaluated, traits)):
                removed[dialogue.id] = reason
        kept = [d for d in dialogues if d.id not in removed]
        lines += [json.dumps(_record(name, d), ensure_ascii=False) for d in kept]
        if not kept:
            raise DataError(f"{name}: no dialogue is left")
        account[name] = {
            "dialogues": len(dialogues),
            "kept": len(kept),
            "turns": sum(len(d.turns) for d in kept),
            "bytes": sum(len(t.text.encode()) for d in kept for t in d.turns),
            "left_out": dict(Counter(removed.values())),
        }
        say(f"{name}: {account[name]}")
    write_json(work / "corpus.json", account)
    write_text(target, "\n".join(lines) + "\n")
    return target


def read_corpus(path: Path) -> dict[str, list[Dialogue]]:
    """The dialogues of `prepare`, by source."""
    corpus: dict[str, list[Dialogue]] = {}
    for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        row = json.loads(line)
        turns = tuple(Turn(speaker, text) for speaker, text in row["turns"])
        first, second = map(tuple, row["personas"])
        corpus.setdefault(row["source"], []).append(Dialogue(row["id"], (first, second), turns))
    return corpus


def is_watched(dialogue: Dialogue, share: float) -> bool:
    """Whether the dialogue is set aside, by a hash of its id."""
    return int(hashlib.sha256(dialogue.id.encode()).hexdigest()[:8], 16) < share * 16**8


def tidy_trait(trait: str) -> str:
    """Natural spelling for a lower-case, tokenised trait: `i have two dogs , both old .` -> `I have two dogs, both old.`"""
    trait = re.sub(r" +([,.!?;:])", r"\1", " ".join(trait.split()))
    trait = re.sub(r"\bi\b", "I", trait).replace(" n't", "n't").replace(" 's", "'s").replace(" 'm", "'m")
    return trait[:1].upper() + trait[1:]


def _read(name: str, data: Path | None) -> Iterator[Dialogue]:
    if name == "demo":
        parts, _ = DatasetLoader().read_parts()
        yield from parts["train"]
        return
    if data is None:
        raise ConfigError(f"the source {name} needs --data FOLDER, see base_model/README.md")
    path = data / SOURCES[name]
    if path.suffix == ".xz":
        yield from (_with_personas(row) for row in _rows(path))
        return
    for k, row in enumerate(_rows(path)):
        turns = [text for text in row["dialogue"] if text.strip()]
        speakers = _speakers_by_name(turns) if name == "crd3" else [(1 + i % 2, text) for i, text in enumerate(turns)]
        yield Dialogue(
            f"{name}-{k:05}", ((), ()), tuple(Turn(s, " ".join(t.split())) for s, t in speakers if t.strip())
        )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with (lzma if path.suffix == ".xz" else gzip).open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _with_personas(row: dict[str, Any]) -> Dialogue:
    first, second = (tuple(filter(None, map(tidy_trait, row[f"user{k}_persona"]))) for k in (1, 2))
    turns = tuple(Turn(speaker, " ".join(text.split())) for speaker, text in row["turns"] if text.strip())
    return Dialogue(row["id"], (first, second), turns)


def _speakers_by_name(turns: list[str]) -> list[tuple[int, str]]:
    """`Laura: Hi.` -> the one who speaks most is speaker 1, the rest of the table speaker 2."""
    named = [tuple(turn.split(": ", 1)) for turn in turns if ": " in turn]
    count = Counter(name for name, _ in named)
    most = max(sorted(count), key=lambda name: count[name], default="")
    return [(1 if name == most else 2, text) for name, text in named]


def _record(source: str, dialogue: Dialogue) -> dict[str, Any]:
    turns = [[turn.speaker, turn.text] for turn in dialogue.turns]
    return {"source": source, "id": dialogue.id, "personas": dialogue.personas, "turns": turns}


def _evaluated(data: Path) -> tuple[set[int], set[str]]:
    """Hashes of all runs of `WINDOW` words, and all traits as words, in the sets that numbers are reported on."""
    runs: set[int] = set()
    traits: set[str] = set()
    for name in EVALUATED:
        path = data / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".md":
                for text in re.split(r'\\n|[\n"]', _text_of(file)):
                    runs.update(_runs(text))
    parts, _ = DatasetLoader().read(data / EVALUATED[0])
    traits.update(" ".join(words(t)) for dialogue in parts for persona in dialogue.personas for t in persona)
    return runs, traits


def _text_of(file: Path) -> str:
    open_file = {".gz": gzip.open, ".xz": lzma.open}.get(file.suffix, open)
    with open_file(file, "rt", encoding="utf-8", errors="replace") as handle:
        return handle.read()


def _runs(text: str) -> Iterator[int]:
    found = words(text)
    return (hash(tuple(found[k : k + WINDOW])) for k in range(len(found) - WINDOW + 1))


def _contaminated(dialogue: Dialogue, evaluated: set[int], traits: set[str]) -> str | None:
    if any(" ".join(words(trait)) in traits for persona in dialogue.personas for trait in persona):
        return "a trait of the validation personas"
    if any(run in evaluated for turn in dialogue.turns for run in _runs(turn.text)):
        return f"{WINDOW} words of an evaluation set"
    return None
