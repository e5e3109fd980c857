"""What the fields of dialogues are called in the files of others, under folded names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TURNS = _names("""
turns conversations conversation messages dialogue dialog utterances chat best_generated_conversation transcript log msgs
exchanges thread lines
""")
HISTORY = _names("history chat_history")
WHO = _names("""
from role speaker name author sender who user username user_name character src agent participant speaker_name speaker_id
speaker_idx sender_name from_name nick
""")
TEXT = _names("value content text mes message utterance body msg sentence line say reply")
TIMES = _names("timestamp time date send_date created_at date_unixtime create_time sent_at")
IS_USER = _names("is_user isuser is_human ishuman from_user")
IS_BOT = _names("is_bot isbot from_bot is_assistant")
CONVERSATION = _names("""
conv_id conversation_id dialog_id dialogue_id dialogueid conversationid chat_id thread_id session_id conversation dialog
dialogue session conv chat thread episode_id episode room_id room channel_id channel group_id message_tree_id tree_id
""")
"""Which conversation a message belongs to."""
ORDER = _names("utterance_idx turn_idx turn_id turn_index utterance_id turn position seq")
"""Where in its conversation it stands."""
BOT_PERSONA = _names("""
persona bot_persona user2_persona personality char_persona character_persona assistant_persona your_persona system
system_prompt system_message traits profile bot_description char_description character_description personas bio character
description instruction
""")
PARTNER_PERSONA = _names("""
partner_persona user_persona user1_persona human_persona their_persona partner_personality user_personality
""")
BOT_NAME = _names("bot_name char_name character_name role_name character bot char")
USER_NAME = _names("user_name username")
QUESTIONS = _names("instruction prompt question query input")
ANSWERS = _names("output response completion answer")
SPC = _names("user_1_personas user_2_personas best_generated_conversation")
"""Columns of Synthetic-Persona-Chat, a trait a line."""


def fold(name: object) -> str:
    """The name of a field as it is looked up: "User 1 personas" -> "user_1_personas", "chatId" -> "chat_id"."""
    text = str(name).strip()
    if not re.match(r"is[A-Z]", text):  # isBot has a name of its own
        text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"[\s-]+", "_", text).lower()


def folded(record: Mapping[Any, Any]) -> dict[str, Any]:
    """A record under folded names."""
    return {fold(name): value for name, value in record.items()}
