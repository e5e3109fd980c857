"""Names of speakers that say which side they are on, in whatever form a file writes them."""

from __future__ import annotations

import re

_BOTS = """
bot chatbot assistant aiassistant ai gpt chatgpt model char character charname npc agent machine
answer response completion botname user2 2 speaker2 modelreply
"""
_USERS = """
user human you partner prompter question query customer client enduser username user1 1 speaker1 visitor
"""
_OTHERS = """
system developer tool function functioncall functionresponse toolcall toolresponse observation ipython environment
narrator systemprompt
"""
_ROLES = {
    name: role for role, names in (("bot", _BOTS), ("user", _USERS), ("other", _OTHERS)) for name in names.split()
}


def name_key(name: object) -> str:
    """What makes two spellings of a name the same: letters and digits, lower-case ("User 1", "{{user}}", "<USER>")."""
    return re.sub(r"[\W_]+", "", str(name)).lower() or str(name).strip().lower()


def speaker_key(name: object) -> str:
    """The same for speakers: 1, user and User 1 are one, and so are 2, bot and User 2."""
    key = name_key(name)
    return key if isinstance(name, bool) else {"1": "user", "user1": "user", "2": "bot", "user2": "bot"}.get(key, key)


def role_of(name: object) -> str:
    """Return "bot", "user", "other" (system, tool), or "" for a name that says nothing."""
    return "" if isinstance(name, (bool, float)) else _ROLES.get(name_key(name), "")


_WEAK_WORDS = """
answer question query response completion character client agent you machine model
"""
_WEAK = frozenset(_WEAK_WORDS.split())
"""Words that name a side in a field, and stand before a colon in ordinary text."""


def speaks_for(name: str) -> bool:
    """Whether a name at the beginning of a line says by itself that a speaker follows."""
    return bool(role_of(name)) and name_key(name) not in _WEAK
