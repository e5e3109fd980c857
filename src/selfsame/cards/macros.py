"""The slots of a card (`{{char}}`, `{{user}}`, comments, dice) -> plain words.

Nobody has a name on the other side of the chat. In English that person is "you", in Chinese, Japanese and Korean too;
a language with cases has no such word and gets a name that stands anywhere in a sentence. Where the person is only
called ("Morning, {{user}}!"), nothing is said.
"""

from __future__ import annotations

import re

from selfsame.text.verbs import plain_verb

_FILL = {"en": "you", "zh": "你", "ja": "あなた", "ko": "당신"}
NEUTRAL_NAME = "Alex"
"""Who talks to the character in a language whose pronouns change with their place in the sentence."""
_USER, _CHAR = "{{user}}", "{{char}}"
_INNERMOST = re.compile(r"\{\{((?:(?!\{\{|\}\}).)*)\}\}", re.DOTALL)
_CALLED = re.compile(
    r"(?:\s*[,，、]\s*\{\{user\}\}(?=\s*(?:[!.?,;:…~*\"”'’！。？，」]|$))"  # Morning, {{user}}!
    r"|(?:(?<=[.!?…*\"“！。？「])|^)\s*\{\{user\}\}\s*[!.?…,，！。？~]+\s*)",  # {{user}}! or {{user}}, come here
    re.MULTILINE,
)
_GREETED = re.compile(  # Hi {{user}}!
    r"\b(hi|hey|hello|yo|oh|ah|welcome(?: back)?|(?:good )?(?:morning|evening|night|day)|thanks|thank you|good ?bye|bye|dear"
    r"|hej|hallo|moin|salut|bonjour|hola|ciao|oi|olá|привет)\s+\{\{user\}\}(?=\s*(?:[!.?~,;…*\"”]|$))",
    re.IGNORECASE | re.MULTILINE,
)
_KEPT = {"user": _USER, "char": _CHAR, "bot": _CHAR, "charifnotgroup": _CHAR, "group": _CHAR, "newline": "\n"}
_CHOICES = ("random", "pick")


def fill_in(text: str, name: str, language: str = "en", user: bool = True) -> str:
    """A card's text without macros: the character's name for its slot, the neutral word for the other's, the first of several
    choices, nothing for comments and for what only a program knows (the time, variables).

    Args:
        text: any text of a card.
        name: the character's.
        language: ISO code; says what the other person is called.
        user: with False, the other person's slot stays `{{user}}`.
    """
    text = re.sub(r"<(user|bot|char)>", lambda m: f"{{{{{m[1]}}}}}", text, flags=re.IGNORECASE)
    while (found := _INNERMOST.search(text)) is not None:
        value = _value(found[1])
        if value in (_USER, _CHAR):  # kept for the end: the words around it count
            value = "\x00u\x00" if value == _USER else "\x00c\x00"
        start, end = found.span()
        if not value and text[:start].rpartition("\n")[2].strip() == "" and text[end:].partition("\n")[0].strip() == "":
            end += text[end : end + 1] == "\n"  # a line that held nothing else goes
        text = text[:start] + value + text[end:]
    text = text.replace("\x00u\x00", _USER).replace("\x00c\x00", name)
    return _without_user(text, language) if user and _USER in text else text


def mentions_user(text: str) -> bool:
    """Whether the other person has to be called something: named in the text, and not only addressed."""
    text = re.sub(r"<user>|\{\{\s*user\s*\}\}", _USER, text, flags=re.IGNORECASE)
    return _USER in _CALLED.sub("", _GREETED.sub(r"\1", text))


def _value(macro: str) -> str:
    """What stands for `{{macro}}`."""
    macro = macro.strip()
    name, _, rest = macro.partition("::" if "::" in macro else ":")
    name = name.strip().lower()
    if macro.lower() in _KEPT:
        return _KEPT[macro.lower()]
    if name in _CHOICES and rest:
        return re.split(r"::" if "::" in rest or macro[len(name) :].startswith("::") else r",", rest)[0].strip()
    if name == "reverse":
        return rest[::-1]
    if name == "roll" or macro.lower().startswith("roll "):
        return "1"
    return ""


def _without_user(text: str, language: str) -> str:
    text = _GREETED.sub(r"\1", text)
    text = _CALLED.sub(lambda m: " " if m[0].endswith((" ", "\n")) and m.start() else "", text)
    if language != "en":
        return text.replace(_USER, _FILL.get(language, NEUTRAL_NAME))
    text = re.sub(r"\{\{user\}\}['’]s\b", "your", text)
    text = re.sub(r"\{\{user\}\} ((?:\w+ly |always |never |often |also )?)([\w'’]+)", _as_subject, text)
    text = text.replace(_USER, "you")
    return re.sub(r"(^|[.!?]\s+|\n)(you|your)\b", lambda m: m[1] + m[2].capitalize(), text)


def _as_subject(found: re.Match[str]) -> str:
    """The verb after the other person: "{{user}} walks in" -> "you walk in", "{{user}} always is" -> "you always are"."""
    be = {"is": "are", "was": "were", "isn't": "aren't", "wasn't": "weren't"}
    verb = found[2]
    return f"you {found[1]}{be.get(verb.lower()) or plain_verb(verb)}"
