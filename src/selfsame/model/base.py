"""The frozen base model: loading, device and number format, and the embeddings of new marker tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from selfsame.data.chat_template import fix_day
from selfsame.data.prompt_format import MARKERS
from selfsame.errors import ConfigError, SelfsameError
from selfsame.model import parallel
from selfsame.model.attention import use_matmul
from selfsame.model.gguf import folder_of_gguf, gguf_of
from selfsame.model.named import NAMED, folder_of
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.model.sharding import load_sharded

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

# Attention with linear biases depends on the distance in the row, which shared prompts change.
UNSUPPORTED_FAMILIES = {
    "bloom": "ALiBi attention",
    "mpt": "ALiBi attention",
    "mamba": "no attention",
    "rwkv": "no attention",
}
# What each marker starts as, where the base has no embedding for it: the mean of the embeddings of these words.
MARKER_WORDS = dict(
    zip(MARKERS, ("persona profile", "dialogue conversation", "response reply", "end stop"), strict=True)
)


@dataclass(frozen=True)
class ModelInfo:
    """Size and shape of a model. `trainable` counts parameters that require gradients."""

    family: str
    parameters: int
    trainable: int
    layers: int
    hidden_size: int
    vocabulary: int
    context: int | None
    dtype: str
    device: str


def choose_device(wanted: str = "auto") -> torch.device:
    """The device to use; in a process group each process takes the GPU of its local rank.

    Raises:
        ConfigError: the wanted device is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("model.device is cuda, but no CUDA device is available: use cpu or auto")
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu" if wanted == "auto" else wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Number format of the frozen base: the wanted one, or the best that the hardware computes in natively."""
    if wanted != "auto":
        return getattr(torch, wanted)
    if device.type == "cuda":
        # Turing (T4) answers yes to bf16 unless emulation is excluded.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def dtype_name(settings: ModelSettings) -> str:
    """Name of the number format that the frozen base gets on this machine, such as `bfloat16`."""
    return str(choose_dtype(settings.dtype, choose_device(settings.device))).removeprefix("torch.")


def _cpu_has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            flags = file.read()
    except OSError:
        return False
    # Measured on such a CPU: a PPO update takes 6.3 s in bfloat16, 13.5 s in float32.
    return "avx512_bf16" in flags or "amx_bf16" in flags


def locate_model(name: str) -> str:
    """Where transformers finds the model `name`: the package's own is a folder beside this file, a named base is in the
    cache, and so is what a GGUF file, or a folder with one, is converted to; any other is its name.

    Raises:
        ConfigError: a named base that is not prepared yet, a GGUF file that is not there or cannot be read.
    """
    if name in NAMED:
        return str(folder_of(name))
    if name == BUNDLED:
        return str(Path(__file__).parent / "bundled")
    file = gguf_of(name)
    return name if file is None else str(folder_of_gguf(file))


def absolute(name: str) -> str:
    """A base's name as it is found from any folder: the path of a folder or file from the root, any other as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name and name != BUNDLED and name not in NAMED and path.exists() else name


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """The tokenizer of a hub model or folder, whose chat template writes the same date on every day.

    Raises:
        ConfigError: there is none, with what to do.
    """
    with explained(name):
        tokenizer = AutoTokenizer.from_pretrained(locate_model(name), revision=revision)
    fix_day(tokenizer)
    return tokenizer


def load_base_model(settings: ModelSettings, tokenizer: Any) -> Any:
    """The frozen causal language model in evaluation mode on its device, with an embedding for every token of `tokenizer`.

    Raises:
        ConfigError: no such model, no causal language model, an unsupported family, bitsandbytes missing.
    """
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    with explained(settings.base):
        config = AutoConfig.from_pretrained(locate_model(settings.base), revision=settings.revision)
    refuse_unsupported(settings.base, config)
    options: dict[str, Any] = {"dtype": dtype, "revision": settings.revision}
    if settings.four_bit:
        options |= {"quantization_config": _four_bit(dtype), "device_map": {"": device}}
    load = partial(_load_frozen, settings, tokenizer, options)
    model = load_sharded(load, device) if settings.shard and parallel.world() > 1 else load()
    if not settings.four_bit:
        model.to(device)
        use_matmul(model, dtype)
        return model
    for layer in model.modules():
        # Measured on a CPU in evaluation mode: log-likelihood -155.0, by the dequantised weights -162.0.
        if type(layer).__name__ == "Linear4bit":
            layer.train()  # out of training it uses kernels through which no gradient comes back
    return model


def _load_frozen(settings: ModelSettings, tokenizer: Any, options: Mapping[str, Any]) -> Any:
    """The model as it comes from the disk, with an embedding for every token."""
    with explained(settings.base):
        model: Any = AutoModelForCausalLM.from_pretrained(locate_model(settings.base), **options)
    model.config.use_cache = False
    model.name_or_path = model.config._name_or_path = settings.base  # what adapters name as their base
    grow_embeddings(model, tokenizer)
    return model.requires_grad_(False).eval()


def refuse_unsupported(name: str, config: Any) -> None:
    """Raises `ConfigError` where models of this configuration cannot share a prompt between replies."""
    alibi = config.model_type == "falcon" and getattr(config, "alibi", False)
    if reason := "ALiBi attention" if alibi else UNSUPPORTED_FAMILIES.get(config.model_type):
        raise ConfigError(f"{name} is of the family {config.model_type} ({reason}), which Selfsame does not support")


def _four_bit(dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ConfigError("model.four_bit needs bitsandbytes: pip install 'selfsame-chat[quant]'") from error
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


@torch.no_grad()
def grow_embeddings(model: Any, tokenizer: Any) -> None:
    """Gives every marker that the model has no embedding for the mean embedding of words with its meaning, and any other
    token that of all words: the same on every load, unlike a random start. Does nothing where the embedding matrix is large
    enough already."""
    old = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= old:
        return
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    known = tokenizer.get_vocab()
    layers = {id(layer.weight): layer for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    for layer in layers.values():
        layer.weight[old:] = layer.weight[:old].mean(0, dtype=torch.float32).to(layer.weight.dtype)
        for marker, words in MARKER_WORDS.items():
            index = known.get(marker, 0)
            if index >= old:
                pieces = tokenizer(words, add_special_tokens=False)["input_ids"]
                layer.weight[index] = layer.weight[pieces].float().mean(0).to(layer.weight.dtype)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            bias[old:] = bias[:old].mean(dtype=torch.float32)  # as PEFT sets it where it reads a saved role


def context_length(config: Any) -> int | None:
    """Tokens that the model can read, as its configuration says; None where it does not."""
    for name in ("max_position_embeddings", "n_positions", "n_ctx"):
        if (value := getattr(config, name, None)) is not None:
            return int(value)
    return None


def get_model_info(model: Any) -> ModelInfo:
    """Family, size and shape of a base model or of one with adapters."""
    config = model.config
    return ModelInfo(
        family=config.model_type,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        context=context_length(config),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
    )


class explained:
    """Turns what transformers raises for a model that is not there, or damaged, into one line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, SelfsameError):
            return
        if self.name == BUNDLED:
            folder = locate_model(BUNDLED)
            raise ConfigError(
                f"the model in the package, {folder}, is missing or damaged: install Selfsame again"
            ) from error
        if not self.name or (self.name[0] in "/.~" and not Path(self.name).is_dir()):
            raise ConfigError(
                f"model.base: there is no folder {self.name!r}; give a folder with config.json, a GGUF file or a hub id"
            ) from error
        first = str(error).strip().split("\n")[0][:160]
        if Path(self.name).is_dir():
            raise ConfigError(f"the folder {self.name} holds no usable causal language model: {first}") from error
        offline = (
            " (HF_HUB_OFFLINE is set: only local folders and cached models work)"
            if os.environ.get("HF_HUB_OFFLINE") == "1"
            else ""
        )
        raise ConfigError(
            f"cannot load the model {self.name!r}, which is no folder in {Path.cwd()}{offline}: {first}; give a hub id or a"
            " folder with config.json"
        ) from error
