"""A chat in the terminal: lines and commands in, replies out, token by token where somebody is watching."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from selfsame.cards.card import read_persona
from selfsame.errors import DataError, SelfsameError
from selfsame.model.gguf import cache_folder
from selfsame.serve.chat import Conversation
from selfsame.text.keywords import sentences

HISTORY_LENGTH = 1000
"""Lines that the history file keeps."""


@dataclass(frozen=True)
class Command:
    """A line that begins with a slash: what may follow its name, and what it does."""

    argument: str
    help: str


COMMANDS = {
    "help": Command("", "list these commands"),
    "retry": Command("", "sample the last reply again"),
    "undo": Command("", "take back your last line and its reply"),
    "persona": Command("[TEXT]", "show the persona; with TEXT, start again with another one, a sentence a trait"),
    "save": Command("FILE", "write the conversation to a text file"),
    "system": Command("[NAME]", "list the systems of the run; with NAME, let that one speak from now on"),
    "quit": Command("", "end the chat (so does Ctrl-D; Ctrl-C stops a reply)"),
}


class Screen:
    """Where a chat is shown. With `live`, a reply appears while it is sampled, and is written anew where it changes: its last
    sentence may be cut off, or the whole reply sampled again."""

    def __init__(self, out: TextIO | None = None, live: bool | None = None) -> None:
        self.out = out or sys.stdout
        self.live = self.out.isatty() if live is None else live
        self._shown: str | None = None  # of the line that is being written, None between two lines

    def line(self, text: str) -> None:
        """A line that is not a reply."""
        print(text, file=self.out, flush=True)

    def reply(self, make: Callable[[Callable[[str], None] | None], str]) -> None:
        """The reply that `make` returns; while it is made, `make` may call what it is given with the text so far. Ctrl-C stops
        a reply that somebody watches, and the chat continues."""
        try:
            text = make(self._write if self.live else None)
        except KeyboardInterrupt:
            if not self.live:  # nobody watches: the whole program is to end
                raise
            print(file=self.out)
            self._shown = None
            return self.line("(stopped; the conversation is as it was. Ctrl-C again or /quit ends the chat)")
        self._write(text)
        self._shown = None
        print(file=self.out, flush=True)

    def _write(self, text: str) -> None:
        text = f"bot> {text}"
        if self._shown is not None and not text.startswith(self._shown):
            self._erase(self._shown)
            self._shown = None
        print(text[len(self._shown or "") :], end="", file=self.out, flush=True)
        self._shown = text

    def _erase(self, text: str) -> None:
        """Clear what was written, which may fill several rows of the terminal, and go back to its beginning."""
        from rich.cells import cell_len

        columns = shutil.get_terminal_size().columns
        rows = sum(max(1, -(-cell_len(line) // columns)) for line in text.split("\n"))
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        print(f"{up}\r\x1b[J", end="", file=self.out)


def chat(conversation: Conversation, lines: Iterable[str], screen: Screen) -> None:
    """Answer line after line until /quit or the end of the input. Blank lines are ignored; a line that begins with a slash is a
    command and is never sent to the bot (two slashes send the line with one)."""
    if conversation.turns:
        opening = conversation.turns[-1]
        screen.reply(lambda show: opening)
    for line in lines:
        text = line.strip()
        if text.startswith("/") and not text.startswith("//"):
            name, _, rest = text[1:].partition(" ")
            if name == "quit":
                return
            try:
                obey(conversation, name, rest.strip(), screen)
            except SelfsameError as error:
                screen.line(f"({error})")
        elif text:
            said = line.replace("//", "/", 1) if text.startswith("//") else line
            screen.reply(lambda show, said=said: conversation.say(said, show))


def obey(conversation: Conversation, name: str, rest: str, screen: Screen) -> None:
    """Do what a command says.

    Raises:
        SelfsameError: it cannot be done.
    """
    if name == "help":
        width = max(len(f"{n} {c.argument}") for n, c in COMMANDS.items()) + 1
        listed = [f"  {f'/{n} {c.argument}':<{width}}  {c.help}" for n, c in COMMANDS.items()]
        screen.line("\n".join([*listed, "  A line that begins with // is sent to the bot with one slash."]))
    elif name == "retry":
        screen.reply(conversation.retry)
    elif name == "undo":
        screen.line(f"(taken back: {conversation.undo()})")
    elif name == "persona":
        if rest:
            conversation.become(read_persona([*sentences(rest)])[0])
        begins = "; a new conversation begins" if rest else ""
        screen.line(f"(persona: {' | '.join(conversation.persona)}{begins})")
    elif name == "save":
        if not rest:
            raise DataError("give the name of a file: /save FILE")
        conversation.save(rest)
        screen.line(f"(saved to {rest})")
    elif name == "system":
        if rest or not conversation.systems:
            conversation.switch(rest)
        screen.line(f"(system: {conversation.system}; choose {', '.join(conversation.systems)})")
    else:
        raise DataError(f"there is no command /{name}; /help lists them")


def typed_lines() -> Iterator[str]:
    """Lines from the keyboard, with line editing and history where the terminal has them; or from a pipe."""
    if not sys.stdin.isatty():
        yield from _read("")
        return
    with _history(cache_folder() / "chat-history"):
        yield from _read("you> ")


def _read(prompt: str) -> Iterator[str]:
    while True:
        try:
            yield input(prompt)
        except EOFError:
            return


@contextlib.contextmanager
def _history(path: Path) -> Iterator[None]:
    """Line editing, and the lines of earlier chats. A history that cannot be read or written does not matter."""
    readline: Any
    try:
        import readline
    except ImportError:  # Windows has its own line editing
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LENGTH)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)
