"""The command `data`: show, convert or audit dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfsame.cli.output import first_lines
from selfsame.cli.parsing import make_parser, natural
from selfsame.errors import ConfigError
from selfsame.run.writable import check_writable


def run(arguments: Sequence[str]) -> None:
    """Show, convert or audit dialogues.

    Raises:
        SelfsameError: a file or option that cannot be used.
    """
    parser = make_parser(
        "data", "Look at dialogues, convert them to Selfsame's JSONL, or list what is wrong with them."
    )
    parser.add_argument("action", choices=("show", "convert", "audit"))
    parser.add_argument(
        "--data.path", dest="path", required=True, metavar="FILE", help="file, folder, hub id or `demo`"
    )
    parser.add_argument("--data.format", dest="format", default="auto", choices=("auto", "jsonl", "csv", "personachat"))
    parser.add_argument("--data.bot", dest="bot", default="", metavar="NAME", help="whose turns are the bot's")
    parser.add_argument(
        "--data.persona", dest="persona", nargs="+", default=[], metavar="TRAIT", help="the bot's, if the file has none"
    )
    parser.add_argument("--data.card", dest="card", default="", metavar="CARD", help="the same, from a character card")
    parser.add_argument(
        "--data.fields",
        dest="fields",
        nargs="+",
        default=[],
        metavar="USE=FIELD",
        help="turns, speaker, text, persona, bot",
    )
    parser.add_argument("--out", metavar="FILE", help="convert: file to write; rejected rows go to FILE.rejects.jsonl")
    parser.add_argument("--count", type=natural, default=2, help="show: number of dialogues")
    options = parser.parse_args(arguments)
    from selfsame.config import load_config
    from selfsame.data.audit import audit
    from selfsame.data.loader import DatasetLoader, convert, write_rejects

    if options.action == "convert":
        if not options.out:
            raise ConfigError("data convert needs --out FILE")
        check_writable(options.out)
        if Path(options.path).exists() and Path(options.out).exists() and Path(options.path).samefile(options.out):
            raise ConfigError(f"--out {options.out} is the file to convert: give another one")
    names = ("path", "format", "bot", "persona", "card", "fields")
    loader = DatasetLoader(load_config(values={"data": {name: getattr(options, name) for name in names}}).data)
    parts, rejected = loader.read_parts()
    dialogues = [dialogue for part in parts.values() for dialogue in part]
    if options.action == "audit":
        print("\n".join([audit(dialogues).table(), *first_lines([str(row) for row in rejected])]))
    elif options.action == "convert":
        convert(dialogues, options.out)
        if rejected:
            write_rejects(rejected, f"{options.out}.rejects.jsonl")
        print(f"{len(dialogues)} dialogues written to {options.out}, {len(rejected)} rows rejected")
    else:
        print(loader.load().summary())
        for dialogue in dialogues[: options.count]:
            print(f"\n{dialogue.id}")
            for number, persona in enumerate(dialogue.personas, 1):
                print(f"  user {number}: {' | '.join(persona)}")
            for turn in dialogue.turns:
                print(f"    {turn.speaker}: {turn.text}")
