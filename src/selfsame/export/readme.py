"""The model card that leaves with a bot: what it is made of, how, what was measured, its limits, and how to run it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from selfsame.data.prompt_format import CHAT_INTRODUCTION, MARKER_FORMAT
from selfsame.export.about import UNKNOWN, base_of, data_of, record_of
from selfsame.export.weights import example_messages
from selfsame.model.lora import LoraRoles
from selfsame.report.tables import markdown_results, read_evaluations
from selfsame.run.checkpoint import finished
from selfsame.serve.chatbot import Chatbot
from selfsame.systems import SYSTEMS

_LIBRARY = {"adapter": "peft", "merged": "transformers", "gguf": "gguf", "ollama": "gguf"}
_TRANSFORMERS = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "{name}"  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
messages = {messages}
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
reply = model.generate(**inputs, max_new_tokens={limit}, eos_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(reply[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


@dataclass(frozen=True)
class Leaving:
    """What leaves: `name` and `form` of the export, the `file` of its weights, `notes` on it, the `limit` of a reply in tokens,
    whether it has a `persona`."""

    name: str
    form: str
    file: str
    notes: Sequence[str]
    limit: int
    persona: bool = False


def model_card(bot: Chatbot, leaving: Leaving) -> str:
    """The text of `README.md`."""
    base, data = base_of(bot), data_of(bot)
    head: dict[str, Any] = {"library_name": _LIBRARY[leaving.form], "pipeline_tag": "text-generation"}
    if base.licence != UNKNOWN:
        head["license"] = base.licence.lower()
    if base.hub:
        head["base_model"] = base.hub
    head["tags"] = ["selfsame", "persona", "chat", *(["lora"] if leaving.form == "adapter" else [])]
    made = [f"- **Base**: {base.title}. Licence: {base.licence}. {base.note}".rstrip()]
    if data is not None:
        made.append(f"- **Data**: {data.title}. Licence: {data.licence}.")
    parts = [
        f"# {leaving.name}",
        f"A chatbot that keeps a persona, exported by Selfsame ({leaving.form}).",
        "\n".join([*made, *_recipe(bot)]),
        f"## How to run it\n\n{_usage(bot, leaving)}",
        f"## Results\n\n{_results(bot)}",
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(leaving)),
    ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def _recipe(bot: Chatbot) -> list[str]:
    """The stages that the speaking role rests on, with the settings that matter most."""
    if bot.directory is None or bot.system is None or bot.role is None:
        return []
    config, lines = bot.config, []
    chain = [stage for stage in ("sft", "reward", bot.system) if finished(bot.directory, stage)]
    if SYSTEMS[bot.system].role == "sft":
        chain = [stage for stage in chain if stage == "sft"]
    for stage in dict.fromkeys(chain):
        rate = getattr(config.training, stage).learning_rate
        folder = finished(bot.directory, stage)
        assert folder is not None
        lines.append(f"{stage.upper()} {int(folder.name.rpartition('-')[2])} steps, learning rate {rate:g}")
    lora = config.model.lora
    blocks = "all blocks" if lora.layers is None else f"the last {lora.layers} blocks"
    size = (
        "all weights" if config.model.tuning == "full" else f"LoRA of rank {lora.rank}, alpha {lora.alpha}, in {blocks}"
    )
    versions = ", ".join(f"{name} {version}" for name, version in record_of(bot).items())
    made = [f"- **Recipe**: {'; '.join(lines)}; {size}; seed {config.seed}."]
    return [*made, *([f"- **Versions**: {versions}."] if versions else [])]


def _results(bot: Chatbot) -> str:
    if bot.directory is None or not read_evaluations(bot.directory):
        return "Selfsame has not measured this model: `selfsame evaluate` does."
    said = f"The system that was exported is `{bot.system}`.\n\n" if bot.system else ""
    return f"{said}{markdown_results(bot.directory.path)}"


def _limits(leaving: Leaving) -> list[str]:
    return [
        "It makes things up where the persona is silent, and was not made safe for anybody.",
        "It was trained on chats with one persona and one partner, and on nothing else.",
        "Programs that fill a chat template read control tokens in what people type; Selfsame's own chat does not.",
        *leaving.notes,
    ]


def _usage(bot: Chatbot, leaving: Leaving) -> str:
    messages, name = json.dumps(example_messages(), ensure_ascii=False), leaving.name
    intro = (
        ""
        if bot.roles.processor.format is MARKER_FORMAT
        else f" The template puts {CHAT_INTRODUCTION.strip()!r} first."
    )
    system = f"The system message is the persona, one trait a line, in the first person.{intro}"
    if leaving.form == "ollama":
        commands = f"```\nollama create {_tag(name)} -f Modelfile\nollama run {_tag(name)}\n```"
        traits = bot.roles.processor.persona_text(("I have two dogs.", "I drive a night bus."))
        lacking = f'It has no persona yet. Add one to `Modelfile` first:\n\n```\nSYSTEM """{traits}"""\n```'
        known = "`SYSTEM` in `Modelfile` is who it is."
        return f"In this folder:\n\n{commands}\n\n{known if leaving.persona else lacking}"
    if leaving.form == "gguf":
        context = bot.roles.processor.max_length
        return f"```\nllama-server -m {leaving.file} --jinja --no-context-shift -c {context}\n```\n\n{system}"
    code = _TRANSFORMERS.format(name=name, messages=messages, limit=leaving.limit)
    if leaving.form == "merged":
        served = f"`vllm serve {name}` and `transformers serve` read the folder too."
        return f"{code}\n\n{system} {served}"
    code = code.replace("AutoModelForCausalLM, AutoTokenizer", "AutoTokenizer").replace(
        "from transformers", "from peft import AutoPeftModelForCausalLM\nfrom transformers"
    )
    return f"{code.replace('= AutoModelForCausalLM', '= AutoPeftModelForCausalLM')}\n\n{system} {_adapter_notes(bot)}".rstrip()


def _adapter_notes(bot: Chatbot) -> str:
    """What a reader of the adapter must know about its base."""
    base, notes = bot.config.model.base, []
    if not base_of(bot).hub or base_of(bot).note:
        notes.append(
            "`base_model_name_or_path` is the folder of the base on the machine that wrote this: elsewhere, load the base and"
            " give it to `PeftModel.from_pretrained(base, folder)`."
        )
    if base_of(bot).hub and base_of(bot).note:
        notes.append(f"`selfsame base {base}` prepares the base; `selfsame.locate_model({base!r})` is its folder.")
    if isinstance(bot.roles, LoraRoles) and bot.roles.new_tokens:
        notes.append("It holds rows of added tokens, which PEFT reads; for vLLM export `--to merged`.")
    return " ".join(notes)


def _tag(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name.lower())
