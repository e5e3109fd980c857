"""The command `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfsame.cli.output import write_result
from selfsame.cli.parsing import add_base, add_json, add_system, make_parser, natural
from selfsame.errors import DataError
from selfsame.run.writable import check_writable

if TYPE_CHECKING:
    from selfsame.run.records import EvaluationRecord


def run(arguments: Sequence[str]) -> None:
    """Evaluate a run, an adapter or a model and print the table.

    Raises:
        SelfsameError: a model, file or option that cannot be used.
    """
    parser = make_parser("evaluate", "Evaluate a run, an adapter or any model on held-out personas and print a table.")
    parser.add_argument(
        "model", metavar="RUN_OR_MODEL", help="run directory, adapter folder, model folder, GGUF file or hub id"
    )
    parser.add_argument(
        "--data.path", dest="data", metavar="FILE", help="dialogues to evaluate on (default: the run's held-out ones)"
    )
    add_json(parser)
    add_base(parser)
    add_system(parser)
    parser.add_argument(
        "--evaluation.split", dest="split", choices=("all", "dev", "test"),
        help="which of a run's held-out people: all, the half that settings are chosen on, or the half that is reported"
        " (default: the run's)",
    )  # fmt: skip
    parser.add_argument("--seed", type=natural, help="random seed of sampling and resampling (default: the run's)")
    options = parser.parse_args(arguments)
    check_writable(options.json)
    from selfsame.report.tables import text_results

    result = evaluate_model(options.model, options.data, options.system, options.seed, options.base, options.split)
    write_result(options.json, result.model_dump())
    print(text_results({result.system: result}))


def evaluate_model(
    name: str,
    data_path: str | None,
    system: str | None,
    seed: int | None,
    base: str | None = None,
    split: str | None = None,
) -> EvaluationRecord:
    """Evaluate a system on the held-out personas of `data_path`, or of its run's data. `base`: where its base lies now;
    `split`: which half of the people, if not the run's.

    Raises:
        DataError: no held-out persona is left.
    """
    from selfsame.data.loader import DatasetLoader, half
    from selfsame.data.pairs import HELD_OUT, PreferenceGenerator
    from selfsame.eval.evaluate import evaluate_system
    from selfsame.rollout.policy import Policy
    from selfsame.serve.chatbot import load_chatbot

    bot = load_chatbot(name, system, base=base)
    config = bot.config
    other = {"path": data_path, "format": "auto", "limit": None}
    settings = config.data if data_path is None else config.data.model_copy(update=other)
    which = split or (config.evaluation.split if data_path is None else "all")
    people = half(DatasetLoader(settings).load().validation, which)
    if not people:
        raise DataError(
            f"{settings.path} leaves nothing held out to evaluate on: add dialogues of more people, or more of this one"
        )
    generator, seed = PreferenceGenerator(people, config.pairs, HELD_OUT), config.seed if seed is None else seed
    policy = Policy(bot.roles, bot.role, config.sampling, seed)
    return evaluate_system(policy, people, generator, config.evaluation, bot.name)
