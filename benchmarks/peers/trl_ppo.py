"""PPO of trl 1.12.0, the last release that has it."""

from __future__ import annotations

import tempfile

import torch
from datasets import Dataset
from measure import Clock, base_dtype, finish, logged, lora, options
from peft import get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer

ROWS = 8
"""Replies in a forward pass."""


def main() -> None:
    chosen = options(("ppo",))
    amount = chosen.content["amount"]
    dtype = base_dtype(chosen)  # the trainer ignores its own bf16 setting (on CPUs at least)
    tokenizer = AutoTokenizer.from_pretrained(chosen.model, padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=dtype)
    reference = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=dtype) if chosen.adapters == "none" else None
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(chosen.model, num_labels=1, dtype=dtype) for _ in range(2)
    )
    adapters = lora(chosen, "SEQ_CLS")
    if adapters is not None and (chosen.settings == "best" or chosen.adapters == "upper"):
        value = with_adapters(value, adapters)
    episodes = amount["prompts"] * amount["samples"]
    rows = [ids for step in chosen.content["prompts"] for ids in step for _ in range(amount["samples"])]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=PPOConfig(
                output_dir=folder,
                per_device_train_batch_size=min(ROWS, episodes),
                gradient_accumulation_steps=max(1, episodes // ROWS),
                num_mini_batches=1,
                num_ppo_epochs=amount["epochs"],
                local_rollout_forward_batch_size=episodes,
                total_episodes=episodes * amount["steps"],
                response_length=amount["new_tokens"],
                temperature=1.0,
                missing_eos_penalty=1.0,
                num_sample_generations=0,
                use_cpu=not torch.cuda.is_available(),
                **({"bf16": False} if chosen.float32 else {}),
                save_strategy="no",
                report_to="none",
                seed=0,
            ),
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=value,
            train_dataset=Dataset.from_dict({"input_ids": rows}),
            peft_config=lora(chosen, "CAUSAL_LM"),
            callbacks=[clock],
        )
        in_order = DataLoader(trainer.train_dataset, batch_size=episodes, collate_fn=trainer.data_collator)
        trainer.dataloader = trainer.accelerator.prepare(in_order)  # the trainer's own shuffles
        trainer.train()
    finish(chosen, clock.seconds(1), logged(trainer, "loss/policy_avg"))


def with_adapters(value, adapters):
    """The value model with adapters, as the trainer wants it: with `score` and a backbone at the top."""
    wrapped = get_peft_model(value, adapters)
    return wrapped.get_base_model()


if __name__ == "__main__":
    main()
