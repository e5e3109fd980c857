"""Preference between two replies, asked in both orders.

A language model that reads two replies often has a favourite place. A reply wins only if both orders say so; otherwise it is
a tie (Zheng et al. 2023, arXiv:2306.05685, section 3.4). There are two judges: any causal language model, asked in words, and
the reward model of a run, which scores each reply by itself and has no favourite place. A policy was trained to please its
own reward model. One of another seed learned from samples of another SFT model and is a fairer judge, though it shares the
taste of the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from selfsame.comparing.seeds import on_shared_prompts, two_way
from selfsame.errors import ConfigError, RunError
from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.model.settings import ModelSettings
from selfsame.run.checkpoint import finished
from selfsame.run.compared import Preferred
from selfsame.run.directory import RunDirectory
from selfsame.run.records import ReplyRecord
from selfsame.types import Prompt

_QUESTION = """Two replies to the same conversation are given. Which of them would a person with this character rather give? \
The better reply keeps to the character, answers what was said last, and reads like natural conversation.

Character:
{persona}

Conversation:
{talk}

Reply A: {first}
Reply B: {second}

Answer with A or B only."""
_TURNS = 8
"""The last turns of the conversation that a language model is shown."""


class PreferenceJudge(Protocol):
    """Says how likely it is that the reply shown first is the better one."""

    @property
    def name(self) -> str: ...

    def first_is_better(
        self, prompts: Sequence[Prompt], first: Sequence[str], second: Sequence[str]
    ) -> Sequence[float]: ...


def prefer(
    judge: PreferenceJudge,
    ours: Sequence[Sequence[ReplyRecord]],
    theirs: Sequence[Sequence[ReplyRecord]],
    bootstrap: Bootstrap,
) -> Preferred:
    """How often the replies of one recipe are preferred to those of another, to the prompts that all runs answered.

    Args:
        judge: asked in both orders, unless two replies are the same word for word: a tie.
        ours: replies of each run; each meets each of `theirs`.
        theirs: of the other recipe.
        bootstrap: how intervals are made for two single runs; else they are of seeds and dialogues (`two_way`).

    Returns:
        a record without names: counts over prompts and pairs of runs, `value` the share of wins with ties as halves, `swayed`
        the share of the pairs asked about in which the order decided, p of `value` being a half (None for two single runs,
        or where nothing varies), not corrected for others.
    """
    rows = on_shared_prompts([*ours, *theirs])
    met = [[_outcomes(judge, one, other) for other in rows[len(ours) :]] for one in rows[: len(ours)]]
    won_STP = np.array([[won for won, _ in line] for line in met], dtype=float)
    swayed = [order for line in met for _, asked in line for order in asked]
    dialogues = [row.dialogue for row in rows[0]]
    share, p = _share(won_STP, dialogues, bootstrap)
    counts = {name: int((won_STP == won).sum()) for name, won in (("wins", 1.0), ("ties", 0.5), ("losses", 0.0))}
    order = sum(swayed) / len(swayed) if swayed else None
    return Preferred(judge=judge.name, prompts=len(dialogues), **counts, **asdict(share), swayed=order, p=p)


def _outcomes(
    judge: PreferenceJudge, ours: Sequence[ReplyRecord], theirs: Sequence[ReplyRecord]
) -> tuple[list[float], list[bool]]:
    """(1, 0.5 or 0 for each prompt; whether the order decided, for each pair asked about)."""
    asked = [k for k, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one.reply != other.reply]
    prompts = [Prompt(tuple(ours[k].persona), tuple(ours[k].history)) for k in asked]
    one, other = ([rows[k].reply for k in asked] for rows in (ours, theirs))
    in_front = np.asarray(judge.first_is_better(prompts, one, other))
    behind = 1 - np.asarray(judge.first_is_better(prompts, other, one))
    found = [0.5] * len(ours)
    for k, a, b in zip(asked, in_front, behind, strict=True):
        found[k] = 1.0 if min(a, b) > 0.5 else 0.0 if max(a, b) < 0.5 else 0.5
    return found, [bool((a - 0.5) * (b - 0.5) < 0) for a, b in zip(in_front, behind, strict=True)]


def _share(won_STP: np.ndarray, dialogues: Sequence[str], bootstrap: Bootstrap) -> tuple[Estimate, float | None]:
    """The mean over S runs of ours, T of theirs and P prompts. Its variance over seeds is that of the means of each run of
    either side (the first-order term of a U-statistic of two samples; Hoeffding 1948)."""
    by_prompt_P = won_STP.mean((0, 1))
    if won_STP.shape[:2] == (1, 1) or len(set(dialogues)) < 2 or by_prompt_P.std() == 0:
        return bootstrap.share(by_prompt_P.tolist(), dialogues), None
    one_S, other_T = won_STP.mean((1, 2)), won_STP.mean((0, 2))
    found, p = two_way(by_prompt_P - 0.5, dialogues, one_S, other_T, bootstrap.confidence)
    low, high = max(0.0, found.low + 0.5), min(1.0, found.high + 0.5)
    return Estimate(found.value + 0.5, low, high, found.count), p


# --- judges -------------------------------------------------------------------------------------------------------------


class RewardPreference:
    """The reward model of a run: the probability that it gives to a pair (Bradley and Terry).

    Args:
        path: the run's directory.

    Raises:
        SelfsameError: there is no such run, or its reward model is not finished.
    """

    def __init__(self, path: str | Path) -> None:
        from selfsame.model.load import load_roles
        from selfsame.model.reward_model import RewardModel
        from selfsame.model.run_base import model_of_run

        run = RunDirectory.open(path)
        checkpoint = finished(run, "reward")
        if checkpoint is None:
            raise RunError(f"{path} has no finished reward model to judge by: run the stage reward first")
        roles = load_roles(model_of_run(run, ModelSettings.model_validate(run.config()["model"])))
        roles.load("reward", checkpoint / "reward")
        self.name, self.path, self.model = f"the reward model of {path}", Path(path), RewardModel(roles)

    def first_is_better(
        self, prompts: Sequence[Prompt], first: Sequence[str], second: Sequence[str]
    ) -> Sequence[float]:
        """(N,) probabilities that the first is better, by the difference of the rewards."""
        scores = self.model.score(prompts, [list(pair) for pair in zip(first, second, strict=True)])
        return [1 / (1 + math.exp(b - a)) for a, b in scores]


class ModelPreference:
    """A causal language model that is asked for "A" or "B", in its chat format where it has one.

    Args:
        name: hub id or folder, or the name of the model in the package.

    Raises:
        ConfigError: there is no such model, or it has no tokens for the two answers.
    """

    def __init__(self, name: str) -> None:
        from selfsame.model.base import context_length, load_base_model, load_tokenizer

        self.name = name
        self.tokenizer = load_tokenizer(name)
        self.model = load_base_model(ModelSettings(base=name), self.tokenizer)
        self.chats = self.tokenizer.chat_template is not None
        self.room = context_length(self.model.config) or 2048
        a, b = (self.tokenizer(word, add_special_tokens=False)["input_ids"] for word in self._answers())
        if a[-1] == b[-1] or a[:-1] != b[:-1]:
            raise ConfigError(
                f"{name} cannot answer with A or B: its tokens for them do not differ in the last one alone"
            )
        self.start, self.answers = a[:-1], [a[-1], b[-1]]

    def first_is_better(
        self, prompts: Sequence[Prompt], first: Sequence[str], second: Sequence[str]
    ) -> Sequence[float]:
        """(N,) probabilities of the answer A, beside B alone."""
        import torch

        found = []
        with torch.no_grad():
            for prompt, one, other in zip(prompts, first, second, strict=True):
                ids = torch.tensor([[*self._ids(prompt, one, other), *self.start]], device=self.model.device)
                logits = self.model(input_ids=ids, use_cache=False).logits[0, -1, self.answers].float()
                found.append(logits.softmax(-1)[0].item())
        return found

    def _answers(self) -> tuple[str, str]:
        return ("A", "B") if self.chats else (" A", " B")

    def _ids(self, prompt: Prompt, first: str, second: str) -> list[int]:
        """The question with as many of the last turns as there is room for."""
        turns = [f"{('Other', 'Character')[k % 2]}: {text}" for k, text in enumerate(prompt.history) if text][-_TURNS:]
        persona = "\n".join(f"- {trait}" for trait in prompt.persona)
        for start in range(len(turns) + 1):
            ids = self._encode(
                _QUESTION.format(persona=persona, talk="\n".join(turns[start:]), first=first, second=second)
            )
            if len(ids) + len(self.start) <= self.room:
                return ids
        raise ConfigError(f"{self.name} has room for {self.room} tokens, too few for a persona with two replies")

    def _encode(self, asked: str) -> list[int]:
        if not self.chats:
            return self.tokenizer(f"{asked}\n\nAnswer:")["input_ids"]
        message = {"role": "user", "content": asked}
        text = self.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def load_preference_judge(name: str) -> PreferenceJudge:
    """A run's reward model where `name` is a run, else a language model."""
    return RewardPreference(name) if (Path(name) / "config.yaml").is_file() else ModelPreference(name)
