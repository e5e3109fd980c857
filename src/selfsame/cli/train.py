"""The commands that train: `demo`, `run`, `sft`, `reward`, `ppo` and `dpo`."""

from __future__ import annotations

import sys

from selfsame.cli.report import print_results
from selfsame.systems import TRAINED

TRAINING = ("demo", "run", *TRAINED)
OWN_FLAGS = ("--help", "--help-all", "--full")
"""Options of these commands that are no settings."""


def run(command: str, arguments: list[str]) -> None:
    """Train and evaluate as the command says, or print its help.

    Raises:
        SelfsameError: a setting, a file or a model that cannot be used, or the time of the run is up.
    """
    given = [argument for argument in arguments if argument not in ("-h", *OWN_FLAGS)]
    preset = ["--preset", _demo_preset()] if command == "demo" else []
    from selfsame.config import read_config

    config, name = read_config([*preset, *given])
    if command in TRAINED:
        config = config.model_copy(update={"run": config.run.model_copy(update={"stages": (command,)})})
    if {"-h", "--help", "--help-all"} & {*arguments}:
        from selfsame.cli.option_help import training_help

        print(training_help(command, config, "--help-all" in arguments))
        return
    from selfsame import pipeline
    from selfsame.model import parallel

    try:
        directory = pipeline.run(config, name or "run")
        if parallel.is_main():
            print_results(directory.path, "--full" in arguments)
    finally:
        parallel.stop()


def _demo_preset() -> str:
    """`demo` where its base is on this machine, else `toy`, said in one line."""
    from selfsame.model.named import is_ready

    if is_ready("smollm2-135m"):
        return "demo"
    print(
        "smollm2-135m is not on this machine (selfsame base smollm2-135m fetches it, 93 MB): this demo runs on the bundled"
        " toy model, whose replies are rarely good English",
        file=sys.stderr,
        flush=True,
    )
    return "toy"
