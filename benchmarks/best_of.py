"""What it buys to sample several replies and say the reward model's best: for a run's SFT and, if there is one, PPO's policy.

    python -m benchmarks.best_of run runs/spc --json benchmarks/results/best-of.json
    python -m benchmarks.best_of table benchmarks/results/best-of.json [--readme FILE --marker best-of]

On the half of the held-out people that settings are chosen on. A reply counts as faultless where the rules of `data/faults.py`
find nothing (those that consistency is counted by, without the judge of contradictions, which would take hours over so many
replies). Beside it stands how often any of the n is: what a reward model that knew these rules would reach. With one
that does not, the two columns part further the more replies there are. In mid-dialogue, where most turns do not call for
the persona, *telling* and distinct-2 say what choosing does there. What says an own turn again is shunned, as with
`sampling.retries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import tilt
from selfsame.arguments import check_writable
from selfsame.config import load_config
from selfsame.data.faults import find_faults
from selfsame.data.generator import HELD_OUT, PreferenceGenerator, TestItem
from selfsame.data.keywords import TraitMatcher
from selfsame.data.loader import DatasetLoader, half
from selfsame.eval.benchmark import fits
from selfsame.eval.quality import QualityEvaluator
from selfsame.eval.statistics import Bootstrap
from selfsame.model.heads import RewardModel
from selfsame.model.roles import Roles, load_roles
from selfsame.report.tables import cell_of, markdown_grid
from selfsame.rollout.engine import RolloutEngine, choose_best
from selfsame.rollout.sampler import uniforms
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory, write_json
from selfsame.run.environment import describe_environment
from selfsame.run.logger import Progress

FAULTS = ("missed", "contradiction", "recitation", "repetition")
SYSTEMS = {"sft": "sft", "ppo": "policy"}
AT_ONCE = 32


def main(arguments: Sequence[str] | None = None) -> None:
    about = "directory of a run with a finished SFT and reward model, and PPO if there is one"
    options = tilt.parser_of("best_of", __doc__, help=about).parse_args(arguments)
    if options.command == "run":
        check_writable(str(options.json))
        write_json(options.json, measure(RunDirectory.open(options.runs), options.prompts, options.samples))
    else:
        tilt.put(options, table)


def measure(run: RunDirectory, prompts: int, samples: int) -> dict[str, Any]:
    """`{rows: [{system, perplexity, n, faultless, possible, telling, distinct_2, reply_words}], temperature, environment}`,
    `faultless` and `possible` as estimates over dialogues."""
    config = load_config(run.config_path)
    roles = load_roles(config.model, config.seed)
    for stage in ("sft", "reward"):
        checkpoint = finished(run, stage)
        if checkpoint is None:
            raise SystemExit(f"{run.path} has no finished {stage}")
        roles.load(stage, checkpoint / stage)
    if (policy := finished(run, "ppo")) is not None:
        roles.load("policy", policy / "policy")
    people = half(DatasetLoader(config.data).load().validation, "choose")
    generator = PreferenceGenerator(people, config.pairs, HELD_OUT + 1)
    tests = generator.create_test_sets(prompts, prompts)
    quality, rows = QualityEvaluator(), []
    for system, role in SYSTEMS.items():
        if role in roles.names:
            perplexity = quality.compute_perplexity(roles, role, people[:prompts])["perplexity"].value
            found = [
                _chosen(roles, role, _fitting(roles, items, config.sampling.max_new_tokens), config.sampling, samples)
                for items in (tests.consistency, tests.engagement)
            ]
            rows += [
                {"system": system, "perplexity": perplexity, "n": n, **_numbers(generator.matcher, *found, n)}
                for n in (2**k for k in range(samples.bit_length()))
                if n <= samples
            ]
    return {
        "rows": rows,
        "temperature": config.sampling.temperature,
        "environment": describe_environment(),
    }


Sampled = list[tuple[TestItem, list[str], list[float]]]
"""A prompt, the replies to it and their rewards."""


def _fitting(roles: Roles, items: Sequence[TestItem], length: int) -> list[TestItem]:
    return [item for item in items if fits(roles, item.prompt, length)]


def _chosen(roles: Roles, role: str, items: Sequence[TestItem], sampling: Any, samples: int) -> Sampled:
    engine, reward, found = RolloutEngine(roles), RewardModel(roles), []
    with Progress(len(items), f"samples of {role}") as progress:
        for at in range(0, len(items), AT_ONCE):
            some = items[at : at + AT_ONCE]
            ids = [roles.processor.encode_prompt(item.prompt, sampling.max_new_tokens) for item in some]
            places = range(at * samples, (at + len(some)) * samples)
            numbers_NR = uniforms(0, 0, places, sampling.max_new_tokens)
            groups = engine.sample(role, ids, numbers_NR, sampling.temperature, sampling.top_p)
            scores = reward.score_ids(ids, [[reply.ids for reply in group] for group in groups])
            texts = [[roles.processor.decode_reply(reply.ids) for reply in group] for group in groups]
            found += zip(some, texts, scores, strict=True)
            progress.advance(len(some))
    return found


def _numbers(matcher: TraitMatcher, called: Sampled, talk: Sampled, n: int) -> dict[str, Any]:
    bootstrap = Bootstrap()
    dialogues = [item.dialogue_id for item, _, _ in called]
    best = [texts[choose_best(item.prompt, texts[:n], scores[:n], True)] for item, texts, scores in called]
    right = [faultless(matcher, item, reply) for (item, _, _), reply in zip(called, best, strict=True)]
    possible = [any(faultless(matcher, item, text) for text in texts[:n]) for item, texts, _ in called]
    said = [texts[choose_best(item.prompt, texts[:n], scores[:n], True)] for item, texts, scores in talk]
    told = [bool(matcher.drawn(item.prompt.persona, reply)) for (item, _, _), reply in zip(talk, said, strict=True)]
    return {
        "faultless": bootstrap.share(list(map(float, right)), dialogues).to_dict(),
        "possible": bootstrap.share(list(map(float, possible)), dialogues).to_dict(),
        "telling": sum(told) / len(told),
        "distinct_2": QualityEvaluator().compute_distinct_n(said, 2).value,
        "reply_words": sum(len(reply.split()) for reply in said) / len(said),
    }


def faultless(matcher: TraitMatcher, item: TestItem, reply: str) -> bool:
    """Whether the rules find nothing in a reply to a prompt that calls for the persona."""
    found = find_faults(matcher, item.prompt, reply, item.traits)
    return bool(reply.strip()) and not any(found[fault] for fault in FAULTS)


def table(content: dict[str, Any]) -> str:
    """As Markdown."""
    head = ["system", "perplexity", "best of", "faultless", "any is", "telling in mid-dialogue", "distinct-2", "words"]
    lines = [
        [
            row["system"],
            f"{row['perplexity']:.2f}",
            str(row["n"]),
            cell_of(row["faultless"]).show(3),
            cell_of(row["possible"]).show(3),
            f"{row['telling']:.2f}",
            f"{row['distinct_2']:.2f}",
            f"{row['reply_words']:.1f}",
        ]
        for row in content["rows"]
    ]
    count = content["rows"][0]["faultless"]["count"]
    note = f"{count} prompts that call for the persona, temperature {content['temperature']:g}; 95 % intervals over dialogues."
    return f"{markdown_grid([head, *lines])}\n\n{note}"


if __name__ == "__main__":
    main()
