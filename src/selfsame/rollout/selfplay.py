"""Dialogues that a policy leads with a partner who has a persona of its own: the states that it brings about itself."""

from __future__ import annotations

from collections.abc import Sequence

from selfsame.errors import DataError
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.sampler import uniforms
from selfsame.types import Persona, Prompt

SELF_PLAY = 1_000_000
"""Added to the numbers of replies here: their random numbers are not those of the replies that are learned from."""


def converse(
    engine: RolloutEngine,
    prompts: Sequence[Prompt],
    partners: Sequence[Persona],
    turns: int,
    *,
    speakers: tuple[str, str] = ("policy", "sft"),
    max_new_tokens: int = 32,
    temperature: float = 1.0,
    seed: int = 0,
    step: int = 0,
) -> list[Prompt]:
    """Goes on from some prompts: one side answers, its partner answers that, and so on.

    Args:
        engine: samples.
        prompts: where the dialogues begin.
        partners: the partner's persona in each; one that is too long for the model is left out.
        turns: own turns a dialogue.
        speakers: the roles of the own side and of the partner.
        max_new_tokens: longest turn in tokens.
        temperature: of sampling.
        seed: of the random numbers, which are a function of it, the step, the dialogue and the turn.
        step: see `seed`.

    Returns:
        what the own side is to answer in each turn, dialogue by dialogue: `turns` prompts each, the given one first.
    """
    dialogues = [[prompt] for prompt in prompts]
    partners = [persona if _fits(engine, persona, max_new_tokens) else () for persona in partners]

    def say(speaker: int, asked: Sequence[Prompt], turn: int) -> list[str]:
        ids = [engine.processor.encode_prompt(prompt, max_new_tokens) for prompt in asked]
        numbers = [SELF_PLAY + (2 * turn + speaker) * len(asked) + k for k in range(len(asked))]
        groups = engine.sample(speakers[speaker], ids, uniforms(seed, step, numbers, max_new_tokens), temperature)
        return [engine.processor.decode_reply(reply.ids).strip() for (reply,) in groups]

    for turn in range(turns - 1):
        last = [dialogue[-1] for dialogue in dialogues]
        replies = say(0, last, turn)
        seen = [_turned(*row) for row in zip(partners, last, replies, strict=True)]
        answers = say(1, seen, turn)
        for dialogue, prompt, reply, answer in zip(dialogues, last, replies, answers, strict=True):
            dialogue.append(prompt.followed_by(reply, answer))
    return [prompt for dialogue in dialogues for prompt in dialogue]


def _turned(partner: Persona, prompt: Prompt, reply: str) -> Prompt:
    """What the partner is to answer; who did not open the dialogue sees an empty turn first."""
    said = (*prompt.history, reply)
    return Prompt(partner, ("", *said) if said[0] else said[1:])


def _fits(engine: RolloutEngine, persona: Persona, reserve: int) -> bool:
    try:
        return bool(engine.processor.encode_prompt(Prompt(persona), reserve))
    except DataError:
        return False
