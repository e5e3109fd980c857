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
    from selfsame.report.verdict import run_verdict
    from selfsame.run.records import EvaluationRecord, read_record

    print(f"{run_results(path) if full else run_verdict(path)}\n")
    best = path / "eval" / "ppo_best_of_n.json"
    count = read_record(best, EvaluationRecord).best_of if best.exists() else 1
    several = f" --best-of {count}" if count > 1 else ""
    print(f"report: {path / 'report.html'}")
    persona = "" if (path / "card.json").exists() else " --persona 'I have two dogs.' 'I drive a night bus.'"
    print(f"chat:   selfsame chat --model {path}{several}{persona}")
    if not full:
        print(f"tables: selfsame report {path}")
