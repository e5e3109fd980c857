"""English verbs and pronouns from the third or second person into the first, where that is sure."""

from __future__ import annotations

import re

_IRREGULAR = {"is": "am", "are": "am", "has": "have", "does": "do", "goes": "go", "isn't": "am not", "aren't": "am not",
              "hasn't": "haven't", "doesn't": "don't", "were": "was", "weren't": "wasn't"}  # fmt: skip
_ADVERBS = frozenset("always never often also usually still sometimes rarely just now currently only even".split())  # noqa: SIM905
_NO_VERB = frozenset("this his its us as was thus less perhaps always sometimes besides towards afterwards".split())  # noqa: SIM905
_AUXILIARIES = """
am is are was were isn't aren't wasn't weren't had hadn't did didn't can cannot can't could couldn't will won't would wouldn't
should must may might
"""
_PAST = """
lost grew got met won went came saw took made found left broke ran wrote bought sold taught brought spent began became knew fell
felt kept gave used
"""
_SURE = frozenset((_AUXILIARIES + _PAST).split())
"""Words after a name that are verbs, besides those in -s and -ed."""
_CONNECTIVES = frozenset("and or who that which with both as".split())  # noqa: SIM905
_FORMS = {"he": ("he", "his"), "she": ("she", "her"), "they": ("they", "their")}
_OTHERS = re.compile(r"\b(?:he|she|they|it|who|which|that)\b", re.IGNORECASE)
_SECOND_VERB = re.compile(
    r"(?:\b(?:and|but|or|then|while|yet)|,)\s+(?:\w+ly\s+|always\s+|never\s+|often\s+|also\s+)?(\w+s)\b"
)
_PLURALS_AFTER = re.compile(r"\b(?:two|three|four|five|many|several|some|all|of|the|her|his|their|old|new|\d+)\s+\w+$")


def plain_verb(word: str) -> str:
    """A verb of the third person as after "I" or "you", but for "to be": "bakes" -> "bake", "has" -> "have"; any other word
    as it is."""
    low = word.lower().replace("’", "'")
    if low in _IRREGULAR and _IRREGULAR[low] not in ("am", "am not", "was", "wasn't"):
        return _IRREGULAR[low]
    if not low.endswith("s") or low.endswith(("ss", "us", "'s")) or len(low) < 3 or low in _NO_VERB:
        return word
    if low.endswith("ies") and len(low) > 4:
        return f"{word[:-3]}y"
    if low.endswith(("ches", "sses", "shes", "xes", "zzes", "oes")) and low not in ("aches", "axes", "shoes", "toes"):
        return word[:-2]
    return word[:-1]


def first_person(sentence: str, name: str, pronoun: str = "") -> str:
    """The sentence as the person says it: "Pavel bakes bread." or "He has a cat." -> "I bake bread.", "I have a cat.", "His cat
    is deaf." -> "My cat is deaf.". Empty where the sentence is about somebody else, or where it is not sure how it goes:
    with a second verb ("bakes and sings"), with others in it ("that", "who", another "he").

    Args:
        sentence: one English sentence.
        name: who it is about.
        pronoun: "he", "she", "they" or "": how the text speaks of that person.
    """
    own, owns = _FORMS.get(pronoun, (r"\b\B", r"\b\B"))
    contracted = re.match(rf"{own}['’]s\s+", sentence, re.IGNORECASE) or re.match(
        rf"(?:{_names(name)})['’]s\s+(?=(?:a|an|the|not|been|very|always|never)\b)", sentence, re.IGNORECASE
    )
    if contracted:
        rest = sentence[contracted.end() :]
        has = re.match(r"(?:always |never |just |already )?(?:been|got|had|seen|done|gone)\b", rest)
        return "" if _OTHERS.search(rest) else f"I {'have' if has else 'am'} {_own(rest, pronoun)}"
    if owned := re.match(rf"(?:{owns}|(?:{_names(name)})['’]s?)\s+(?=\w)", sentence, re.IGNORECASE):
        rest = sentence[owned.end() :]
        return "" if _OTHERS.search(rest) else f"My {_own(rest, pronoun)}"
    found = re.match(rf"(?:{_names(name)}|{own})\s+(?=\w)", sentence, re.IGNORECASE)
    if found is None:
        return ""
    rest = sentence[found.end() :]
    before = re.match(r"(?:(?:\w+ly|" + "|".join(sorted(_ADVERBS)) + r")\s+)*", rest)
    adverbs = before[0] if before else ""
    verb, _, others = rest[len(adverbs) :].partition(" ")
    word = verb.rstrip(".,;!?")
    if not word.replace("'", "").replace("’", "").isalpha() or not word.islower() or _OTHERS.search(others):
        return ""
    by_pronoun = pronoun and re.match(rf"{own}\s", sentence, re.IGNORECASE)
    if word in _CONNECTIVES or not (by_pronoun or plain_verb(word) != word or word in _SURE or word.endswith("ed")):
        return ""
    if any(
        plain_verb(m[1]) != m[1] and not _PLURALS_AFTER.search(others[: m.end()]) for m in _SECOND_VERB.finditer(others)
    ):
        return ""
    said = _IRREGULAR.get(word.lower().replace("’", "'")) or plain_verb(word)
    ending = f"{verb[len(word) :]} {others}" if others else verb[len(word) :]
    return f"I {adverbs}{said}{_own(ending, pronoun)}"


def from_second_person(sentence: str) -> str:
    """ "You are a baker" -> "I am a baker", "Your cat" -> "My cat"; other sentences as they are."""
    if not re.search(r"\byou(?:r|rs|rself)?\b", sentence, re.IGNORECASE):
        return sentence
    for pattern, mine in _MINE:
        sentence = re.sub(pattern, mine, sentence, flags=re.IGNORECASE)
    return sentence[:1].upper() + sentence[1:]


_MINE = (
    (r"\byou are\b|\byou['’]re\b", "I am"), (r"\bare you\b", "am I"), (r"\byou were\b", "I was"),
    (r"\byou aren['’]t\b", "I am not"), (r"\byou weren['’]t\b", "I wasn't"), (r"\byou['’]ve\b", "I have"),
    (r"\byou['’]ll\b", "I will"), (r"\byourself\b", "myself"), (r"\byours\b", "mine"), (r"\byour\b", "my"),
    (r"(?<=\w )\byou(?=[.,;!?)]|$| (?:and|or|to|in|on|at|with|from|for|as|by|when|because)\b)", "me"),
    (r"\b(to|with|for|from|at|about|of|by|on|like|near) you\b", r"\1 me"), (r"\byou\b", "I"),
)  # fmt: skip


def _own(text: str, pronoun: str) -> str:
    """What belongs to the person, in the rest of a sentence about that person."""
    if pronoun == "he":
        text = re.sub(r"\bhimself\b", "myself", re.sub(r"\bhis\b", "my", text))
        return re.sub(r"\bhim\b", "me", text)
    if pronoun == "she":
        text = re.sub(r"\bherself\b", "myself", re.sub(r"\bhers\b", "mine", text))
        text = re.sub(
            r"\bher(?=\s+(?!and\b|or\b|to\b|in\b|on\b|at\b|with\b|from\b|for\b|as\b|by\b|when\b|a\b|the\b)\w)",
            "my",
            text,
        )
        return re.sub(r"\bher\b", "me", text)
    if pronoun == "they":
        text = re.sub(r"\bthemsel(?:f|ves)\b", "myself", re.sub(r"\btheirs?\b", "my", text))
    return text


def _names(name: str) -> str:
    """A pattern for the whole name, or its first word where the rest does not follow."""
    first, _, rest = name.partition(" ")
    return rf"{re.escape(name)}|{re.escape(first)}(?!\s+{re.escape(rest)})" if rest else re.escape(name)


def pronoun_of(text: str) -> str:
    """How a text speaks of its person: the most frequent of he, she and they; empty where there is none."""
    counts = {
        "he": len(re.findall(r"\b(?:he|his|him)\b", text, re.IGNORECASE)),
        "she": len(re.findall(r"\b(?:she|her|hers)\b", text, re.IGNORECASE)),
        "they": len(re.findall(r"\b(?:they|their|them)\b", text, re.IGNORECASE)),
    }
    best = max(counts, key=lambda word: counts[word])
    return best if counts[best] else ""
