"""A vLLM server as the sampler, held to the contract of `RolloutEngine` by a stand-in that speaks vLLM's protocol."""

from __future__ import annotations

import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path

import pytest
import torch
from test_roles import load, scramble

from selfsame.errors import ConfigError, RunError
from selfsame.model.settings import LoraSettings
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.vllm import VLLMEngine
from selfsame.training.ppo import PPOTrainer
from selfsame.training.settings import PPOSettings
from selfsame.types import Prompt

PROMPTS = [
    Prompt(("I have two dogs.",), ("Any pets?",)),
    Prompt(("I sing.", "I am a nurse."), ("Hi!", "Hello.", "Job?")),
]


class StandIn:
    """vLLM's routes over a copy of the model of its own: it knows of an adapter what is in the folder that it is given.

    `ends`: whether token ids hold the token that ends a reply; `fault`: what it answers instead of replies.
    """

    def __init__(self, folder: Path, ends: bool = True) -> None:
        self.roles, self.ends, self.fault = load(folder, lora=LoraSettings(rank=4)), ends, None
        self.loaded: list[str] = []
        self.asked: list[dict] = []
        self.speaking = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200, {"data": [{"id": "tiny"}]} if self.path == "/v1/models" else {})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(*stand_in.post(self.path, body))

            def answer(self, code, content):
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def post(self, path, body):
        if path == "/v1/load_lora_adapter":
            assert body["lora_name"] not in self.loaded
            self.loaded.append(body["lora_name"])
            self.roles.load(body["lora_name"], body["lora_path"])
            return 200, f"Success: LoRA adapter '{body['lora_name']}' added successfully."
        if path == "/v1/unload_lora_adapter":
            self.roles.remove(body["lora_name"])
            return 200, "Success"
        self.asked.append(body)
        if self.fault is not None:
            return self.fault
        role = None if body["model"] == "tiny" else body["model"]
        noise_NR = reply_noise(body["seed"], 0, range(body["n"]), body["max_tokens"])
        with self.speaking:
            (group,) = RolloutEngine(self.roles).sample(
                role, [body["prompt"]], noise_NR, body["temperature"], body["top_p"]
            )
        choices = [
            {
                "index": index,
                "token_ids": reply.ids if self.ends or not reply.ended or len(reply.ids) == 1 else reply.ids[:-1],
                "finish_reason": "stop" if reply.ended else "length",
            }
            for index, reply in enumerate(group)
        ]
        return 200, {"choices": choices[::-1]}  # in any order


@pytest.fixture
def folder(tiny_models):
    return tiny_models("llama", chat=True)


@pytest.fixture
def stand_in(folder):
    made = StandIn(folder)
    yield made
    made.server.shutdown()


def roles_with_policy(folder):
    roles = load(folder, lora=LoraSettings(rank=4))
    roles.add("policy")
    scramble(roles, "policy")
    return roles


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("role", ["policy", None])
def test_greedy_replies_and_their_probabilities_are_ours(folder, stand_in, role, ends):
    stand_in.ends = ends
    roles = roles_with_policy(folder)
    ids = [roles.processor.encode_prompt(prompt, 12) for prompt in PROMPTS]
    noise_NR = reply_noise(0, 0, range(4), 12)
    ours = RolloutEngine(roles).sample(role, ids, noise_NR, 0)
    theirs = VLLMEngine(roles, stand_in.url + "/").sample(role, ids, noise_NR, 0)
    assert [[(r.ids, r.ended) for r in group] for group in theirs] == [[(r.ids, r.ended) for r in g] for g in ours]
    for own, other in zip(chain(*ours), chain(*theirs), strict=True):
        assert other.logprobs == pytest.approx(own.logprobs, abs=1e-4)


def test_the_server_has_the_adapter_as_it_is_now(folder, stand_in, tmp_path, monkeypatch):
    """Each rollout has a new name: prefixes that a server keeps for the adapter of an earlier step are not used again."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    roles = roles_with_policy(folder)
    engine, ids = VLLMEngine(roles, stand_in.url), [roles.processor.encode_prompt(PROMPTS[0], 12)]
    noise_NR = reply_noise(0, 0, range(1), 12)
    for seed in (2, 3):
        scramble(roles, "policy", seed)
        (ours,), (theirs,) = (e.sample("policy", ids, noise_NR, 0) for e in (RolloutEngine(roles), engine))
        assert theirs[0].ids == ours[0].ids
    assert len(set(stand_in.loaded)) == 2 and stand_in.roles.names == ()
    assert not list(tmp_path.iterdir())


def test_each_prompt_has_its_seed_and_nothing_of_the_bases_settings(folder, stand_in):
    """vLLM takes what a request leaves out from the base's generation_config.json."""
    roles = roles_with_policy(folder)
    ids = [roles.processor.encode_prompt(prompt, 12) for prompt in (PROMPTS[0], *PROMPTS)]
    replies = VLLMEngine(roles, stand_in.url).sample("policy", ids, reply_noise(0, 0, range(6), 12))
    assert sorted(body["prompt"] for body in stand_in.asked) == sorted(ids)
    assert len({body["seed"] for body in stand_in.asked}) == 3
    assert [r.ids for r in replies[0]] != [r.ids for r in replies[1]]  # the same prompt twice
    for body in stand_in.asked:
        assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"]) == (1, 1, -1, 0)
        assert body["repetition_penalty"] == 1 and body["presence_penalty"] == body["frequency_penalty"] == 0
        assert body["ignore_eos"] and body["stop_token_ids"] == [roles.processor.end_id]


def test_a_reply_that_stopped_elsewhere_has_not_ended(folder, stand_in):
    roles = roles_with_policy(folder)
    end, prompt = roles.processor.end_id, roles.processor.encode_prompt(PROMPTS[0], 12)
    said = [8, 9]
    stops = [("stop", None), ("stop", end), ("stop", 9), ("length", None)]
    choices = [
        {"index": k, "token_ids": said, "finish_reason": finish, "stop_reason": stop}
        for k, (finish, stop) in enumerate(stops)
    ]
    stand_in.fault = 200, {"choices": choices}
    (replies,) = VLLMEngine(roles, stand_in.url).sample("policy", [prompt], reply_noise(0, 0, range(4), 12))
    assert [(r.ids, r.ended) for r in replies] == [([*said, end], True)] * 2 + [(said, False)] * 2


def test_ppo_trains_on_its_replies(folder, stand_in):
    roles = load(folder, lora=LoraSettings(rank=4))
    for role in ("sft", "reward"):
        roles.add(role)
    settings = PPOSettings(
        steps=2, prompts_per_step=2, samples_per_prompt=2, max_new_tokens=6, epochs=1, vllm=stand_in.url
    )
    trainer = PPOTrainer(roles, prompts=PROMPTS, settings=settings)
    before = roles.state("policy")
    experience = trainer.collect(0)
    assert experience.kl == pytest.approx(0, abs=1e-4)  # the log-probabilities are the trainer's own
    trainer.train()
    assert len(stand_in.loaded) == 3
    assert any(not torch.equal(value, before[name]) for name, value in roles.state("policy").items())


def test_a_server_that_fails_is_one_line(folder, stand_in):
    roles = roles_with_policy(folder)
    engine, ids = VLLMEngine(roles, stand_in.url), [roles.processor.encode_prompt(PROMPTS[0], 12)]
    noise_NR = reply_noise(0, 0, range(1), 12)
    for fault, words in (
        ((200, {"choices": [{"index": 0, "text": "Hi"}]}), "0 replies with token ids of 1: vLLM 0.10.2"),
        ((400, {"error": {"message": "too long"}}), "refuses /v1/completions .400 .*too long"),
    ):
        stand_in.fault = fault
        with pytest.raises(RunError, match=words):
            engine.sample("policy", ids, noise_NR, 0)
    stand_in.post = lambda path, body: (403, "runtime updating is off")
    with pytest.raises(RunError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
        engine.sample("policy", ids, noise_NR, 0)
    stand_in.server.shutdown()
    stand_in.server.server_close()
    with pytest.raises(RunError, match="does not answer"):
        engine.sample("policy", ids, noise_NR, 0)


def test_what_vllm_cannot_serve_is_refused(tiny_models, stand_in):
    added = load(tiny_models("llama"), lora=LoraSettings(rank=4))  # its markers are new tokens
    assert added.new_tokens
    with pytest.raises(ConfigError, match="embeddings of added tokens"):
        VLLMEngine(added, stand_in.url)
    with pytest.raises(ConfigError, match=r"model\.tuning"):
        VLLMEngine(load(tiny_models("llama", chat=True), tuning="full"), stand_in.url)
