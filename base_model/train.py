"""Pre-training: one process, several (`torchrun`), or one GPU; stopped at any time, it goes on with the same result."""

from __future__ import annotations

import json
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
from selfsame.model import parallel
from selfsame.model.base import choose_device, choose_dtype
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import append_jsonl, read_json, read_jsonl, write_json, write_text
from selfsame.run.logger import say
from selfsame.types import Dialogue


def pretrain(recipe: Recipe, work: Path) -> Path:
    """Trains on `work/corpus.jsonl` and returns the folder of the last checkpoint's model."""
    parallel.start()
    device = choose_device()
    corpus = read_corpus(work / "corpus.jsonl")
    watched = [d for part in corpus.values() for d in part if d.personas[0] and is_watched(d, recipe.watch.share)]
    away = {d.id for d in watched}
    corpus = {name: [d for d in part if d.id not in away] for name, part in corpus.items()}
    if parallel.is_main():
        _make_tables(corpus, recipe, work)
    parallel.barrier()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    maker = RowMaker(
        corpus, tokenizer, read_json(work / "similar.json"), recipe.views, recipe.shape.context, recipe.seed
    )
    model = make_model(recipe.shape, tokenizer, recipe.seed).to(device).train()
    training = _Training(model, recipe.optimiser, maker)
    manager = CheckpointManager(work / "checkpoints", keep=2)
    start = training.load(manager) if manager.latest() else 0
    if parallel.is_main():
        _cut_records(work, start)
    for step in range(start, recipe.optimiser.steps):
        began = time.perf_counter()
        record = training.step(step)
        done = step + 1
        if parallel.is_main():
            seconds = time.perf_counter() - began
            append_jsonl(work / "metrics.jsonl", {"step": done, **record, "seconds": round(seconds, 3)})
            if done % 20 == 0:
                pace = f"{record['tokens'] / seconds:.0f} tokens/s"
                say(f"step {done}/{recipe.optimiser.steps}: loss {record['loss']:.3f}, {pace}")
        if done % recipe.watch.every == 0 or done == recipe.optimiser.steps:
            if parallel.is_main():
                folder = manager.save(
                    done, training.tensors(), {"recipe": recipe.model_dump(mode="json")}, [training.writer(tokenizer)]
                )
                numbers = watch(folder / "model", watched, recipe.watch, recipe.seed)
                append_jsonl(work / "watch.jsonl", {"step": done, **numbers})
                say(f"step {done}: " + ", ".join(f"{k} {v:.3f}" for k, v in numbers.items()))
            parallel.barrier()
    last = manager.latest()
    assert last is not None
    return last / "model"


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
        self.fast = choose_dtype("auto", self.device) == torch.bfloat16
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
        """Summed weighted negative log-likelihood of the rows."""
        width = max(len(r.ids) for r in rows)
        pad = self.maker.usual.pad_id
        ids_BT = torch.tensor([r.ids + [pad] * (width - len(r.ids)) for r in rows], device=self.device)
        weights_BT = torch.tensor([r.weights + [0.0] * (width - len(r.ids)) for r in rows], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
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
        self.model.load_state_dict(tensors["weights"], strict=False)  # the tied head is no parameter of its own
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
    """Part of the peak rate: linear warm-up, constant, linear decay to a hundredth at the last step."""
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


def _make_tables(corpus: dict[str, list[Dialogue]], recipe: Recipe, work: Path) -> None:
    """The tokenizer, and which words are similar, unless they are there."""
    texts = [
        t
        for part in corpus.values()
        for d in part
        for t in (*d.personas[0], *d.personas[1], *(x.text for x in d.turns))
    ]
    if not (work / "tokenizer").exists():
        # Dialogues with personas three times: theirs are the words that matter.
        named = [
            t
            for part in corpus.values()
            for d in part
            if d.personas[0]
            for t in (*d.personas[0], *d.personas[1], *(x.text for x in d.turns))
        ]
        train_tokenizer([*texts, *named, *named], recipe.shape.vocabulary, recipe.shape.context).save_pretrained(
            work / "tokenizer"
        )
    if not (work / "similar.json").exists():
        write_json(work / "similar.json", similar_words(texts))
