"""The command `labels`: what people said of two replies, from the page of `selfsame serve`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfsame.cli.parsing import make_parser
from selfsame.run.writable import check_writable


def run(arguments: Sequence[str]) -> None:
    """Count labels, say how far people agree, and write them as JSONL.

    Raises:
        SelfsameError: a file that cannot be used.
    """
    parser = make_parser("labels", "Show how many labels a file holds, by whom, and how far people agree.")
    parser.add_argument("file", metavar="FILE", help="labels, as the page of `selfsame serve` writes them")
    parser.add_argument("--out", metavar="FILE", help="write the labels as JSONL, a label a line")
    options = parser.parse_args(arguments)
    check_writable(options.out)
    from selfsame.data.loader import write_lines
    from selfsame.labels.store import stored_labels
    from selfsame.labels.votes import agreement, verdicts

    labels = stored_labels(options.file)
    if options.out:
        write_lines((label.row() for label in labels), options.out)
    asked = verdicts(labels)
    pairs = Counter(pair.reason for verdict in asked for pair in verdict.pairs())
    made = ", ".join(f"{count} {reason}" for reason, count in pairs.items()) or "none"
    lines = [f"{len(labels)} labels of {len(asked)} questions {agreement(labels)}" if labels else "no labels yet"]
    for name, count in Counter(label.labeller for label in labels).most_common():
        choices = Counter(label.choice for label in labels if label.labeller == name)
        lines.append(f"  {name}: {count} ({', '.join(f'{choice} {n}' for choice, n in choices.most_common())})")
    lines.append(f"preference pairs for --pairs.path: {made}")
    print("\n".join(lines))
