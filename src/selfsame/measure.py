"""The commands that measure a model, or check a claim on a file: `evaluate`, `agreement`, `judge`, `score` and `rank`. Models
are loaded when a command needs one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsame.eval.settings import EvaluationSettings

DESCRIPTIONS = {
    "agreement": "How well every score agrees with human ratings, beside trivial floors and the human ceiling. FILE holds a row"
    ' a line: {"id", "dialogue", "persona": [str], "context": [str], "reply": str, "ratings": {"overall": [one per'
    ' annotator], ...}}; the context ends with the partner\'s turn; without "reply", the context is a whole dialogue (the'
    " partner first) and the ratings are of it. Rows that cannot be used are told on stderr.",
    "judge": 'How often a judge of contradictions is right. FILE holds a row a line: {"premise", "hypothesis", "label":'
    ' "contradiction" | "neutral" | "entailment"}.',
    "score": 'Scores replies that any system gave. FILE holds a row a line: {"persona": [str], "context": [str],'
    ' "reply": str}; the context ends with the partner\'s turn. Optional: "dialogue" (its rows are resampled together), "gold"'
    ' (what a person replied), "called" (indices of the traits that the prompt calls for, from 0; default: those that the gold'
    ' reply draws on) and "system": each other system of the file is compared with the first one on the prompts that both'
    " answer. Rows that cannot be used are told on stderr.",
    "rank": "Which group of candidates a model ranks first, by mean log-probability per token. FILE holds a row a line:"
    ' {"persona": [str], "context": [str], "candidates": [{"text", "group"}, ...]}; the context ends with the partner\'s turn.',
}
SHOWN = 20  # rejected rows that are told one by one


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """The options of a command."""
    parser.add_argument("file", metavar="FILE", help="JSONL, also as .xz or .gz")
    parser.add_argument("--json", metavar="OUT", help="also write the result to this file")
    if command in ("judge", "score"):
        parser.add_argument(
            "--judge",
            default=EvaluationSettings().judge,
            metavar="NAME",
            help="selfsame-judge (the one in the package), rules, or an NLI classifier's hub id or folder",
        )
    else:
        parser.add_argument("--model", metavar="BASE", help="whose likelihoods (default: the bundled base)")
    if command == "rank":
        parser.add_argument("--run", metavar="RUN", help="a run directory instead of --model")
        parser.add_argument(
            "--system", help="which system of a run: ppo, dpo, sft or base (default: the best finished)"
        )


def run(command: str, options: argparse.Namespace) -> None:
    """Does what the command's help says.

    Raises:
        SelfsameError: a file or model that cannot be used.
    """
    from selfsame.run.directory import write_json

    result, text = {"agreement": _agreement, "judge": _judge, "score": _score, "rank": _rank}[command](options)
    if options.json:  # first: whoever reads the table may close the pipe
        write_json(Path(options.json), result)
    print(text)


def _agreement(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.agreement import agreement, text_tables
    from selfsame.eval.fit import fitted_scorers
    from selfsame.eval.likelihood import Likelihood
    from selfsame.eval.ranker import load_ranker
    from selfsame.eval.rows import read_rated
    from selfsame.eval.scorers import FEATURES, our_scores
    from selfsame.eval.statistics import Bootstrap
    from selfsame.model.settings import BUNDLED
    from selfsame.serve.chatbot import load_chatbot

    rows, rejected = read_rated(options.file)
    name = options.model or BUNDLED
    bot = load_chatbot(name)
    likelihood = Likelihood(bot.roles, bot.role)
    fitted = fitted_scorers(likelihood, name)
    levels = {"dialogue" if row.reply is None else "reply" for row in rows}
    fitted = [scorer for scorer in fitted if scorer.fitted.level in levels]
    scores = [*our_scores(), *fitted, *likelihood.scorers(), *load_ranker().scorers()]
    result = agreement(rows, scores, Bootstrap(), features=FEATURES)
    result |= {"model": name, "rejected": told(rejected), "fitted_on": {s.name: s.known_rows(rows) for s in fitted}}
    seen = [f"{n}: fitted on {count} of these rows, so its agreement with them is no test" for n, count
            in result["fitted_on"].items() if count]  # fmt: skip
    return result, "\n".join([text_tables(result), *seen])


def _judge(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.judge import judge_pairs, judge_text, load_judge
    from selfsame.eval.rows import read_pairs
    from selfsame.eval.statistics import Bootstrap

    rows, rejected = read_pairs(options.file)
    result = judge_pairs(load_judge(options.judge), rows, Bootstrap()) | {"rejected": told(rejected)}
    return result, judge_text(result)


def _score(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.given import score_given
    from selfsame.eval.judge import load_judge
    from selfsame.eval.rows import read_given
    from selfsame.eval.statistics import Bootstrap
    from selfsame.report.sources import judge_line
    from selfsame.report.tables import comparison_lines, rows_of, text_table

    rows, rejected = read_given(options.file)
    result = score_given(rows, load_judge(options.judge), Bootstrap())
    counts = [
        f"{s['system']}: {s['items']} replies, {s['wordless']} without a word, {s['dialogues']} dialogues or prompts"
        for s in result["systems"].values()
    ]
    alone = [f"{pair['system']} and {pair['than']} answer no prompt in common." for pair in result["paired"]
             if not pair["prompts"]]  # fmt: skip
    lines = [*counts, *alone, *comparison_lines(result["comparisons"]), judge_line(result["judge"])]
    text = "\n\n".join([text_table(rows_of(result["systems"])), "\n".join(lines)])
    return result | {"rejected": told(rejected)}, text


def _rank(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.errors import ConfigError
    from selfsame.eval.ranking import rank_rows, rank_text
    from selfsame.eval.rows import read_candidates
    from selfsame.eval.statistics import Bootstrap
    from selfsame.model.settings import BUNDLED
    from selfsame.serve.chatbot import load_chatbot

    if options.run and options.model:
        raise ConfigError("give --run or --model, not both")
    rows, rejected = read_candidates(options.file)
    bot = load_chatbot(options.run or options.model or BUNDLED, options.system)
    result = {"model": bot.name} | rank_rows(bot.roles, bot.role, rows, Bootstrap()) | {"rejected": told(rejected)}
    return result, f"{bot.name}: {rank_text(result)}"


def evaluate_model(name: str, data_path: str | None, system: str | None, seed: int | None) -> dict[str, Any]:
    """Evaluates a run's system, an adapter or a model on the held-out personas of `data_path` (None: of the run's data).

    Raises:
        DataError: no held-out persona is left.
    """
    from selfsame.data.loader import DatasetLoader, half
    from selfsame.data.pairs import HELD_OUT, PreferenceGenerator
    from selfsame.errors import DataError
    from selfsame.eval.evaluate import evaluate_system
    from selfsame.rollout.policy import Policy
    from selfsame.serve.chatbot import load_chatbot

    bot = load_chatbot(name, system)
    config = bot.config
    other = {"path": data_path, "format": "auto", "limit": None}
    settings = config.data if data_path is None else config.data.model_copy(update=other)
    people = half(DatasetLoader(settings).load().validation, config.evaluation.split if data_path is None else "all")
    if not people:
        raise DataError(f"{settings.path} leaves no held-out persona to evaluate on: add dialogues of more people")
    generator, seed = PreferenceGenerator(people, config.pairs, HELD_OUT), config.seed if seed is None else seed
    policy = Policy(bot.roles, bot.role, config.sampling, seed)
    return evaluate_system(policy, people, generator, config.evaluation, bot.name).model_dump(mode="json")


def told(rejected: Sequence[Any]) -> list[str]:
    """The rejected rows as `file:line: reason`, told on stderr too."""
    lines = [str(row) for row in rejected]
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    if lines:
        print("\n".join([f"{len(lines)} rows rejected:", *lines[:SHOWN], *more]), file=sys.stderr)
    return lines
