"""Tiny random models of every supported family, with tokenizers made here: no download."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("SELFSAME_REAL_CACHE", os.environ.get("SELFSAME_CACHE", ""))
os.environ["SELFSAME_CACHE"] = os.path.join(os.path.dirname(__file__), ".no-bases")  # every machine tests the same


import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from matplotlib.figure import Figure
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from selfsame.eval import evaluate
from selfsame.report.plots import Plot

# A slow or busy machine must pass: no test may fail by the clock.
hypothesis.settings.register_profile("selfsame", deadline=None)
hypothesis.settings.load_profile("selfsame")


@pytest.fixture
def real_base(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the real base, for a test that needs it: it skips where `selfsame base` has not made it ready."""
    monkeypatch.setenv("SELFSAME_CACHE", os.environ["SELFSAME_REAL_CACHE"])  # empty: the usual place
    from selfsame.model.named import is_ready

    if not is_ready("smollm2-135m"):
        pytest.skip("smollm2-135m is not prepared: selfsame base smollm2-135m")
    return "smollm2-135m"


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # what a shell gives a program that it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

CORPUS = [
    "I have two dogs and teach chemistry at a small school.",
    "What do you do for a living? I drive a night bus in Leeds.",
    "My mother is a nurse; we live near the sea and like long walks.",
    "Hello! How are you today? I'm fine, thanks. persona profile dialogue conversation response reply end stop",
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
FAMILIES: dict[str, Any] = {
    "gpt2": lambda v: GPT2Config(
        vocab_size=v, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=0
    ),
    "llama": lambda v: LlamaConfig(vocab_size=v, **GROUPED),
    "qwen2": lambda v: Qwen2Config(vocab_size=v, **GROUPED),
    "qwen3": lambda v: Qwen3Config(vocab_size=v, head_dim=8, **GROUPED),
    "smollm3": lambda v: SmolLM3Config(vocab_size=v, pad_token_id=0, **GROUPED),
    "mistral": lambda v: MistralConfig(vocab_size=v, sliding_window=8, **GROUPED),
    "gemma": lambda v: GemmaConfig(vocab_size=v, head_dim=8, **GROUPED),
    "gemma2": lambda v: Gemma2Config(vocab_size=v, head_dim=8, sliding_window=8, **GROUPED),
    "gemma3": lambda v: Gemma3TextConfig(vocab_size=v, head_dim=8, sliding_window=8, **GROUPED),
}


def make_tokenizer(chat_template: str | None = None) -> Any:
    """A byte-level BPE tokenizer; with a chat template, ChatML's special tokens too."""
    specials = ["<|endoftext|>"] + (["<|im_start|>", "<|im_end|>"] if chat_template else [])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    if chat_template:
        fast.add_special_tokens({"additional_special_tokens": specials[1:]})
        fast.chat_template = chat_template
    return fast


def make_model(folder: Path, family: str = "llama", chat_template: str | None = None, scale: float = 12.0) -> Path:
    """A random model of the family with its tokenizer, saved to `folder`. `scale` enlarges the weights, so that
    predictions are far from uniform and mistakes show."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(chat_template)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](len(tokenizer)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "norm" not in name:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """family name -> folder of a tiny random model, made once a session."""
    made: dict[tuple[str, bool], Path] = {}

    def get(family: str = "llama", chat: bool = False) -> Path:
        if (family, chat) not in made:
            made[family, chat] = make_model(tmp_path_factory.mktemp(family), family, CHATML if chat else None)
        return made[family, chat]

    return get


LAID_OUT = Plot.__dict__["svg"]


@pytest.fixture(autouse=True, scope="module")
def quick_runs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leaves out what takes much of a tiny run, in this process: bounds of sense are set on few of people's turns, and
    plots are drawn, but not laid out and written as SVG, except in the tests of reports and where a test sets `LAID_OUT`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "CALIBRATION", 40)
        if request.path.parent.name != "report":
            patch.setattr(Plot, "svg", property(_plain))
        yield


def _plain(plot: Plot) -> str:
    plot.draw(Figure().add_subplot())
    return '<svg viewBox="0 0 1 1" role="img"></svg>'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left with one of them at the end. A file's tests share runs that
    take seconds, so they go to one worker of several (`--dist loadfile`)."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
