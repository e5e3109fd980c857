"""The commands that check a claim on a file: `agreement`, `judge`, `score` and `rank`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from selfsame.cli.model_options import add_model, asked_model, load_asked
from selfsame.cli.output import report_rejected, write_result
from selfsame.cli.parsing import add_json, make_parser
from selfsame.run.writable import check_writable

DESCRIPTIONS = {
    "agreement": "How well every score agrees with human ratings, next to trivial floors and the human ceiling. FILE holds a"
    ' row a line: {"id", "dialogue", "persona": [str], "context": [str], "reply": str, "ratings": {"overall": [one per'
    ' annotator], ...}}; the context ends with the partner\'s turn; without "reply", the context is a whole dialogue (the'
    " partner first) and the ratings belong to it. Rejected rows are listed on stderr.",
    "judge": 'How often a judge of contradictions is right. FILE holds a row a line: {"premise", "hypothesis", "label":'
    ' "contradiction" | "neutral" | "entailment"}.',
    "score": 'Score the replies of any system. FILE holds a row a line: {"persona": [str], "context": [str],'
    ' "reply": str}; the context ends with the partner\'s turn. Optional: "dialogue" (its rows are resampled together), "gold"'
    ' (what a person replied), "called" (indices of the traits that the prompt calls for, from 0; default: those that the gold'
    ' reply uses) and "system": each other system of the file is compared with the first one on the prompts that both'
    " answer. Rejected rows are listed on stderr.",
    "rank": "Which group of candidates a model ranks first, by mean log-probability per token. FILE holds a row a line:"
    ' {"persona": [str], "context": [str], "candidates": [{"text", "group"}, ...]}; the context ends with the partner\'s turn.',
}


def run(command: str, arguments: Sequence[str]) -> None:
    """Measure the rows of a file as the command says, and print the result.

    Raises:
        SelfsameError: a file, model or option that cannot be used.
    """
    options = options_parser(command).parse_args(arguments)
    check_writable(options.json)
    result, text = _COMMANDS[command](options)
    write_result(options.json, result)
    print(text)


def options_parser(command: str) -> argparse.ArgumentParser:
    """Make the parser of one of these commands."""
    parser = make_parser(command, DESCRIPTIONS[command])
    parser.add_argument("file", metavar="FILE", help="JSONL, also as .xz or .gz")
    add_json(parser)
    if command == "rank":
        add_model(parser, "model that gives the likelihoods")
    elif command == "agreement":
        parser.add_argument(
            "--model", metavar="BASE", help="model that gives the likelihoods (default: the bundled base)"
        )
    else:
        from selfsame.eval.settings import EvaluationSettings

        parser.add_argument(
            "--judge",
            default=EvaluationSettings().judge,
            metavar="NAME",
            help="selfsame-judge (the one in the package), rules, or an NLI classifier's hub id or folder",
        )
    if command == "score":
        parser.add_argument(
            "--function",
            action="append",
            default=[],
            metavar="FILE.py:NAME",
            help="your own metric: a function of prompts, replies and human replies; repeat it for another metric",
        )
    return parser


def _agreement(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.model.settings import BUNDLED
    from selfsame.ratings.agreement import agreement, text_tables
    from selfsame.ratings.fit import fitted_scorers
    from selfsame.ratings.followups import FollowUps
    from selfsame.ratings.likelihood import Likelihood
    from selfsame.ratings.ranker import load_ranker
    from selfsame.ratings.rows import read_rated
    from selfsame.ratings.scorers import FEATURES, our_scores
    from selfsame.serve.chatbot import load_chatbot

    rows, rejected = read_rated(options.file)
    name = options.model or BUNDLED
    bot = load_chatbot(name)
    likelihood = Likelihood(bot.roles, bot.role)
    followups = FollowUps.of_base()
    fitted = fitted_scorers(likelihood, name, followups)
    levels = {"dialogue" if row.reply is None else "reply" for row in rows}
    fitted = [scorer for scorer in fitted if scorer.fitted.level in levels]
    scores = [*our_scores(), *fitted, *likelihood.scorers(), *load_ranker().scorers()]
    scores += [followups.no_complaint()] if followups is not None else []
    result = agreement(rows, scores, Bootstrap(), features=FEATURES)
    result |= {"model": name, "rejected": report_rejected(rejected)}
    result |= {"fitted_on": {s.name: s.known_rows(rows) for s in fitted}}
    seen = [f"{n}: fitted on {count} of these rows, so its agreement with them is no test" for n, count
            in result["fitted_on"].items() if count]  # fmt: skip
    return result, "\n".join([text_tables(result), *seen])


def _judge(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.metrics.judge import load_judge
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.ratings.judge_accuracy import judge_pairs, judge_text
    from selfsame.ratings.rows import read_pairs

    rows, rejected = read_pairs(options.file)
    result = judge_pairs(load_judge(options.judge), rows, Bootstrap()) | {"rejected": report_rejected(rejected)}
    return result, judge_text(result)


def _score(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.given import score_given
    from selfsame.metrics.judge import load_judge
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.ratings.rows import read_given
    from selfsame.report.sources import judge_line
    from selfsame.report.tables import comparison_lines, rows_of, text_table
    from selfsame.run.comparisons import ComparisonRecord
    from selfsame.run.records import EvaluationRecord, JudgeRecord
    from selfsame.text.functions import load_functions

    rows, rejected = read_given(options.file)
    functions = load_functions(options.function)
    result = score_given(rows, load_judge(options.judge), Bootstrap(), functions)
    evaluations = {name: EvaluationRecord.model_validate(found) for name, found in result["systems"].items()}
    compared = [ComparisonRecord.model_validate(found) for found in result["comparisons"]]
    counts = [
        f"{s['system']}: {s['items']} replies, {s['wordless']} without a word, {s['dialogues']} dialogues or prompts"
        for s in result["systems"].values()
    ]
    alone = [f"{pair['system']} and {pair['than']} answer no prompt in common." for pair in result["paired"]
             if not pair["prompts"]]  # fmt: skip
    lines = [*counts, *alone, *comparison_lines(compared), judge_line(JudgeRecord(**result["judge"]))]
    text = "\n\n".join([text_table(rows_of(evaluations)), "\n".join(lines)])
    return result | {"rejected": report_rejected(rejected)}, text


def _rank(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.ratings.rows import read_candidates
    from selfsame.tasks.ranking import rank_rows, rank_text

    asked_model(options)  # a mistake in it is reported before the file is read
    rows, rejected = read_candidates(options.file)
    bot = load_asked(options)
    result = {"model": bot.name} | rank_rows(bot.roles, bot.role, rows, Bootstrap())
    result |= {"rejected": report_rejected(rejected)}
    return result, f"{bot.name}: {rank_text(result)}"


_COMMANDS = {"agreement": _agreement, "judge": _judge, "score": _score, "rank": _rank}
