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
_BRACES = re.compile(r"\{\{|\}\}")
_DEEPEST = 8
"""Macros inside each other; a deeper one says nothing. A card of a stranger may nest 100 000."""
_LONG_SPACE = re.compile(r"\s{20,}")
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
    text = re.sub(r"<(user|bot|char)>", lambda m: f"{{{{{m[1]}}}}}", collapsed(text), flags=re.IGNORECASE)
    if "{{" in text:
        text = collapsed(_without_macros(text)).replace("\x00u\x00", _USER).replace("\x00c\x00", name)
    return _without_user(text, language) if user and _USER in text else text


def collapsed(text: str) -> str:
    """The text with at most 19 white spaces in a row: a long one becomes an empty line, a new line or a space.

    The patterns for cards may look at the white space from each of its characters; on 100 000 they would take hours."""
    return _LONG_SPACE.sub(lambda m: "\n\n" if m[0].count("\n") > 1 else "\n" if "\n" in m[0] else " ", text)


def _without_macros(text: str) -> str:
    """The text with the value of each macro, the innermost first, in one pass. The slots are marks, since the words around them
    count. Braces that open or close nothing stay."""
    open_macros: list[tuple[list[str], bool]] = [
        ([], True)
    ]  # what is in each, and whether its line was empty before it
    at, is_blank = 0, True  # is_blank: the last line so far holds nothing
    for braces in _BRACES.finditer(text):
        between, at = text[at : braces.start()], braces.end()
        open_macros[-1][0].append(between)
        is_blank = _is_blank_after(between, is_blank)
        if braces[0] == "{{":
            open_macros.append(([], is_blank))
            is_blank = False
        elif len(open_macros) == 1:
            open_macros[-1][0].append("}}")
            is_blank = False
        else:
            inside, is_blank = open_macros.pop()
            value = _value("".join(inside)) if len(open_macros) <= _DEEPEST else ""
            value = {_USER: "\x00u\x00", _CHAR: "\x00c\x00"}.get(value, value)
            if not value and is_blank and text[at : at + 1] == "\n":
                at += 1  # a line that held nothing else goes
            open_macros[-1][0].append(value)
            is_blank = _is_blank_after(value, is_blank)
    return "{{".join("".join(parts) for parts, _ in open_macros) + text[at:]


def _is_blank_after(text: str, before: bool) -> bool:
    """Whether the last line holds nothing once `text` follows; `before`: whether it held nothing until then."""
    _, newline, line = text.rpartition("\n")
    return not line.strip() and (bool(newline) or before)


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
