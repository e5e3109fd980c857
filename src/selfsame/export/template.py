"""The chat template that leaves with a bot: for jinja readers, for llama.cpp's, and as Go for Ollama.

All three are made for a system message that holds the persona and nothing else, or for none. The prompts that they write are
those of `data/processor.py`, token for token.
"""

from __future__ import annotations

import json
import re

from selfsame.data.chat_template import template_of
from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import CHAT_INTRODUCTION, MARKER_FORMAT
from selfsame.types import Prompt

_SAID = json.dumps(CHAT_INTRODUCTION)
INTRODUCED = (
    "{% if not messages or messages[0]['role'] != 'system' %}"
    "{% set messages = [{'role': 'system', 'content': ''}] + messages %}"
    "{% endif %}"
    f"{{% if {_SAID} not in messages[0]['content'] %}}"
    f"{{% set messages = [{{'role': 'system', 'content': {_SAID} + messages[0]['content']}}] + messages[1:] %}}"
    "{% endif %}"
    "{% if messages | length == 1 or messages[1]['role'] == 'assistant' %}"
    "{% set messages = messages[:1] + [{'role': 'user', 'content': ''}] + messages[1:] %}"
    "{% endif %}"
)
"""In front of a template: the sentence that every prompt was trained with, where no system message has it, and the empty user
turn before a chat that the bot opens."""
_GENERATION = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")
_CHECKED = {
    "with a persona": (
        Prompt(("I have two dogs.", "I teach chemistry."), ("Hi! Do you have any pets?",)),
        Prompt(("I was born in 1987.",), ("(Hello?)", "Hi - who's there?", "It's 9 o'clock, isn't it?")),
    ),
    "without a persona": (Prompt((), ("Hi!", "Hello.", "How are you?")),),
    "where the bot opens": (Prompt(("I keep bees.",), ("", "Hello, I keep bees!", "Oh?")), Prompt(("I keep bees.",))),
}
"""Prompts that a template must write as the processor does, by what they have in common."""


def leave_with_template(processor: DataProcessor) -> None:
    """Makes the tokenizer ready to leave: its template brings the sentence before the persona, and its end-of-text token is
    the one that ends a reply, where programs look for it."""
    tokenizer, template = processor.tokenizer, template_of(processor.tokenizer)
    if template is None or processor.format is MARKER_FORMAT:  # that of an earlier version is none that llama.cpp reads
        processor.bring_template()
        template = tokenizer.chat_template
    if processor.format is not MARKER_FORMAT and INTRODUCED not in template:
        template = INTRODUCED + template
    tokenizer.chat_template = template
    if "eos_token" not in template:
        tokenizer.eos_token = processor.format.end


def other_prompts(processor: DataProcessor) -> list[str]:
    """Which prompts the tokenizer's chat template writes in other tokens than the bot was trained on, such as `without a
    persona`."""

    def written(prompt: Prompt) -> list[int]:
        return processor.tokenizer.apply_chat_template(
            messages_of(prompt), tokenize=True, add_generation_prompt=True, return_dict=False
        )

    return [
        kind
        for kind, prompts in _CHECKED.items()
        if any(written(prompt) != processor.encode_prompt(prompt) for prompt in prompts)
    ]


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as the messages of a chat: the persona is the system message, a trait a line. Nobody sends an empty persona, or
    the empty turn before the bot's first."""
    said = [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(prompt.history)]
    system = [{"role": "system", "content": "\n".join(prompt.persona)}] if prompt.persona else []
    return system + said[0 if prompt.history[0] else 1 :]


def plain_jinja(template: str) -> str:
    """The template without `generation`, a tag of transformers alone; a condition that always holds takes its place, so that
    line breaks around it are treated as before."""
    return _GENERATION.sub(lambda m: f"{{%{m[1]} {'endif' if m[2] else 'if true'} {m[3]}%}}", template)


def go_template(processor: DataProcessor) -> str:
    """The same prompts as a template of Go, which Ollama fills with `.System` (the persona as `persona_text` writes it) and
    `.Messages`. A reply that is the last message is continued."""
    form, lead = processor.format, processor.lead
    head, opening, answer, following = (
        piece.replace("{{", '{{ "{{" }}')
        for piece in (processor.begin + form.head, form.opening, form.answer, form.next)
    )
    return (
        f"{head}{{{{ if .System }}}}{lead}{{{{ .System }}}}{{{{ end }}}}{opening}"
        "{{ $first := true }}{{ range $i, $m := .Messages }}"
        f'{{{{ if eq $m.Role "user" }}}}{lead}{{{{ $m.Content }}}}{answer}{{{{ $first = false }}}}'
        f'{{{{ else if eq $m.Role "assistant" }}}}{{{{ if $first }}}}{answer}{{{{ $first = false }}}}{{{{ end }}}}'
        f"{lead}{{{{ $m.Content }}}}{{{{ if ne (len (slice $.Messages $i)) 1 }}}}{following}{{{{ end }}}}"
        "{{ end }}{{ end }}"
    )


def stop_words(processor: DataProcessor) -> list[str]:
    """The control tokens of a prompt, each of which ends a reply; the one that ends it by design comes first."""
    form = processor.format
    text = "".join((form.opening, form.answer, form.next))
    known = sorted(filter(None, processor.tokenizer.all_special_tokens), key=len, reverse=True)
    found = re.findall("|".join(map(re.escape, known)), text) if known else []
    return list(dict.fromkeys([form.end, *found]))
