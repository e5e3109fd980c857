"""Rollouts from a vLLM server, which samples faster than the trainer where there is a GPU for it.

Before each rollout the role's adapter is written to a folder that the server reads, under a new name, so that nothing that was
kept for the adapter of an earlier step is used again. The server returns token ids. Their log-probabilities are computed here:
its kernels round differently, and the first ratio of an update has to be 1.

The server is started by the user, on the same machine or with the same disk:

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve BASE --enable-lora --max-lora-rank 64 --max-loras 2
"""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from selfsame.errors import ConfigError, RunError
from selfsame.model.lora import LoraRoles
from selfsame.model.roles import Roles
from selfsame.rollout.collect import Rows, token_logprobs
from selfsame.rollout.engine import Reply, RolloutEngine

_PATIENCE = 600.0
"""Seconds that a request may take."""
_NEUTRAL = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "ignore_eos": True,
}
"""What a request leaves out, the server takes from the base's `generation_config.json`. The end-of-text tokens there end no
reply; `stop_token_ids` do."""


class VLLMEngine(RolloutEngine):
    """Samples with the adapter of a role on a vLLM server. Its replies are those of another random generator: a seed gives the
    same ones again on the same server, not those that `RolloutEngine` gives.

    Args:
        roles: adapters on the base that the server serves.
        url: of the server, such as `http://127.0.0.1:8000`.
        token_budget: tokens, padding included, in one forward pass for the log-probabilities.

    Raises:
        ConfigError: the roles are no adapters, train embeddings of new tokens, which vLLM does not read, or the server serves
            nothing.
        RunError: the server does not answer.
    """

    def __init__(self, roles: Roles, url: str, token_budget: int = 8192) -> None:
        super().__init__(roles)
        if not isinstance(roles, LoraRoles):
            raise ConfigError("a vLLM server samples with adapters: set model.tuning to lora, or leave the server out")
        if roles.new_tokens:
            raise ConfigError(
                f"vLLM reads no adapter with embeddings of added tokens, such as {roles.processor.format.answer}: use a base"
                " with a chat template, or leave the server out"
            )
        self.url, self.token_budget = url.rstrip("/"), token_budget
        served = self._ask("/v1/models").get("data") or []
        if not served:
            raise ConfigError(f"{self.url} serves no model")
        self.base: str = served[0]["id"]
        self._numbers = count()

    def sample(
        self,
        role: str | None,
        prompts: Sequence[Sequence[int]],
        uniform_NR: Tensor,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> list[list[Reply]]:
        """As `RolloutEngine.sample`. Of the random numbers only the first one of each prompt is used, as the server's seed.

        Raises:
            RunError: the server fails, or its answer is not one reply for each that was asked for.
        """
        if not prompts:
            return []
        n, length = uniform_NR.shape[0] // len(prompts), uniform_NR.shape[1]
        wanted = {
            "n": n,
            "max_tokens": length,
            "temperature": temperature,
            "top_p": top_p,
            "stop_token_ids": [self.processor.end_id],
            "return_token_ids": True,
            **_NEUTRAL,
        }
        seeds = [int(float(first) * 2**31) for first in uniform_NR[::n, 0]]
        # A request has one seed for all of its prompts, whose replies would be drawn with the same random numbers.
        with self._served(role) as name, ThreadPoolExecutor(len(prompts)) as pool:
            bodies = [
                {"model": name, "prompt": list(prompt), "seed": seed, **wanted}
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
            answers = list(pool.map(lambda body: self._ask("/v1/completions", body), bodies))
        siblings = [self._replies(answer, n, length) for answer in answers]
        found = token_logprobs(self.roles, role, Rows(prompts, siblings), self.token_budget, temperature or 1.0)
        end = self.processor.end_id
        return [
            [Reply(tokens, logprobs, tokens[-1] == end) for tokens, logprobs in zip(some, values, strict=True)]
            for some, values in zip(siblings, found, strict=True)
        ]

    @contextmanager
    def _served(self, role: str | None) -> Iterator[str]:
        """The name under which the server has this role, as it is now."""
        if role is None:
            yield self.base
            return
        folder = Path(tempfile.mkdtemp(prefix="selfsame-rollout-"))
        name = f"{folder.name}-{next(self._numbers)}"
        try:
            self.roles.save(role, folder)
            self._ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
            yield name
            self._ask("/v1/unload_lora_adapter", {"lora_name": name})
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _replies(self, answer: dict[str, Any], count: int, length: int) -> list[list[int]]:
        """Token ids of the replies to a prompt, each with its end token where that ended it."""
        choices = sorted(answer.get("choices") or [], key=lambda choice: choice.get("index", 0))
        replies = [choice.get("token_ids") for choice in choices]
        if len(replies) != count or not all(replies):
            raise RunError(
                f"{self.url} gave {len([r for r in replies if r])} replies with token ids of {count}: vLLM 0.10.2 or newer is"
                " needed"
            )
        end, found = self.processor.end_id, []
        for choice, ids in zip(choices, replies, strict=True):
            ids = list(ids)
            ended = choice.get("finish_reason") == "stop" and choice.get("stop_reason") in (None, end)
            if ended and ids[-1] != end:  # some versions leave the end out
                ids.append(end)
            found.append(ids[:length])
        return found

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())[:200]
            hint = ": start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" if "lora" in path else ""
            raise RunError(f"the vLLM server at {self.url} refuses {path} ({error.code} {said}){hint}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise RunError(
                f"the vLLM server at {self.url} does not answer ({reason}); what was saved is intact: start it, and run the"
                " same command again"
            ) from error
        try:
            found = json.loads(text)
        except ValueError:
            return {}  # loading an adapter is answered by a sentence
        return found if isinstance(found, dict) else {}
