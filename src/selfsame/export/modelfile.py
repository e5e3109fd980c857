"""A bot for Ollama: the Modelfile with the prompts, stop words and sampling that it was trained with, and who it is."""

from __future__ import annotations

from selfsame.cards.card import Card
from selfsame.data.processor import DataProcessor
from selfsame.errors import DataError
from selfsame.export.template import go_template, stop_words
from selfsame.rollout.settings import SamplingSettings
from selfsame.types import Persona


def modelfile(
    processor: DataProcessor, sampling: SamplingSettings, persona: Persona = (), card: Card | None = None
) -> str:
    """The text of a Modelfile beside `model.gguf`.

    Args:
        processor: whose prompts the TEMPLATE writes.
        sampling: how replies are sampled. Ollama's own cuts and penalties are switched off.
        persona: the traits of SYSTEM; none: there is no SYSTEM.
        card: whose greeting begins a chat.

    Raises:
        DataError: a text cannot stand in a Modelfile.
    """
    lines = ["FROM ./model.gguf", f"TEMPLATE {_quoted(go_template(processor))}"]
    if persona:
        lines.append(f"SYSTEM {_quoted(processor.persona_text(persona))}")
    parameters = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0,
        "repeat_penalty": 1,
        "num_ctx": processor.max_length,
        "num_predict": sampling.max_new_tokens,
    }
    lines += [f"PARAMETER {name} {value:g}" for name, value in parameters.items()]
    lines += [f'PARAMETER stop "{word}"' for word in stop_words(processor)]
    if card is not None and card.first_message:
        lines.append(f"MESSAGE assistant {_quoted(card.first_message)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text between three quotes. Ollama drops every space that is not plain, and joins the words around it."""
    if '"""' in text:
        raise DataError(f"three quotation marks in a row end a text of a Modelfile: change {text[:60]!r}")
    kept = (c if c.isprintable() or c == "\n" else " " if c.isspace() else "" for c in text)
    return f'"""{"".join(kept)}"""'
