"""Files, folders and hub data sets -> the train and validation examples of a `Dataset`. `reading.py` reads one file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selfsame.data.audit import audit
from selfsame.data.containers import PART_NAMES
from selfsame.data.hold_out import hold_out_dialogues, hold_out_people, persona_key, personas_of, told_of_few
from selfsame.data.reading import Source, from_records, read_file
from selfsame.data.settings import DataSettings
from selfsame.errors import ConfigError, DataError, RunError
from selfsame.text.language import describe_languages
from selfsame.types import Dialogue, Example, RejectedRow

_PART = {"ignored": r"test|new[-_ ]?personas?"}
_PART |= {part: "|".join(n for n, p in PART_NAMES.items() if p == part) for part in ("train", "validation")}
"""Part by a word in the name of a file; the first that fits counts."""
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".xz", ".gz")


@dataclass
class Dataset:
    """Examples to train on, examples of held-out personas, and an account of every row that is in neither. Where nobody can be
    held out, the second are of held-out dialogues.

    `dialogues`: dialogues in each part; `removed`: dialogues left out, by reason; `notes`: what else is to be known.
    """

    train: list[Example]
    validation: list[Example]
    rejected: list[RejectedRow] = field(default_factory=list)
    dialogues: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Plain text, a few lines."""
        lines = []
        for name, part in (("train", self.train), ("validation", self.validation)):
            personas, replies = len({persona_key(e.persona) for e in part}), sum(len(e.replies) for e in part)
            count = self.dialogues.get(name, 0)
            lines.append(f"{name}: {count} dialogues, {len(part)} sides, {personas} personas, {replies} replies")
        lines += [f"left out, {reason}: {count} dialogues" for reason, count in self.removed.items()]
        lines.append(f"rejected rows: {len(self.rejected)}")
        lines += [f"  {row}" for row in self.rejected[:3]]
        return "\n".join(lines + self.notes)


@dataclass
class DatasetLoader:
    """Reads the source that the settings name. `load` gives examples, `read` the dialogues of one file.

    `records`: rows in memory in place of a file: a list of objects, a `datasets.Dataset`, or an object with the parts "train"
    and "validation" of these (a `datasets.DatasetDict`).
    """

    settings: DataSettings = field(default_factory=DataSettings)
    records: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None = None

    def load(self) -> Dataset:
        """Reads, cleans, cuts and splits. Raises `DataError` (with path, problem and remedy) and `ConfigError`."""
        settings = self.settings
        sources = self.sources()
        parts, rejected = _join(sources)
        notes = [note for source in sources for note in source.notes]
        removed: Counter[str] = Counter()
        # Measured on Synthetic-Persona-Chat: 41 % of the training dialogues hold placeholders, 4,793 of 8,938 are left.
        if settings.clean:
            # Validation first: of two copies the first stays, so a copy never sits in both parts.
            reasons = audit([*parts["validation"], *parts["train"]]).reasons()
            removed.update(f"clean-up ({reason})" for reason in reasons.values())
            parts = {name: [d for d in part if d.id not in reasons] for name, part in parts.items()}
        notes += _told_of_cuts([*parts["validation"], *parts["train"]], settings.max_turns)
        parts = {n: [replace(d, turns=d.turns[: settings.max_turns]) for d in part] for n, part in parts.items()}
        own_part = bool(parts["validation"])
        held = (
            personas_of(parts["validation"]) if own_part else hold_out_people(parts["train"], settings.validation_share)
        )
        # People are held out, not dialogues. Measured: with 3,854 personas in 8,028 dialogues nearly every persona of
        # the dialogues set aside also speaks in the others.
        train = [d for d in parts["train"] if held.isdisjoint(personas_of([d]))]
        set_aside = parts["validation"] if own_part else parts["train"]
        if parts["train"] and not (held and train):  # whoever is held out is everybody
            if not own_part:
                train, set_aside = hold_out_dialogues(parts["train"], settings.validation_share)
            train, held = train or parts["train"], personas_of(set_aside)
            notes.append(told_of_few(train, set_aside))
        elif own_part:
            removed["a persona of the validation part"] = len(parts["train"]) - len(train)
        validation = [side for side in _sides(set_aside) if persona_key(side.persona) in held]
        removed["over the limit"] = len(train) - len(train[: settings.limit])
        train = train[: settings.limit]
        if not train:
            why = ", ".join(f"{reason} {count}" for reason, count in removed.items() if count) or "there are none"
            raise DataError(
                f"{settings.path}: no dialogue is left to train on ({why}); `selfsame data audit` shows them,"
                " --data.clean false keeps what the clean-up leaves out"
            )
        count = {"train": len(train), "validation": len({side.id.rpartition("/")[0] for side in validation})}
        if languages := describe_languages([_words_of(dialogue) for dialogue in train]):
            notes.append(languages)
        return Dataset(_sides(train), validation, rejected, count, dict(+removed), notes)

    def read_parts(self) -> tuple[dict[str, list[Dialogue]], list[RejectedRow]]:
        """The dialogues of the source as they are, under "train" and "validation" (maybe empty); ids differ."""
        return _join(self.sources())

    def sources(self) -> list[Source]:
        """The files, splits or rows of the source, each with its dialogues and with what was understood of it."""
        settings, name, path = self.settings, self.settings.path, Path(self.settings.path)
        if self.records is not None:
            whole: Any = self.records if isinstance(self.records, Mapping) else {"train": self.records}
            return _read_splits("records", whole, settings)
        if name == "demo":
            demo = importlib.resources.files("selfsame") / "data" / "demo" / "dialogues.jsonl"
            with importlib.resources.as_file(demo) as file:
                return read_file(file)
        if path.is_dir():
            files, unused = _find_parts(path)
            found = [(part, read_file(file, settings)) for part, file in files]
            found[0][1][0].notes += [f"{file.name}: not used, its name holds no train or validation" for file in unused]
            return [replace(source, part=source.part or part) for part, sources in found for source in sources]
        if not path.exists() and re.fullmatch(r"[\w-]+/[\w.-]+", name) and path.suffix not in _SUFFIXES:
            return _read_splits(name, _load_hub(name), settings)
        return read_file(path, settings)

    def read(self, path: str | Path, format: str = "auto") -> tuple[list[Dialogue], list[RejectedRow]]:
        """The dialogues of one file, and every row that could not be used. `format`: auto, jsonl, csv or personachat.

        Raises `DataError` where the file as a whole cannot be used.
        """
        sources = read_file(path, self.settings.model_copy(update={"format": format}))
        return [d for source in sources for d in source.dialogues], [
            row for source in sources for row in source.rejected
        ]


def _told_of_cuts(dialogues: Iterable[Dialogue], most: int) -> list[str]:
    """How many dialogues are longer than `most` turns, and what that costs."""
    lost = [len(dialogue.turns) - most for dialogue in dialogues if len(dialogue.turns) > most]
    return (
        [f"cut after {most} turns (data.max_turns): {len(lost)} dialogues, {sum(lost)} turns left out"] if lost else []
    )


def _find_parts(folder: Path) -> tuple[list[tuple[str, Path]], list[Path]]:
    """(part, file) for the data files of a folder, by their names; and those that are of no part."""
    found: list[tuple[str, Path]] = []
    unused: list[Path] = []
    for path in sorted(folder.iterdir()):
        part = next(
            (n for n, p in _PART.items() if re.search(rf"(?<![a-z])(?:{p})(?![a-z])", path.name.lower())), "ignored"
        )
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            if part == "ignored":
                unused.append(path)
            else:
                found.append((part, path))
    if not any(part == "train" for part, _ in found):
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder}: holds no data file with train in its name (found {names}); rename it or give the file"
        )
    return found, unused


def _load_hub(name: str) -> Any:
    """The splits of a data set on the Hugging Face hub."""
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"{name}: reading from the hub needs the datasets package; pip install 'selfsame-chat[hub]'"
        ) from None
    try:
        return datasets.load_dataset(name)
    except Exception as error:  # the hub client raises errors of a dozen unrelated classes
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"{name}: no such file here, and not loaded from the hub ({why}); check the name and the network"
        ) from error


def _read_splits(name: str, splits: Mapping[str, Any], settings: DataSettings) -> list[Source]:
    """The dialogues of the train and validation splits."""
    if "train" not in splits:
        raise DataError(f"{name}: has no train split but {', '.join(splits)}; download the file and give its path")
    parts = [part for part in ("train", "validation") if part in splits]
    return [replace(from_records(f"{name}[{part}]", splits[part], part, settings), part=part) for part in parts]


def _join(sources: Iterable[Source]) -> tuple[dict[str, list[Dialogue]], list[RejectedRow]]:
    """All files of each part together; an id that another file used before gets the file's name in front."""
    parts: dict[str, list[Dialogue]] = {"train": [], "validation": []}
    rejected: list[RejectedRow] = []
    seen: set[str] = set()
    for source in sources:
        stem = Path(source.name).name.split(".")[0]
        fresh = [replace(d, id=f"{stem}:{d.id}") if d.id in seen else d for d in source.dialogues]
        seen.update(dialogue.id for dialogue in fresh)
        parts[source.part or "train"] += fresh
        rejected += source.rejected
    return parts, rejected


def half(examples: Iterable[Example], which: str) -> list[Example]:
    """The examples of the people in one half, "dev" or "test", or of "all". Where a persona is, is a function of it; of a
    single persona, where a dialogue is, is a function of what was said."""
    examples = list(examples)
    if which == "all":
        return examples
    single = len({persona_key(e.persona) for e in examples}) == 1

    def is_test(example: Example) -> bool:
        key = repr(example.turns) if single else repr(sorted(persona_key(example.persona)))
        return hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()[0] % 2 == 1

    return [example for example in examples if is_test(example) == (which == "test")]


def _words_of(dialogue: Dialogue) -> str:
    """Everything that is said in a dialogue and of its speakers."""
    traits = [trait for persona in dialogue.personas for trait in persona]
    return "\n".join([*traits, *(turn.text for turn in dialogue.turns)])


def _sides(dialogues: Iterable[Dialogue]) -> list[Example]:
    """The sides of somebody with a persona who says something."""
    sides = (dialogue.seen_by(speaker) for dialogue in dialogues for speaker in (1, 2))
    return [side for side in sides if side.persona and side.replies]


def convert(dialogues: Iterable[Dialogue], path: str | Path) -> None:
    """Writes the canonical JSONL, from which `DatasetLoader.read` makes the same dialogues again. `RunError` if it cannot."""
    rows = (
        {
            "id": dialogue.id,
            "user1_persona": dialogue.personas[0],
            "user2_persona": dialogue.personas[1],
            "turns": [
                (t.speaker, t.text) if t.traits is None else (t.speaker, t.text, t.traits) for t in dialogue.turns
            ],
        }
        for dialogue in dialogues
    )
    write_lines(rows, path)


def write_rejects(rows: Iterable[RejectedRow], path: str | Path) -> None:
    """Writes the rows set aside as JSONL: file, line, reason."""
    write_lines(({"file": row.file, "line": row.line, "reason": row.reason} for row in rows), path)


def write_lines(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """A file that was there stays as it is until the new one is complete."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror}): free some space or choose another file") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
