"""The command `plan`."""

from __future__ import annotations

from collections.abc import Sequence

from selfsame.cli.output import write_result
from selfsame.cli.parsing import add_json, make_parser, natural
from selfsame.errors import ConfigError
from selfsame.run.writable import check_writable


def run(arguments: Sequence[str]) -> None:
    """Print the plan of a run and, if it does not fit, what to change.

    Raises:
        SelfsameError: a setting or option that cannot be used.
    """
    parser = make_parser("plan", "Memory and time of a run's stages; all other options are those of `selfsame run`.")
    parser.add_argument(
        "--gpu",
        choices=("t4", "l4", "a100", "h100", "h200", "cpu"),
        help="hardware to plan for (default: this machine)",
    )
    parser.add_argument("--gpus", type=natural, default=1, help="number of GPUs, one process each")
    parser.add_argument("--hours", type=float, help="time limit for the run, in hours")
    add_json(parser, "the plan")
    options, rest = parser.parse_known_args(arguments)
    from selfsame.config import read_config

    config, _ = read_config(rest)
    if options.gpus < 1 or not (options.hours is None or 0 < options.hours < 1e6):
        raise ConfigError(f"--gpus ({options.gpus}) must be at least 1, --hours ({options.hours}) above 0")
    check_writable(options.json)
    from selfsame.plan.summary import plan_lines

    text, record = plan_lines(config, options.gpu, options.gpus, options.hours)
    write_result(options.json, record)
    print(text)
