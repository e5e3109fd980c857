"""SFT, reward model and GRPO of trl, a current release; `generate` is transformers' own with an adapter."""

from __future__ import annotations

import tempfile
from typing import Any, ClassVar

import torch
from datasets import Dataset
from measure import Clock, base_dtype, finish, logged, lora, now, options
from peft import get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

ROWS = 8
"""Replies in a forward pass of GRPO."""


def common(chosen, folder: str, steps: int) -> dict[str, Any]:
    """Defaults, or what is fastest here: no activation checkpointing. Both have the trainers' bf16 autocast unless
    they are to compute in float32."""
    values: dict[str, Any] = {"output_dir": folder, "max_steps": steps, "report_to": "none", "save_strategy": "no"}
    values |= {
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "seed": 0,
        "learning_rate": 1e-4,
        "disable_tqdm": True,
    }
    if chosen.settings == "best":
        values["gradient_checkpointing"] = False
    if chosen.float32:
        values["bf16"] = False
    return values


class InOrder:
    """The batches come as the work has them."""

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        return SequentialSampler(self.train_dataset)


class Supervised(InOrder, SFTTrainer): ...


class Reward(InOrder, RewardTrainer): ...


class Group(GRPOTrainer):
    """Prompts are given by number; their tokens are the work's."""

    known: ClassVar[list[list[int]]] = []

    def _tokenize_prompts(self, prompts: list) -> tuple:
        return [self.known[int(p)] for p in prompts], None, {}


def sft(chosen, folder: str, clock: Clock) -> tuple[list[float], list[float]]:
    steps, batch = chosen.content["sft"], chosen.content["amount"]["batch"]
    rows = [row for step in steps for row in step]
    masks = [[int(any(s <= i < e for s, e in row["spans"])) for i in range(len(row["ids"]))] for row in rows]
    trainer = Supervised(
        model=AutoModelForCausalLM.from_pretrained(chosen.model, dtype=base_dtype(chosen)),
        args=SFTConfig(per_device_train_batch_size=batch, max_length=512, **common(chosen, folder, len(steps))),
        train_dataset=Dataset.from_dict({"input_ids": [r["ids"] for r in rows], "assistant_masks": masks}),
        processing_class=AutoTokenizer.from_pretrained(chosen.model),
        peft_config=lora(chosen, "CAUSAL_LM"),
        callbacks=[clock],
    )
    trainer.train()
    return clock.seconds(1), logged(trainer, "loss")


def reward(chosen, folder: str, clock: Clock) -> tuple[list[float], list[float]]:
    steps, batch = chosen.content["reward"], chosen.content["amount"]["batch"]
    pairs = [pair for step in steps for pair in step]
    trainer = Reward(
        model=AutoModelForSequenceClassification.from_pretrained(chosen.model, num_labels=1, dtype=base_dtype(chosen)),
        args=RewardConfig(per_device_train_batch_size=batch, max_length=512, **common(chosen, folder, len(steps))),
        train_dataset=Dataset.from_dict(
            {"chosen_ids": [p + c for p, c, _ in pairs], "rejected_ids": [p + r for p, _, r in pairs]}
        ),
        processing_class=AutoTokenizer.from_pretrained(chosen.model),
        peft_config=lora(chosen, "SEQ_CLS"),
        callbacks=[clock],
    )
    trainer.train()
    return clock.seconds(1), logged(trainer, "loss")


def grpo(chosen, folder: str, clock: Clock) -> tuple[list[float], list[float]]:
    content, amount = chosen.content, chosen.content["amount"]
    episodes = amount["prompts"] * amount["samples"]
    Group.known = [ids for step in content["prompts"] for ids in step]
    model = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=base_dtype(chosen))
    tokenizer = AutoTokenizer.from_pretrained(chosen.model, padding_side="left")
    scorer = AutoModelForSequenceClassification.from_pretrained(chosen.model, num_labels=1, dtype=base_dtype(chosen))
    scorer.eval()

    @torch.no_grad()
    def score(prompts, completion_ids, **_) -> list[float]:
        """The score of prompt and reply, read at the last token, ROWS at a time."""
        scores: list[float] = []
        rows = [[*Group.known[int(p)], *ids] for p, ids in zip(prompts, completion_ids, strict=True)]
        for at in range(0, len(rows), ROWS):
            batch = tokenizer.pad({"input_ids": rows[at : at + ROWS]}, return_tensors="pt").to(scorer.device)
            hidden = scorer.model(**batch).last_hidden_state[:, -1]  # padding stands on the left
            scores += scorer.score(hidden)[:, 0].float().tolist()
        return scores

    trainer = Group(
        model=model,
        reward_funcs=score,
        args=GRPOConfig(
            per_device_train_batch_size=min(ROWS, episodes),
            gradient_accumulation_steps=max(1, episodes // ROWS),
            num_generations=amount["samples"],
            num_iterations=amount["epochs"],
            max_completion_length=amount["new_tokens"],
            generation_kwargs={"min_new_tokens": amount["new_tokens"]},
            beta=0.05,
            shuffle_dataset=False,
            temperature=1.0,
            **common(chosen, folder, len(content["prompts"]) * amount["epochs"]),
        ),
        train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(len(Group.known))]}),
        processing_class=tokenizer,
        peft_config=lora(chosen, "CAUSAL_LM"),
        callbacks=[clock],
    )
    trainer.train()
    return clock.seconds(amount["epochs"]), logged(trainer, "loss")


@torch.no_grad()
def generate(chosen, folder: str, clock: Clock) -> tuple[list[float], list[float]]:
    """Replies to the prompts of each step, all in one batch. Best: adapter merged, base in bfloat16."""
    amount, tokenizer = chosen.content["amount"], AutoTokenizer.from_pretrained(chosen.model, padding_side="left")
    best = chosen.settings == "best"
    model = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=base_dtype(chosen))
    model = get_peft_model(model, lora(chosen, "CAUSAL_LM")).eval()
    model = model.cuda() if torch.cuda.is_available() else model
    model = model.merge_and_unload() if best else model
    clock.times.append(now())
    for prompts in chosen.content["prompts"]:
        batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
        out = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=amount["samples"],
            min_new_tokens=amount["new_tokens"],
            max_new_tokens=amount["new_tokens"],
            pad_token_id=tokenizer.pad_token_id,
        )
        assert out.shape == (len(prompts) * amount["samples"], batch["input_ids"].shape[1] + amount["new_tokens"])
        clock.times.append(now())
    return clock.seconds(1), []


def main() -> None:
    stages = {"sft": sft, "reward": reward, "grpo": grpo, "generate": generate}
    chosen = options(tuple(stages))
    with tempfile.TemporaryDirectory() as folder:
        finish(chosen, *stages[chosen.stage](chosen, folder, Clock()))


if __name__ == "__main__":
    main()
