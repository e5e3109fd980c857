"""Pre-training: one process, several (`torchrun`), or one GPU; stopped at any time, it goes on with the same result."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from base_model.corpus import is_watched, read_corpus
from base_model.export import save_model
from base_model.neighbours import similar_words
from base_model.settings import ModelShape, OptimiserSettings, Recipe
from base_model.tokenizer import train_tokenizer
from base_model.views import Row, RowMaker
from base_model.watch import watch
from selfsame.errors import ConfigError, RunError
from selfsame.model import parallel
from selfsame.model.base import choose_device, choose_dtype
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.files import append_jsonl, read_json, read_jsonl, write_json, write_text
from selfsame.run.logger import say
from selfsame.types import Dialogue


def pretrain(recipe: Recipe, work: Path) -> None:
    """Trains on `work/corpus.jsonl`, from the newest checkpoint if there is one; needs `parallel.start` before.

    Raises:
        ConfigError: `work` holds a training of another recipe or corpus, or there are more processes than rows.
    """
    if recipe.optimiser.rows_per_step < parallel.world():
        raise ConfigError(f"optimiser.rows_per_step is {recipe.optimiser.rows_per_step}: at least one for each process")
    corpus = read_corpus(work / "corpus.jsonl")
    watched = [d for part in corpus.values() for d in part if d.personas[0] and is_watched(d, recipe.watch.share)]
    away = {d.id for d in watched}
    corpus = {name: [d for d in part if d.id not in away] for name, part in corpus.items()}
    if parallel.is_main():
        _check_same(recipe, work)
        _make_tables(corpus, recipe, work)
    parallel.barrier()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    similar = read_json(work / "similar.json")
    maker = RowMaker(corpus, tokenizer, similar, recipe.views, recipe.shape.context, recipe.seed)
    model = make_model(recipe.shape, tokenizer, recipe.seed).to(choose_device()).train()
    training = _Training(model, recipe.optimiser, maker)
    manager = CheckpointManager(work / "checkpoints", keep=2)
    start = training.load(manager) if manager.latest() else 0
    if parallel.is_main():
        _cut_records(work, start)
        _watch_last(manager, work, watched, recipe)
    for step in range(start, recipe.optimiser.steps):
        began = time.perf_counter()
        record = training.step(step)
        done = step + 1
        if parallel.is_main():
            _report(work, done, recipe.optimiser.steps, record | {"seconds": round(time.perf_counter() - began, 3)})
        if done % recipe.watch.every == 0 or done == recipe.optimiser.steps:
            if parallel.is_main():
                manager.save(done, training.tensors(), {}, [training.writer(tokenizer)])
                _watch_last(manager, work, watched, recipe)
            parallel.barrier()


def _report(work: Path, step: int, steps: int, record: dict[str, Any]) -> None:
    append_jsonl(work / "metrics.jsonl", {"step": step, **record})
    if step % 20 == 0:
        say(f"step {step}/{steps}: loss {record['loss']:.3f}, {record['tokens'] / record['seconds']:.0f} tokens/s")


def _watch_last(manager: CheckpointManager, work: Path, watched: list[Dialogue], recipe: Recipe) -> None:
    """Measures the newest checkpoint, unless that is done."""
    path, folder = work / "watch.jsonl", manager.latest()
    if folder is None or (step := int(folder.name.split("-")[1])) in {r["step"] for r in read_jsonl(path)[0]}:
        return
    numbers = watch(folder / "model", watched, recipe.watch, recipe.shape.context, recipe.seed)
    append_jsonl(path, {"step": step, **numbers})
    say(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()))


def make_model(shape: ModelShape, tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """The model with random weights, float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # On CPUs plain matrix products are the fastest attention in bfloat16, backward pass included.
        attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
    )
    return LlamaForCausalLM(config)


class _Training:
    """Model and optimisers; `step(k)` is one update."""

    def __init__(self, model: LlamaForCausalLM, settings: OptimiserSettings, maker: RowMaker) -> None:
        self.model, self.settings, self.maker = model, settings, maker
        self.device = next(model.parameters()).device
        self.autocast = choose_dtype("auto", self.device) == torch.bfloat16
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
        decay = settings.weight_decay
        self.optimisers = {
            "muon": torch.optim.Muon(matrices, lr=settings.muon_rate, weight_decay=decay, momentum=0.95),
            "adamw": torch.optim.AdamW(others, lr=settings.adam_rate, weight_decay=decay, betas=(0.9, 0.95)),
        }
        self.peaks = {"muon": settings.muon_rate, "adamw": settings.adam_rate}

    def step(self, step: int) -> dict[str, Any]:
        """One update on the rows of `step`; the mean weighted loss in nats, and the tokens seen."""
        settings = self.settings
        rows = self.maker.rows(step, settings.steps, parallel.share(range(settings.rows_per_step)))
        sums = parallel.sum_numbers(
            {"weight": sum(sum(r.weights) for r in rows), "tokens": float(sum(len(r.ids) for r in rows))}
        )
        loss = 0.0
        for batch in micro_batches(rows, settings.token_budget):
            part = self._loss(batch) / sums["weight"]
            part.backward()
            loss += part.item()
        parameters = list(self.model.parameters())
        parallel.sum_tensors(p.grad for p in parameters if p.grad is not None)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0).item()
        loss = parallel.sum_numbers({"loss": loss})["loss"]
        if not norm < float("inf"):
            raise SystemExit(f"step {step + 1}: the gradient is not finite; lower the learning rates")
        rate = learning_rate(step, settings)
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = self.peaks[name] * rate
            optimiser.step()
            optimiser.zero_grad()
        return {"loss": loss, "gradient_norm": norm, "rate": rate, "tokens": int(sums["tokens"])}

    def _loss(self, rows: Sequence[Row]) -> Tensor:
        """Summed weighted negative log-likelihood (nats) of the rows' tokens, S of them with padding."""
        width = max(len(r.ids) for r in rows)
        pad = self.maker.usual.pad_id
        ids_BT = torch.tensor([r.ids + [pad] * (width - len(r.ids)) for r in rows], device=self.device)
        weights_BT = torch.tensor([r.weights + [0.0] * (width - len(r.ids)) for r in rows], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            # Padding is on the right: causal attention never looks at it.
            logits_BTV = self.model(input_ids=ids_BT[:, :-1], use_cache=False).logits
        loss_S = F.cross_entropy(logits_BTV.flatten(0, 1).float(), ids_BT[:, 1:].flatten(), reduction="none")
        return loss_S @ weights_BT[:, 1:].flatten()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Weights and optimiser states by file."""
        files = {"weights": dict(self.model.named_parameters())}
        for name, optimiser in self.optimisers.items():
            state = optimiser.state_dict()["state"]
            files[name] = {
                f"{k}/{key}": torch.as_tensor(value) for k, entry in state.items() for key, value in entry.items()
            }
        return files

    def load(self, manager: CheckpointManager) -> int:
        """Goes back to the newest checkpoint and returns its step."""
        checkpoint = manager.load()
        tensors = checkpoint.tensors
        # The tied head is no parameter of its own.
        missing, unexpected = self.model.load_state_dict(tensors["weights"], strict=False)
        if unexpected or missing not in ([], ["lm_head.weight"]):
            raise RunError(f"{checkpoint.path} holds another model: {(*missing, *unexpected)[0]} does not fit")
        for name, optimiser in self.optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors[name].items():
                index, _, entry = key.partition("/")
                state.setdefault(int(index), {})[entry] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return checkpoint.step

    def writer(self, tokenizer: Any) -> Any:
        """Writes the model, as it would be released, into a checkpoint's folder."""
        return lambda folder: save_model(self.model, tokenizer, folder / "model")


def learning_rate(step: int, settings: OptimiserSettings) -> float:
    """Part of the peak rate: linear warm-up, constant, linear decay, but never below a hundredth."""
    rise = (step + 1) / max(1.0, settings.warmup * settings.steps)
    fall = (settings.steps - step) / max(1.0, settings.decay * settings.steps)
    return max(0.01, min(1.0, rise, fall))


def micro_batches(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """The rows by length, in batches of at most `budget` tokens with padding (or of one row)."""
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].ids) <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _cut_records(work: Path, step: int) -> None:
    """Drops the records of steps after `step`, which will be done again."""
    for path in (work / "metrics.jsonl", work / "watch.jsonl"):
        kept = [r for r in read_jsonl(path)[0] if r["step"] <= step]
        write_text(path, "".join(json.dumps(r) + "\n" for r in kept))


def _check_same(recipe: Recipe, work: Path) -> None:
    """Writes what the training depends on to `work/recipe.json`, or compares with it."""
    corpus = hashlib.sha256((work / "corpus.jsonl").read_bytes()).hexdigest()
    now = {"recipe": recipe.model_dump(mode="json"), "corpus": corpus, "processes": parallel.world()}
    path = work / "recipe.json"
    if not path.exists():
        write_json(path, now)
    elif wrong := [name for name, value in read_json(path).items() if value != now[name]]:
        raise ConfigError(f"{work} holds a training with another {' and '.join(wrong)}: choose another --work")


def _make_tables(corpus: dict[str, list[Dialogue]], recipe: Recipe, work: Path) -> None:
    """The tokenizer, and which words are similar, unless they are there."""
    target, temporary = work / "tokenizer", work / ".tokenizer"
    texts = [text for part in corpus.values() for d in part for text in _texts(d)]
    if not target.exists():
        # Dialogues with personas three times: theirs are the words that matter.
        named = [text for part in corpus.values() for d in part if d.personas[0] for text in _texts(d)]
        tokenizer = train_tokenizer([*texts, *named, *named], recipe.shape.vocabulary, recipe.shape.context)
        shutil.rmtree(temporary, ignore_errors=True)
        tokenizer.save_pretrained(temporary)
        temporary.rename(target)
    if not (work / "similar.json").exists():
        write_json(work / "similar.json", similar_words(texts))


def _texts(dialogue: Dialogue) -> list[str]:
    return [*dialogue.personas[0], *dialogue.personas[1], *(turn.text for turn in dialogue.turns)]
