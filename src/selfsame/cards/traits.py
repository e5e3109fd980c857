"""A description in any dialect -> traits: one fact a line, in the first person where the language allows it safely."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from selfsame.cards.dialects import Statement, items, without_brackets
from selfsame.cards.macros import fill_in
from selfsame.text.keywords import sentences
from selfsame.text.language import language_of
from selfsame.text.verbs import first_person, from_second_person, pronoun_of
from selfsame.types import Persona, clean_persona

MAX_TRAIT_LENGTH = 200
"""Characters; longer sentences are cut at a comma or a space."""

_LIKE = {"like": "like", "likes": "like", "love": "love", "loves": "love", "enjoys": "enjoy", "hates": "hate", "hate": "hate",
         "dislikes": "dislike", "dislike": "dislike", "fears": "am afraid of", "fear": "am afraid of", "wants": "want",
         "speaks": "speak", "collects": "collect", "owns": "own", "has": "have", "lives in": "live in", "plays": "play",
         "knows": "know", "lives": "live in", "residence": "live in", "home": "live in", "from": "am from",
         "pets": "have", "pet": "have", "favorites": "like", "believes in": "believe in", "is": "am"}  # fmt: skip
"""Headings whose values each make a sentence."""
_BE = frozenset(
    {"persona", "personality", "traits", "mind", "mental", "attitude", "characteristics", "nature", "character", "is"}
)
"""Headings whose values say how somebody is."""
_WORK = frozenset("job occupation profession work career".split())  # noqa: SIM905
_STORY = frozenset("backstory background history past story biography bio".split())  # noqa: SIM905
_SCENE = frozenset("scenario scene setting world location tags genre".split())  # noqa: SIM905
"""Headings that are not about the character."""
_PROPER = frozenset("from lives in residence home nationality speaks languages name nickname aliases alias".split())  # noqa: SIM905
_IS_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|would|can|could|does|did|never|always)\b", re.IGNORECASE
)
_ABOUT_ME = re.compile(r"\b(?:I|[Mm]y|[Mm]e|I['’]m|I['’]ve|[Mm]ine|[Mm]yself)\b")
_ABOUT_OTHERS = re.compile(r"\b(?:he|she|they|his|her|their)\b", re.IGNORECASE)
_PRONOUN = {"she": {"she": "", "her": "'s"}, "he": {"he": "", "his": "'s"}, "they": {"they": "", "their": "'s"}, "": {}}
_NAME_IS = {"en": "My name is {}.", "de": "Ich heiße {}.", "fr": "Je m'appelle {}.", "es": "Me llamo {}.", "zh": "我叫{}。",
            "ja": "私の名前は{}です。"}  # fmt: skip
_YOU_IS_ME = {"zh": (("你们", "你们"), ("你", "我"), ("您", "我")), "ja": (("あなた", "私"),)}
"""Languages in which a description that speaks to the character is turned round word by word."""
_WIDE = ("zh", "ja")


class Wording:
    """How traits of one character are said in one language.

    Args:
        name: of the character.
        text: all that is said of the character, from which the language and the pronoun are found.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name, self.language = name, language_of(text) or "en"
        self.is_english = self.language == "en"
        self._pronoun = pronoun_of(text)
        self._addressed = bool(re.search(r"(?:^|[.!?]\s+|\n)\s*You(?:['’]re|r)?\s", text))
        self._addressed |= text.lstrip("[{( ").startswith(("你是", "您是", "あなたは"))
        values = [value for item in items(text, name) if isinstance(item, Statement) for value in item.values]
        self._all_capitals = sum(value[:1].isupper() for value in values) > 0.5 * len(values)

    def name_is(self) -> str:
        """Who speaks: "My name is Pavel."."""
        return _NAME_IS.get(self.language, "{}.").format(self.name)

    def lines(self, text: str, bare: bool = False, labelled: bool = True) -> Iterator[str]:
        """The traits in a text. `bare`: it says how somebody is, without a subject ("patient, shy"). `labelled`: what has no
        subject is about the character."""
        for item in items(text, self.name):
            if isinstance(item, Statement):
                yield from self._said(item)
                continue
            for sentence in _pieces(item):
                yield self._is(sentence) if bare and self._is_bare(sentence) else self._with_subject(sentence, labelled)

    def scene(self, text: str) -> Iterator[str]:
        """Where the conversation takes place, a sentence each."""
        for sentence in _pieces(text):
            ending = "" if sentence[-1] in ".!?…。！？\"'”’" else "."
            yield f"Scene: {sentence}{ending}" if self.is_english else sentence

    def _said(self, statement: Statement) -> Iterator[str]:
        """A statement in sentences."""
        key, values = statement.key.lower(), statement.values
        stop, colon = ("。", "：") if self.language in _WIDE else (".", ": ")
        own = key in (self.name.lower(), self.name.split()[0].lower())
        if not self.is_english:
            listed = ("，" if self.language in _WIDE else ", ").join(value.rstrip(".。") for value in values)
            about = "" if own or key in _BE else f"{'，' if stop == '。' else ', '}{statement.key}"
            yield f"{self.name}{about}{colon}{listed}{stop}"
            return
        if key not in _PROPER and not {*key.split()} & _PROPER:
            values = tuple(self._uncapitalised(value) for value in values)
        if own or key in _BE:
            yield from (self._is(value) for value in values)
        elif key in _LIKE:
            yield from (f"I {_LIKE[key]} {_mine(value)}." for value in values)
        elif key == "age" and values[0][0].isdecimal():
            yield f"I am {values[0]}{' years old' if values[0].isdecimal() else ''}."
        elif key in _SCENE:
            yield f"{statement.key.capitalize()}: {', '.join(values)}."
        elif key in _WORK and all(len(value.split()) <= 3 for value in values):
            yield from (f"I work as {_with_article(value)}." for value in values)
        else:
            short = key not in _STORY and all(len(value.split()) <= 4 for value in values)
            plural = key.endswith("s") and not key.endswith(("ss", "us", "is", "species"))
            verb = (" are" if plural else " is") if short and not re.search(r"[^\w ]", key) else ":"
            yield f"My {self._uncapitalised(statement.key, True)}{verb} {', '.join(map(_mine, values))}."

    def _is_bare(self, sentence: str) -> bool:
        """Whether it is a list of qualities."""
        if not self.is_english:
            return not re.search(rf"[.!?。！？]|{re.escape(self.name)}", sentence.rstrip(".。")) and len(sentence) < 80
        return not (self._is_about_somebody(sentence) or sentence.lower().startswith(("you ", "your ")))

    def _is(self, quality: str) -> str:
        quality = quality.strip(" .。")
        if self.is_english:
            return f"I am {self._uncapitalised(quality, True)}."
        return f"{self.name}：{quality}。" if self.language in _WIDE else f"{self.name}: {quality}."

    def _is_about_somebody(self, sentence: str) -> bool:
        about = _ABOUT_ME.search(sentence) or _ABOUT_OTHERS.search(sentence) or sentence.startswith("{{user}}")
        return bool(about or self._is_named(sentence))

    def _is_named(self, sentence: str) -> bool:
        names = {self.name, self.name.split()[0]}
        return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence, re.IGNORECASE) for name in names)

    def _with_subject(self, sentence: str, labelled: bool) -> str:
        """The sentence with somebody it is about: "She sings" -> "I sing"; "Tall" -> "Mika: Tall"."""
        if not self.is_english:
            if self._addressed:
                for you, me in _YOU_IS_ME.get(self.language, ()):
                    sentence = sentence.replace(you, me)
            return (
                sentence
                if sentence[-1] in ".!?。！？…\"'”’」』~～)"
                else f"{sentence}{'。' if self.language in _WIDE else '.'}"
            )
        ending = "" if sentence[-1] in ".!?…\"'”’" else "."
        if self._addressed:
            sentence = from_second_person(sentence)
        said = first_person(sentence, self.name, self._pronoun)
        if said:
            return said + ending
        first, _, rest = sentence.partition(" ")
        own = _PRONOUN[self._pronoun].get(first.lower())
        if own is not None and rest:
            return f"{self.name}{own} {rest}{ending}"
        whole = _IS_SENTENCE.search(sentence) and len(sentence.split()) > 3
        if not labelled or whole or self._is_about_somebody(sentence):
            return sentence + ending
        return f"{self.name}: {sentence}{ending}"

    def _uncapitalised(self, text: str, always: bool = False) -> str:
        """A value as it stands inside a sentence, where the card writes every value with a capital. Names of several words keep
        theirs, and so do abbreviations and "I"."""
        words = text.split()
        if not words or not (always or self._all_capitals):
            return text
        name_like = len(words) > 1 and all(word[:1].isupper() for word in words)
        first = words[0]
        plain = first[:1].isupper() and (first[1:].islower() or not first[1:].isalpha()) and first.rstrip(",'’") != "I"
        return text if name_like or not plain or first.startswith("I'") else text[0].lower() + text[1:]


def make_traits(name: str, description: str, personality: str = "") -> Persona:
    """Short sentences that tell who somebody is, in the language of the description: the name first, then the personality, then
    the description. The slots of cards (`{{char}}`, `{{user}}`) may stand in the texts.

    Returns:
        Every trait once; none where both texts are empty.
    """
    if not description.strip() and not personality.strip():
        return ()
    wording = Wording(name, f"{description}\n{personality}")
    return once([wording.name_is(), *worded(wording, personality, bare=True), *worded(wording, description)])


def worded(wording: Wording, text: str, bare: bool = False, labelled: bool = True) -> Iterator[str]:
    """The traits in a text with slots, filled in; see `Wording.lines`."""
    filled = fill_in(text, wording.name, wording.language, user=False)
    for line in wording.lines(filled, bare, labelled):
        clean = fill_in(line, wording.name, wording.language).strip()
        if re.search(r"\w", clean):
            yield clean


def once(lines: Iterable[str]) -> Persona:
    """Every trait once, whatever its case and last stop."""
    kept: dict[str, str] = {}
    for line in lines:
        kept.setdefault(" ".join(line.lower().split()).rstrip("."), line)
    return clean_persona([*kept.values()])


def _pieces(text: str) -> Iterator[str]:
    """The sentences of a text, without bullets and quotes around them; long ones in pieces."""
    for sentence in _sentences(text):
        clean = re.sub(
            r"^[\[({]?\s*(?:description|personality|character)\s*[:=]\s*", "", sentence.strip(" \t*-•#"), flags=re.I
        )
        clean = without_brackets(clean)
        if len(clean) > 2 and clean[0] == clean[-1] == '"' and clean.count('"') == 2:
            clean = clean[1:-1]
        start = 0
        while (
            len(clean) - start > MAX_TRAIT_LENGTH
        ):  # by places: cutting off the rest of a megabyte each time takes minutes
            first, last = start + 1, start + MAX_TRAIT_LENGTH
            cut = max(clean.rfind(mark, first, last) for mark in (", ", "; ", "，", "、")) + 1
            cut = cut or clean.rfind(" ", first, last) + 1 or last
            yield clean[start:cut].strip(" ,;")
            start = cut
            while clean[start : start + 1] in (" ", ",", ";"):
                start += 1
        rest = clean[start:].strip(" ,;") if start else clean
        if re.search(r"\w", rest):
            yield rest.strip()


def _sentences(text: str) -> Sequence[str]:
    return [
        part.strip()
        for sentence in sentences(text)
        for part in re.split(r"(?<=[。！？])(?![」』”’])", sentence)
        if part.strip()
    ]


def _mine(value: str) -> str:
    """ "his deaf cat" -> "my deaf cat"."""
    return re.sub(r"^(?:his|her|their)\s", "my ", value, flags=re.IGNORECASE)


def _with_article(noun: str) -> str:
    if noun.split()[0].lower() in ("a", "an", "the", "my") or noun.endswith("s"):
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
