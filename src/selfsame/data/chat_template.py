"""Chat templates as models bring them, made the same on every day and given a place for the persona."""

from __future__ import annotations

from datetime import datetime
from typing import Any

DAY = datetime(2024, 7, 26)
"""The day that every template gets, Llama 3's own where it knows no other: tokens, and so results, are those of any day."""
_DIRECTIVES = "aAbBcdHIjmMpSUwWxXyYZ"
FIXED_DAY = (
    "{% macro strftime_now(form) %}{{ form"
    + "".join(f"|replace('%{c}','{DAY.strftime('%' + c)}')" for c in _DIRECTIVES)
    + f"|replace('%-d','{DAY.day}')|replace('%-m','{DAY.month}')"
    + " }}{% endmacro %}"
)
"""In front of a template: takes the place of the clock that transformers hands to it."""

PERSONA_IN_FIRST_TURN = (
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% if messages | length > 1 and messages[1]['role'] == 'user' %}"
    "{% set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:] %}"
    "{% else %}"
    "{% set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n'}] + messages[1:] %}"
    "{% endif %}{% endif %}"
)
"""In front of a template: the system message becomes the beginning of the first user turn."""

MARKER_TEMPLATE = """\
{%- set persona, opening, answer, end = '[PERSONA]', '[DIALOGUE]', '[RESPONSE]', '[SEP]' -%}
{%- set talk = messages[1:] if messages and messages[0].role == 'system' else messages -%}
{{- persona -}}
{%- if talk | length < messages | length and messages[0].content.strip() -%}
{%- for trait in messages[0].content.split('\\n') if trait.strip() -%}
{{- (' ' if loop.first else ' | ') + trait.strip() -}}
{%- endfor -%}
{%- endif -%}
{{- opening -}}
{%- if talk and talk[0].role == 'assistant' -%}{{- answer -}}{%- endif -%}
{%- for message in talk -%}
{%- if not loop.first and message.role == loop.previtem.role -%}
{{- raise_exception('user and assistant must take turns') -}}
{%- elif message.role == 'user' -%}
{{- ' ' + message.content.strip() + answer -}}
{%- elif message.role == 'assistant' -%}
{{- ' ' + message.content.strip() + end -}}
{%- else -%}
{{- raise_exception('a conversation has one system message, the first, then user and assistant in turns') -}}
{%- endif -%}
{%- endfor -%}
{%- if not talk and add_generation_prompt -%}{{- answer -}}{%- endif -%}
"""
"""A system message is the persona, one trait a line: the marker form of `data/processor.py`, token for token (but for markers
and `|` in people's text, which the processor escapes)."""


def fix_day(tokenizer: Any) -> bool:
    """Makes the tokenizer's chat template write the same date on every day; returns whether it writes one."""
    template = template_of(tokenizer)
    if template is None or "strftime_now" not in template:
        return False
    if FIXED_DAY not in template:
        tokenizer.chat_template = FIXED_DAY + template
    return True


def template_of(tokenizer: Any) -> str | None:
    """The template that renders a chat, where the tokenizer has one; it may have others for tools."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        return template.get("default")
    return template or None


def marker_template(begin: str, space: str) -> str:
    """The template of the marker form for a tokenizer that puts `begin` before every text, with `space` between marker and
    text where the tokenizer adds none itself."""
    return f"{{{{- {begin!r} -}}}}\n" + MARKER_TEMPLATE.replace("' ' + message", f"{space!r} + message").replace(
        "' ' if loop.first", f"{space!r} if loop.first"
    )
