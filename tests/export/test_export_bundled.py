"""The bot in the package, asked the same things inside, merged, by PEFT, and as GGUF by llama.cpp.

`SELFSAME_ASKED=50` asks fifty things and tries every number format, which takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import os

import pytest
import torch
import yaml
from outside import LlamaCpp, ended
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.export.bot import Wanted, export
from selfsame.export.template import messages_of
from selfsame.serve.chatbot import load_chatbot
from selfsame.types import Prompt

BOT, ASKED, LIMIT = "selfsame-135m", int(os.environ.get("SELFSAME_ASKED", "6")), 24
KINDS = ("f32", "f16", "q8_0") if ASKED >= 50 else ("f16",)


def questions() -> list[Prompt]:
    """What people ask in the bundled dialogues, with what was said before."""
    sides = DatasetLoader(DataSettings(validation_share=0.4)).load().train
    return [Prompt(side.persona, side.turns[: 1 + 2 * (k % 2)]) for k, side in enumerate(sides) if len(side.turns) > 3][
        :ASKED
    ]


@torch.no_grad()
def generated(model, ids: list[int], end: int) -> list[int]:
    """The greedy reply, with its end token where it ends."""
    made = model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        use_cache=True,
        max_new_tokens=LIMIT,
        eos_token_id=end,
        pad_token_id=end,
    )
    return made[0, len(ids) :].tolist()


@torch.no_grad()
def says(model, ids: list[int], reply: list[int]) -> bool:
    """Whether this is the model's greedy reply: in one pass, every token of it is the likeliest after those before it."""
    likeliest = model(input_ids=torch.tensor([[*ids, *reply]])).logits[0].argmax(-1).tolist()
    return likeliest[len(ids) - 1 : -1] == reply


@pytest.mark.slow
def test_replies_are_the_same_everywhere(real_base, tmp_path):
    bot = load_chatbot(BOT, model={"dtype": "float32"})
    processor, asked = bot.roles.processor, questions()
    prompts, end = [processor.encode_prompt(prompt) for prompt in asked], processor.end_id
    assert len(prompts) == ASKED
    with bot.roles.use(bot.role) as model:
        expected = [generated(model, ids, end) for ids in prompts]
    del bot, model
    shares: dict[str, float] = {}
    for form, reader in (("merged", AutoModelForCausalLM), ("adapter", AutoPeftModelForCausalLM)):
        export(Wanted(BOT, form, tmp_path / form))
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / form)
        rendered = [
            tokenizer.apply_chat_template(messages_of(prompt), add_generation_prompt=True, return_dict=False)
            for prompt in asked
        ]
        assert rendered == prompts
        model = reader.from_pretrained(tmp_path / form, dtype=torch.float32).eval()
        shares[form] = sum(says(model, *pair) for pair in zip(prompts, expected, strict=True)) / ASKED
        del model
    for kind in KINDS:
        export(Wanted(BOT, "gguf", tmp_path / kind, dtype=kind))
        outside = LlamaCpp(next((tmp_path / kind).glob("*.gguf")))
        assert [outside.tokens(outside.prompt(messages_of(prompt))) for prompt in asked] == prompts
        found = [ended(outside.reply(ids, LIMIT), end) for ids in prompts]
        shares[kind] = sum(a == ended(b, end) for a, b in zip(found, expected, strict=True)) / ASKED
    print(shares)
    assert shares["merged"] == shares["adapter"] == 1
    # where two tokens are nearly as likely, rounding decides
    assert min(shares[kind] for kind in KINDS if kind != "q8_0") > 0.8
    text = (tmp_path / "f16" / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and head["license"] == "apache-2.0"
    for said in ("Q4_1", "CC BY 4.0", "PPO 16 steps", "| in character |", "95% confidence interval"):
        assert said in text
