"""Dispatch of commands: which one runs, how it ends, and the page of `selfsame --help`.

The commands' files import nothing heavy before one of them runs: `selfsame --help` answers at once.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from selfsame.cli import (
    base,
    benchmark,
    card,
    character,
    chat,
    compare,
    data,
    evaluate,
    export,
    labels,
    measure,
    plan,
    report,
    serve,
    sweep,
    train,
)
from selfsame.errors import ConfigError, SelfsameError, TimeUp
from selfsame.run.interruption import sigterm_like_ctrl_c

DESCRIPTION = """Selfsame trains chatbots that stay in character, measures whether they got better, and lets you talk to them.

training:
  plan        memory and time of each stage on a GPU or CPU before it starts, and what to change if it does not fit
  demo        the whole journey on the bundled dialogues, in minutes, offline
  run         all stages: SFT, reward model, PPO, evaluation, report; the same command resumes a stopped run
  character   a bot for one character card, and chats of that character, in minutes
  sweep       a run for each combination of some settings, what they share trained once, and one table
  sft, reward, ppo, dpo
              one stage, with the same options
looking at results:
  evaluate    a run, an adapter or any model, on held-out personas
  report      write a run's report.html and print its table
  compare     systems of two or more runs: a table, paired differences, a page with dialogues side by side
  chat        talk to the bot of a run, or to any model
  serve       a page to talk, label and look, and a server for clients of the OpenAI API
checking a claim on a file:
  agreement   how well the scores agree with human ratings
  judge       how often the judge of contradictions is right
  score       replies of any system: scores, reference rows, paired comparisons
  rank        which group of candidate replies a model ranks first
  benchmark   ConvAI2, minimal persona edits, PersonaGym's questions; compares two ConvAI2 results
taking it away:
  export      a bot for other programs: PEFT adapter, merged weights, GGUF, Ollama, character card
data and bases:
  data        show, convert or audit a dataset
  labels      what people said of two replies: how many, by whom, how far they agree
  card        show what a character card says, or write it as JSON or as a picture
  base        download and prepare a named base model: smollm2-135m, the recommended one
"""
EPILOG = "`selfsame COMMAND --help` lists a command's options."
LESS_MEMORY = (
    "Use less: a lower --training.STAGE.token-budget, --training.ppo.prompts-per-step or --sampling.batch-size, a shorter"
    " --model.max-length, --model.four-bit true on a GPU, --model.shard true on several, or a smaller model"
)


COMMANDS: Mapping[str, Callable[[list[str]], None]] = {
    **{name: partial(train.run, name) for name in train.TRAINING},
    "plan": plan.run,
    "sweep": sweep.run,
    "evaluate": evaluate.run,
    "report": report.run,
    "chat": chat.run,
    "serve": serve.run,
    "export": export.run,
    "data": data.run,
    "labels": labels.run,
    "card": card.run,
    "character": character.run,
    "base": base.run,
    **{name: partial(measure.run, name) for name in measure.DESCRIPTIONS},
    "benchmark": benchmark.run,
    "compare": compare.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Returns:
        0; 2 for a user's error (one line on stderr); 130 after Ctrl-C, or SIGTERM in a run; 75 where the time of a run is up
        and the same command resumes it.
    """
    # Threads that spin while they wait take the time of other programs, and theirs; threads that sleep wake up late. A short
    # spin is between. Measured twice on two cores, a pass of 120 tokens: .11 and .15 s, sleeping .21 and .24 s, spinning .10
    # and .11 s; beside two busy programs .24 and .28 s, .31 and .57 s, 2.0 s; of 480 tokens no better than sleeping.
    # The library of threads reads this once, as torch loads it.
    if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE").upper() == "PASSIVE":  # what libraries but GNU's go by
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    again = f"run the same command again to resume: selfsame {shlex.join(arguments)}"
    command = arguments[0] if arguments else "--help"
    for stream in (sys.stdin, sys.stdout, sys.stderr):  # unknown bytes or letters must not end the program
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    kept = command in (*train.TRAINING, "character", "sweep") or (
        command == "benchmark" and any(a.startswith("--json") for a in arguments)
    )
    try:
        with sigterm_like_ctrl_c() if kept else nullcontext():
            _run(command, arguments[1:])
        sys.stdout.flush()
    except TimeUp as stop:
        return _fail(f"{stop}; {again}", TimeUp.exit_code)
    except SelfsameError as error:
        return _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return _fail(f"stopped; {again}" if kept else "stopped", 130)
    except BrokenPipeError:  # the reader of our output is gone (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except (MemoryError, RuntimeError) as error:
        said = f"{type(error).__name__} {error}"  # torch has its own classes, or only words
        if any(word in said for word in ("MemoryError", "OutOfMemoryError", "allocate memory")):
            return _fail(f"out of memory; what was saved is intact. {LESS_MEMORY}")
        if any(word in said for word in ("closed by peer", "reset by peer", "DistBackendError", "DistNetworkError")):
            return _fail(f"another process of this run has ended; {again}")
        raise
    return 0


def _run(command: str, arguments: list[str]) -> None:
    if command in ("-h", "--help"):
        print(f"usage: selfsame COMMAND [OPTIONS]\n\n{DESCRIPTION}\n{EPILOG}")
    elif command == "--version":
        from importlib.metadata import version

        from selfsame.run.environment import DISTRIBUTION

        print(version(DISTRIBUTION))
    elif command not in COMMANDS:
        import difflib

        near = [f" - did you mean {name}?" for name in difflib.get_close_matches(command, COMMANDS, 1)]
        raise ConfigError(f"unknown command {command!r}{''.join(near)}; choose {', '.join(COMMANDS)}")
    else:
        COMMANDS[command](arguments)


def _fail(message: str, code: int = 2) -> int:
    print(f"selfsame: {message}", file=sys.stderr)
    return code
