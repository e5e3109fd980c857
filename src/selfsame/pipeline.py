"""All stages of a run, in order: data, base, SFT, preference pairs, reward model, PPO or DPO, evaluation, report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from selfsame.comparing.pairs import compare_systems
from selfsame.comparing.side_by_side import side_by_side
from selfsame.config import Config, config_hash
from selfsame.data.encoding import read_bytes
from selfsame.data.loader import Dataset, DatasetLoader, write_rejects
from selfsame.data.pairs import HELD_OUT, PreferenceGenerator
from selfsame.errors import RunError
from selfsame.eval.evaluate import evaluate_system
from selfsame.metrics.statistics import Bootstrap
from selfsame.model import parallel
from selfsame.model.base import dtype_name
from selfsame.model.run_base import base_record, settle_base
from selfsame.pair_inputs import make_pairs
from selfsame.report.page import write_report
from selfsame.report.tracked import tracked
from selfsame.rollout.policy import Policy
from selfsame.run.checkpoint import CheckpointManager, finished
from selfsame.run.directory import RunDirectory
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json
from selfsame.run.logger import RunLogger, say
from selfsame.run.metrics import MetricsTracker
from selfsame.run.outlook import outlook_of_run
from selfsame.run.records import DataRecord, EvaluationRecord, RewardRecord, read_record
from selfsame.run.refused import leaving_nothing_if_refused
from selfsame.serve.chatbot import check_systems, finished_stages
from selfsame.stage_inputs import (
    accuracy_table,
    check_functions,
    distrusted_kinds,
    functions_behind,
    gold_traits_of,
    held_out_people,
    is_evaluated,
    load_base,
    make_directory,
    policy_evaluation,
    possible_stages,
    reward_sense,
    those_that_fit,
)
from selfsame.systems import BEST_OF_N, SINGLE, STAGES, SYSTEMS, TRAINED, Stage
from selfsame.text.functions import weighted_sum
from selfsame.training.comparisons import PairSampler
from selfsame.training.dpo import DPOTrainer
from selfsame.training.keeper import Record
from selfsame.training.ppo import PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.rewards import Judging
from selfsame.training.sft import SFTTrainer
from selfsame.training.shown import shown_prompts
from selfsame.training.stopping import TimeLimit


def run_directory(config: Config, name: str) -> Path:
    """Where the run goes: the one given, or `runs/<name>-<hash of the configuration>`, so that the same command resumes."""
    return Path(config.run.directory or f"runs/{name}-{config_hash(config)}")


def run(config: Config, name: str = "run") -> RunDirectory:
    """Does the stages of the configuration that are not done yet and writes the report. A run that is refused before it made
    anything leaves no new folder behind.

    Raises:
        SelfsameError: see the stages.
        KeyboardInterrupt: Ctrl-C, after saving.
        TimeUp: after `run.max_hours`, the same.
    """
    parallel.start()
    path, dtype = run_directory(config, name), dtype_name(config.model)
    model, moved = settle_base(config.model, RunDirectory(path))
    config = config.model_copy(update={"model": model})
    with leaving_nothing_if_refused(path, parallel.is_main()), parallel.lost_is_told():
        if parallel.is_main():
            make_directory(config, path, moved, dtype)
        parallel.barrier()
        directory = RunDirectory.open(path)
        if not parallel.is_main():
            _Pipeline(config, directory).go()
            return directory
        with directory.lock():
            for stage in TRAINED:
                CheckpointManager(directory.checkpoints(stage)).tidy()
            if begun := directory.write_environment(dtype, base_record(model.base, directory)):
                say(f"this run began in {begun} and continues in {dtype}: results will differ")
            _Pipeline(config, directory).go()
            say("writing the report")
            write_report(directory.path)
    return directory


class _Pipeline:
    """One pass over the stages. What several stages need is made once, when first needed."""

    def __init__(self, config: Config, directory: RunDirectory) -> None:
        self.config, self.directory, self.limit = config, directory, TimeLimit(config.run.max_hours)
        self.tracker = MetricsTracker(config.run.gpu_hourly_rate, config.run.storage_cost_per_gb)
        if (directory.path / "timing.json").exists():
            self.tracker.from_dict(read_json(directory.path / "timing.json"))

    def go(self) -> None:
        """Data, base, then the stages of the configuration; records and trackers are closed whatever happens."""
        config = self.config
        machine = describe_environment() | {"dtype": dtype_name(config.model)} if config.run.trackers else {}
        told = config.model_dump(mode="json") | {"environment": machine}
        self.logger = RunLogger(self.directory, config.run.trackers, told, enabled=parallel.is_main())
        try:
            with self._timed("data"):
                self.data = self._load_data()
            with self._timed("base"):
                self.roles = load_base(config)
            self.data = those_that_fit(config, self.data, self.roles.processor)
            self.people = held_out_people(config, self.data)
            self.train_pairs = PreferenceGenerator(self.data.train, config.pairs, config.seed)
            self.held_out = PreferenceGenerator(self.people, config.pairs, HELD_OUT)
            # Before the first stage, so that data which gives no pair is told before anything is trained.
            self.pairs = ([], [])
            if {"reward", "dpo"} & set(config.run.stages):
                self.pairs = make_pairs(
                    config, self.train_pairs, self.held_out, self.data.validation, self.roles.processor
                )
            check_systems(config.run, self.directory)
            check_functions(config)
            with outlook_of_run() as self.outlook:
                self._stages(possible_stages(config, self.data, self.people))
            parallel.barrier()  # what the first process still does alone may need the parts of a base that the others have
            self.logger.send_rest(lambda: tracked(self.directory))
        finally:
            self.logger.close()

    # --- stages -----------------------------------------------------------------------------------------------------

    def _stages(self, stages: Sequence[Stage]) -> None:
        for number, stage in enumerate(stages, 1):
            self.limit.check(f"before {stage}")
            done = ", finished already" if finished(self.directory, stage) else ""
            say(f"stage {number} of {len(stages)}: {stage} ({STAGES[stage].purpose}){done}", parallel.is_main())
            with self._timed(stage), self.outlook.during(stage, stages[number:]):
                getattr(self, f"_{stage}")()

    def _data(self) -> None:
        """Nothing: the data was loaded and recorded before the first stage."""

    def _sft(self) -> None:
        config = self.config
        SFTTrainer(
            self.roles,
            train=self.data.train,
            validation=self.data.validation,
            settings=config.training.sft,
            seed=config.seed,
            record=self._record("sft"),
        ).train()

    def _reward(self) -> None:
        record = self.directory.path / "reward.json"
        if finished(self.directory, "reward") and record.exists():
            read_record(record, RewardRecord)  # a damaged one is reported
            return self._need("reward")  # it would sample its pairs again
        config, trainer = self.config, self._reward_trainer()
        trainer.train()
        if parallel.is_main() and trainer.validation and not record.exists():
            accuracy = trainer.evaluate_ranking_accuracy(trainer.validation)
            found = {"pairs": len(trainer.validation), "metrics": accuracy, "seed": config.seed}
            write_json(record, found, sealed=True)
            say(accuracy_table(accuracy))

    def _ppo(self) -> None:
        self._need("sft", "reward")
        config, ppo = self.config, self.config.training.ppo
        items = self.train_pairs.extract_items(ppo.steps * ppo.prompts_per_step, ppo.grounded_share)
        matcher = self.train_pairs.matcher
        PPOTrainer(
            self.roles,
            prompts=[replace(item, gold_traits=gold_traits_of(matcher, item)) for item in items],
            settings=ppo,
            seed=config.seed,
            record=self._record("ppo"),
            judging=Judging(
                matcher, reward_sense(config, self.roles, self.train_pairs), distrusted_kinds(self.directory)
            ),
            evaluate_policy=policy_evaluation(config, self.data.validation),
        ).train()

    def _dpo(self) -> None:
        config = self.config
        if finished(self.directory, "dpo"):
            return
        self._need("sft")
        sampler, (pairs, held_out) = self._sampler(), self.pairs
        DPOTrainer(
            self.roles,
            pairs=sampler.pairs(pairs),
            validation=sampler.pairs(held_out, held_out=True),
            settings=config.training.dpo,
            seed=config.seed,
            record=self._record("dpo"),
        ).train()

    def _evaluate(self) -> None:
        """Evaluates the systems in `run.systems`, or the base and all that are trained: each once for the same weights."""
        config, done = self.config, finished_stages(self.directory)
        everything = [*SINGLE, *(BEST_OF_N if config.evaluation.best_of > 1 else ())]
        systems = dict.fromkeys(config.run.systems) or [s for s in everything if {*SYSTEMS[s].loaded} <= done.keys()]
        marks = {name: done.get(SYSTEMS[name].stage or "") for name in systems}
        left = [name for name, mark in marks.items() if not is_evaluated(config, self.directory, name, mark)]
        kinds = ["a best of n" if SYSTEMS[name].best_of_n else "a system" for name in left]
        for number, name in enumerate(left):
            with self.outlook.during(kinds[number], kinds[number + 1 :]):
                self._evaluate_one(name, marks[name])
        if parallel.is_main():
            paths = {system: self.directory.eval_path(system) for system in SYSTEMS}
            records = {system: read_record(path, EvaluationRecord) for system, path in paths.items() if path.exists()}
            bootstrap = Bootstrap(config.evaluation.resamples, config.evaluation.confidence, config.seed)
            write_json(self.directory.path / "comparisons.json", compare_systems(records, bootstrap))
            replies = {system: record.replies for system, record in records.items()}
            write_json(self.directory.path / "dialogues.json", side_by_side(replies) if replies else [])

    def _evaluate_one(self, system: str, checkpoint: Path | None) -> None:
        """Writes the record of a system."""
        config, role, best_of = self.config, SYSTEMS[system].role, 1
        if SYSTEMS[system].best_of_n:
            self._need("reward")
            best_of = config.evaluation.best_of
        if role is not None and checkpoint is not None:
            self.roles.load(role, checkpoint / role)
        self.limit.check(f"before the evaluation of {system}")
        rewards = config.training.ppo.rewards
        worth = weighted_sum(rewards.functions, rewards.reward_model) if best_of > 1 else None
        policy = Policy(self.roles, role, config.sampling, config.seed, best_of, worth)
        record = evaluate_system(policy, self.people, self.held_out, config.evaluation, system)
        if parallel.is_main():
            record.checkpoint = checkpoint.name if checkpoint else None
            record.settings["functions"] = functions_behind(config, system)
            write_json(self.directory.eval_path(system), record, sealed=True)

    # --- what they need ---------------------------------------------------------------------------------------------

    def _load_data(self) -> Dataset:
        data, path = DatasetLoader(self.config.data).load(), self.directory.data_path
        digest = hashlib.sha256(repr((data.train, data.validation)).encode("utf-8", "backslashreplace")).hexdigest()
        own = self.config.pairs.path
        pairs = hashlib.sha256(read_bytes(Path(own))).hexdigest() if own else ""
        before = read_record(path, DataRecord) if path.exists() else DataRecord(digest=digest, pairs_digest=pairs)
        learned = any(self.directory.checkpoints(stage).exists() for stage in ("reward", "dpo"))
        if before.digest != digest or (learned and before.pairs_digest != pairs):
            what, source = ("dialogues", self.config.data.path) if before.digest != digest else ("pairs", own)
            raise RunError(
                f"{self.directory.path} holds a run on other {what} than {source or 'pairs.path'} has now:"
                " put the old ones back to resume it, or choose another --run.directory"
            )
        if parallel.is_main():
            write_rejects(data.rejected, self.directory.rejects_path)
            summary, rejected = data.summary(), len(data.rejected)
            write_json(
                path,
                DataRecord(summary=summary, rejected=rejected, removed=data.removed, digest=digest, pairs_digest=pairs),
                sealed=True,
            )
            say(summary)
        parallel.barrier()
        return data

    def _reward_trainer(self) -> RewardTrainer:
        self._need("sft")
        config, (pairs, held_out) = self.config, self.pairs
        return RewardTrainer(
            self.roles,
            pairs=pairs,
            validation=held_out,
            settings=config.training.reward,
            seed=config.seed,
            record=self._record("reward"),
            sampler=self._sampler(),
        )

    def _sampler(self) -> PairSampler:
        """Samples replies of SFT to compare, as long as PPO's."""
        length = self.config.training.ppo.max_new_tokens
        return PairSampler(self.roles, self.config.training.reward, self.config.seed, length, self.train_pairs.matcher)

    def _need(self, *stages: str) -> None:
        """Loads the roles of finished earlier stages that are not in memory."""
        for stage in stages:
            if stage in self.roles.names:
                continue
            checkpoint = finished(self.directory, stage)
            if checkpoint is None:
                raise RunError(
                    f"the stage {stage} of {self.directory.path} is not finished:"
                    f" run it first (`selfsame {stage}` with the same options)"
                )
            self.roles.load(stage, checkpoint / stage)

    def _record(self, stage: str) -> Record:
        s = self.config.run
        checkpoints = CheckpointManager(self.directory.checkpoints(stage), s.keep)
        shown = shown_prompts(self.held_out, s.shown) if stage != "reward" else ()
        return Record(checkpoints, self.logger, s.save_every, s.samples_every, self.limit, shown)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Times a block and stores the sums so far, also when it is interrupted."""
        try:
            with self.tracker.timing(name):
                yield
        finally:
            if parallel.is_main():
                write_json(self.directory.path / "timing.json", self.tracker.to_dict())
                write_json(self.directory.cost_path, self.tracker.track_cost(self.directory.path))
