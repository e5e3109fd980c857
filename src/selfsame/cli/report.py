"""The command `report`, and the text at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfsame.cli.parsing import make_parser


def run(arguments: Sequence[str]) -> None:
    """Write the report of a run and print its table.

    Raises:
        SelfsameError: a run or file that cannot be used.
    """
    parser = make_parser("report", "Write a run's report.html and print its table.")
    parser.add_argument("run", metavar="RUN", help="run directory")
    parser.add_argument(
        "--readme", metavar="FILE", help="put the table between the markers `<!-- results:NAME -->` of this file"
    )
    parser.add_argument("--marker", default="spc", metavar="NAME", help="name of the markers")
    parser.add_argument("--than", metavar="RUN", help="another run, such as full fine-tuning, to compare the cost with")
    options = parser.parse_args(arguments)
    from selfsame.report.page import write_report
    from selfsame.report.tables import markdown_results, update_readme

    write_report(Path(options.run), options.than)
    if options.readme:
        update_readme(Path(options.readme), options.marker, markdown_results(Path(options.run)))
    print_results(Path(options.run))


def print_results(path: Path, full: bool = True) -> None:
    """Print all tables, or a verdict with some replies; then what to do next."""
    from selfsame.report.tables import run_results
    from selfsame.report.top import chat_command
    from selfsame.report.verdict import run_verdict

    print(f"{run_results(path) if full else run_verdict(path)}\n")
    print(f"report: {path / 'report.html'}")
    print(f"chat:   {chat_command(path)}")
    if not full:
        print(f"tables: selfsame report {path}")
