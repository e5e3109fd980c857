"""The command `compare`: systems of any runs in one table and on one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from selfsame.cli.output import write_result
from selfsame.cli.parsing import make_parser
from selfsame.run.writable import check_writable

DESCRIPTION = (
    "Compare two or more systems in one table. RUN is a run directory, RUN:SYSTEM one of its systems (default: the last stage"
    " that was evaluated: ppo, dpo, sft or base). Each is compared with the first, in pairs, on the prompts that both"
    " answered. The numbers come from the runs' records and from labels; only --prefer computes anything."
)


def run(arguments: Sequence[str]) -> None:
    """Compare systems of runs; print the tables and write the files asked for.

    Raises:
        SelfsameError: a run, record or option that cannot be used.
    """
    options = options_parser().parse_args(arguments)
    for file in (options.json, options.html):
        check_writable(file)
    from selfsame.comparing.runs import compare
    from selfsame.labels.store import stored_labels
    from selfsame.report.comparison import markdown_comparison, text_comparison, write_comparison
    from selfsame.report.tables import update_readme

    labels = [label for file in options.labels for label in stored_labels(file)]
    comparison = compare(options.runs, options.group, options.prefer, options.metrics, labels)
    write_result(options.json, comparison.model_dump())
    if options.html:
        write_comparison(Path(options.html), comparison)
    if options.readme:
        update_readme(Path(options.readme), options.marker, markdown_comparison(comparison, options.metrics))
    print(text_comparison(comparison, options.metrics) + (f"\n\npage: {options.html}" if options.html else ""))


def options_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = make_parser("compare", DESCRIPTION)
    parser.add_argument("runs", nargs="*", metavar="RUN[:SYSTEM]", help="run directory and which of its systems")
    parser.add_argument(
        "--group", action="append", default=[], metavar="NAME=RUN[:SYSTEM],RUN[:SYSTEM],...",
        help="runs of one recipe that differ in their seed: one row, their mean with the lowest and the highest (repeat"
        " it for another recipe; give it after the runs)",
    )  # fmt: skip
    parser.add_argument(
        "--prefer", action="append", default=[], metavar="RUN_OR_MODEL",
        help="show which replies the reward model of this run prefers (take another seed: a policy pleases its own), or this"
        " language model, asked in both orders (repeat it for another judge)",
    )  # fmt: skip
    parser.add_argument(
        "--labels", nargs="+", default=[], metavar="FILE",
        help="show whose replies people prefer, from files of labels (give it after the runs)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", nargs="+", default=[], metavar="NAME",
        help="print one short table of these metrics, such as consistency perplexity, instead of all (give it after the runs)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write everything to this file")
    parser.add_argument("--html", metavar="FILE", help="write a page with the dialogues side by side")
    parser.add_argument(
        "--readme", metavar="FILE", help="put the tables between the markers `<!-- results:NAME -->` of this file"
    )
    parser.add_argument("--marker", default="compare", metavar="NAME", help="name of the markers (default: compare)")
    return parser
