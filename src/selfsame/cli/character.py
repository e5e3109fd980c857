"""The command `character`: from a character card to a trained bot."""

from __future__ import annotations

from selfsame.cli.report import print_results
from selfsame.errors import ConfigError

OWN_FLAGS = ("-h", "--help", "--help-all", "--full")


def run(arguments: list[str]) -> None:
    """Train a character and evaluate it before and after, or print the help.

    Raises:
        SelfsameError: a card, chat, setting or model that cannot be used, or the time of the run is up.
    """
    first = next((k for k, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    files, given = arguments[:first], [a for a in arguments[first:] if a not in OWN_FLAGS]
    from selfsame.config import read_config

    given = [argument if argument != "--out" else "--run.directory" for argument in given]
    own_preset = any(argument.split("=")[0] == "--preset" for argument in given)
    config, _ = read_config([*([] if own_preset else ["--preset", "character"]), *given])
    if {"-h", "--help", "--help-all"} & {*arguments}:
        from selfsame.cli.option_help import training_help

        print(training_help("character", config, "--help-all" in arguments))
        return
    if not files:
        raise ConfigError("character needs a card: selfsame character CARD [CHATS ...] [--out RUN]; see --help")
    from selfsame.character import open_character, train_character
    from selfsame.model import parallel

    character = open_character(files[0], config.run.directory)  # a mistake in it is reported before anything is loaded
    try:
        directory = train_character(character, files[1:], config)
        if parallel.is_main():
            print_results(directory.path, "--full" in arguments)
    finally:
        parallel.stop()
