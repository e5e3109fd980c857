"""The file of labels: an SQLite database that several people, and several servers, write to at once.

A label is on the disk before the page says so. Whoever answers the same question again replaces the own earlier answer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from selfsame.errors import DataError, RunError
from selfsame.labels.label import Label, label_of

MAGIC = b"SQLite format 3\0"
_PATIENCE = 10.0
"""Seconds to wait while another process writes."""
_TABLE = """
create table if not exists labels (
    labeller text not null,
    question text not null,
    row text not null,
    at text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    primary key (labeller, question)
)"""


class LabelStore:
    """Labels in a file, which is made where there is none.

    Args:
        path: of the file.

    Raises:
        DataError: it is another kind of file.
        RunError: it cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        with self._open() as database:
            database.execute(_TABLE)

    def add(self, label: Label) -> None:
        """Keep a label; it takes the place of the labeller's earlier one about the same question.

        Raises:
            RunError: it could not be written; the file is as it was.
        """
        prompt, replies = label.question()
        question = json.dumps([prompt.persona, prompt.history, sorted(replies)], ensure_ascii=False)
        row = json.dumps(label.row(), ensure_ascii=False)
        with self._open() as database:
            database.execute(
                "insert into labels (labeller, question, row) values (?, ?, ?) on conflict (labeller, question)"
                " do update set row = excluded.row, at = excluded.at",
                (label.labeller, question, row),
            )

    def remove(self, label: Label) -> bool:
        """Take back what this person said of these replies; returns whether there was anything.

        Raises:
            RunError: the file cannot be written.
        """
        prompt, replies = label.question()
        question = json.dumps([prompt.persona, prompt.history, sorted(replies)], ensure_ascii=False)
        with self._open() as database:
            done = database.execute(
                "delete from labels where labeller = ? and question = ?", (label.labeller, question)
            )
            return done.rowcount > 0

    def labels(self) -> list[Label]:
        """All labels, the oldest first.

        Raises:
            DataError: one is damaged.
            RunError: the file cannot be read.
        """
        with self._open() as database:
            rows = [row for (row,) in database.execute("select row from labels order by at, rowid")]
        try:
            return [label_of(json.loads(row)) for row in rows]
        except (ValueError, AttributeError) as error:
            raise DataError(f"{self.path}: a label is damaged ({error})") from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together, or not at all."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as database, database:
                yield database
        except sqlite3.OperationalError as error:
            raise RunError(
                f"cannot use {self.path} ({error}): check the disk, and that the folder may be written to"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no file of labels ({error}): give another one") from error


def stored_labels(path: str | Path) -> list[Label]:
    """The labels in a file that exists.

    Raises:
        DataError: there is none, or it holds no labels.
    """
    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    return LabelStore(path).labels()
