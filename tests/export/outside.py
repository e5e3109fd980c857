"""Other programs, for the tests of exports: llama.cpp, transformers without Selfsame, and Go templates as Ollama fills them."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Regex, pre_tokenizers

from conftest import make_model, make_tokenizer
from selfsame.export.vocabulary import LLAMA3, QWEN2
from selfsame.model.load import load_roles
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.types import Prompt

PROMPTS = (
    Prompt(("I have two dogs.", "I teach chemistry."), ("Hi! Do you have 25 pets?",)),
    Prompt(("I was born in 1987.",), ("(Hello?)", "Hi - who's there?", "IT'S 9 o'clock, isn't it?\nYes?")),
)
GREETED = Prompt(("I keep bees.",), ("", "Hello, I keep bees!", "Oh?"))
NOBODY = Prompt((), ("Hi!", "Hello.", "How are you?"))
_GO = {
    "if .System": "if system",
    "$first := true": "set it = namespace(first=true)",
    "range $i, $m := .Messages": "for m in messages",
    'if eq $m.Role "user"': "if m.role == 'user'",
    'else if eq $m.Role "assistant"': "elif m.role == 'assistant'",
    "if $first": "if it.first",
    "$first = false": "set it.first = false",
    "if ne (len (slice $.Messages $i)) 1": "if not loop.last",
}
_VALUES = {".System": "{{ system }}", "$m.Content": "{{ m.content }}", '"{{"': "{{ '{{' }}"}
"""What our templates of Go use, in jinja."""


def go(template: str, system: str, messages: list[dict[str, str]]) -> str:
    """What Ollama makes of a template: every construct that it does not know here is an error."""
    made, opened = [], []
    for part in re.split(r"(\{\{.*?\}\})", template):
        inside = part[2:-2].strip() if part.startswith("{{") else None
        if inside is None:
            made.append(part)
        elif inside in _VALUES:
            made.append(_VALUES[inside])
        elif inside == "end":
            made.append(f"{{% end{opened.pop()} %}}")
        else:
            said = _GO[inside]
            opened += [said.split()[0]] if said.startswith(("if", "for")) else []
            made.append(f"{{% {said} %}}")
    assert not opened
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return environment.from_string("".join(made)).render(system=system, messages=messages)


class LlamaCpp:
    """llama.cpp with a GGUF file."""

    def __init__(self, path: Path) -> None:
        xllamacpp = pytest.importorskip(
            "xllamacpp", reason="the wheel with llama.cpp in it is not installed (extra `dev`)"
        )
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.warmup = str(path), 512, 1, False
        params.cache_type_k = params.cache_type_v = (
            xllamacpp.ggml_type.GGML_TYPE_F32
        )  # by default less exact than we are
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cpuparams.n_threads, params.use_jinja, params.verbosity = 1, True, 0
        self.server = xllamacpp.Server(params)

    def tokens(self, text: str) -> list[int]:
        """A text as it reads it, control tokens in it too."""
        return self._post("tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    def prompt(self, messages: list[dict[str, str]]) -> str:
        """A chat, by the template in the file."""
        return self._post("apply-template", messages=messages)["prompt"]

    def reply(self, prompt: str | list[int], limit: int) -> list[int]:
        """The greedy tokens after a prompt."""
        return self._post("completion", prompt=prompt, n_predict=limit, return_tokens=True)["tokens"]

    def chat(self, messages: list[dict[str, str]], limit: int) -> str:
        """The greedy reply to a chat."""
        return self._post("v1/chat/completions", messages=messages, max_tokens=limit)["choices"][0]["message"][
            "content"
        ]

    def _post(self, path: str, **request: Any) -> dict[str, Any]:
        body = json.dumps(request | {"temperature": 0, "cache_prompt": False}).encode()
        address = f"{self.server.listening_address}/{path}"
        asked = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            return json.loads(answer.read())


@torch.no_grad()
def greedy(model: Any, ids: list[int], limit: int) -> list[int]:
    """The greedy tokens of a model of transformers."""
    made: list[int] = []
    for _ in range(limit):
        made.append(int(model(input_ids=torch.tensor([[*ids, *made]]), use_cache=False).logits[0, -1].argmax()))
    return made


def ended(tokens: list[int], *ends: int) -> list[int]:
    """Tokens before the first that ends a reply."""
    return tokens[: next((k for k, token in enumerate(tokens) if token in ends), len(tokens))]


def tuned(folder: Path, base: Path, **settings: Any) -> Path:
    """A saved adapter on a base, which speaks unlike it."""
    roles = load_roles(
        ModelSettings(base=str(base), dtype="float32", max_length=128, lora=LoraSettings(rank=4), **settings)
    )
    roles.add("sft")
    torch.manual_seed(1)
    for parameter in roles.parameters("sft").values():
        torch.nn.init.normal_(parameter, std=0.2)
    roles.save("sft", folder)
    return folder


def split_by(regex: str) -> Any:
    """A pre-tokenizer of the newer families."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


CUTS: dict[str, Any] = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "qwen2": lambda: split_by(QWEN2),
    "smaug-bpe": lambda: split_by(LLAMA3),
    "llama-bpe": lambda: split_by(LLAMA3),
}
"""llama.cpp's names -> pre-tokenizers."""


def cut_by(folder: Path, name: str, template: str, family: str = "llama") -> Path:
    """A tiny model whose tokenizer cuts texts that way."""
    make_model(folder, family, template)
    tokenizer = make_tokenizer(template)
    tokenizer.backend_tokenizer.pre_tokenizer = CUTS[name]()
    if name == "llama-bpe":
        tokenizer.backend_tokenizer.model.ignore_merges = True
    tokenizer.save_pretrained(folder)
    return folder


def reward_role(folder: Path, adapter: Path) -> Path:
    """An adapter folder with a head."""
    folder.mkdir()
    for file in adapter.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    save_file({"weight": torch.zeros(1, 32)}, folder / "head.safetensors")
    return folder
