"""The command `sweep`."""

from __future__ import annotations

from selfsame.cli.parsing import make_parser, natural
from selfsame.errors import ConfigError, RunError

DESCRIPTION = (
    "A run for each combination of some settings, in local processes, and one table. All other options are those of"
    " `selfsame run`; --run.directory is the folder of the sweep. Stages that several runs share are trained once. The runs"
    " are evaluated on the half of the held-out people that settings are chosen on (--evaluation.split all: on all of them),"
    " and the best one on the other half too. The same command resumes, with more values in the grid as well."
)


def run(arguments: list[str]) -> None:
    """Train and compare the runs of a grid.

    Raises:
        SelfsameError: an option that cannot be used; some runs failed; the time of the sweep is up.
    """
    parser = make_parser("sweep", DESCRIPTION)
    parser.add_argument(
        "--grid", action="extend", nargs="+", default=[], metavar="SETTING=VALUE,VALUE",
        help="settings to vary, such as training.ppo.kl_coef=0.05,0.1,0.2 seed=0,1; runs that differ in their seed alone are"
        " one row",
    )  # fmt: skip
    parser.add_argument("--by", metavar="METRIC", help="what the best is chosen by (default: in_character)")
    parser.add_argument("--processes", type=natural, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="print the runs and their stages, and stop")
    options, rest = parser.parse_known_args(arguments)
    if not options.grid:
        raise ConfigError("sweep needs --grid SETTING=VALUE,VALUE, such as --grid training.ppo.kl_coef=0.05,0.1,0.2")
    if options.processes < 1:
        raise ConfigError("--processes is 0: give at least 1")
    from selfsame.config import read_config

    config, name = read_config(rest)
    from selfsame.sweep.sweep import make_sweep

    sweep = make_sweep(config, options.grid, options.by, options.processes, name or "run")
    if options.dry_run:
        print("\n".join([*sweep.lines(), "selfsame plan with the same settings says what one run costs"]))
        return
    sweep.run()
    if "evaluate" in config.run.stages:
        print(sweep.results())
    else:
        print(f"{len(sweep.variants) - len(sweep.failed)} runs are in {sweep.folder.path}; none was evaluated")
    if sweep.failed:
        raise RunError(
            f"{len(sweep.failed)} of {len(sweep.variants)} runs failed, for the reasons above: {', '.join(sweep.failed)}."
            " The same command tries them again"
        )
