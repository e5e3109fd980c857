"""Replies that are wrong on purpose, made of words alone: empty ones, broken ones, and contradictions of a trait.

`pairs.py` chooses among them, so that their length says nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from selfsame.text.keywords import NUMBER_WORDS, content_stems, count_words, sentences, trait_stems, words
from selfsame.text.language import is_unspaced, split_runs

_BLAND = """
That's cool.|Nice.|Oh, okay.|I see.|Sounds good.|Wow, really?|Interesting.|Good for you!|That's nice to hear.|
Same here.|I guess so.|Not sure, to be honest.|Oh wow, that's great!|That's really interesting.|
Yeah, that makes sense.|It depends.|I don't know, I never thought about it.|That sounds like a lot of fun!|
Oh, that sounds really nice.|Hmm, good question.|I totally understand what you mean.|I'm glad to hear that.|
Well, it is what it is.|You never know what will happen.|There's a lot to think about there.|
It's hard to say, really.|I'm just taking it one day at a time.|Whatever works for you.|
That's good to know, thanks for telling me.|I can see why you would say that.|Everybody is different, I suppose.|
Maybe.|Nothing much is going on with me, how about you?|I'm doing fine, I can't complain.|
Oh, that's neat. Tell me more about it.|What else is new with you?|Yeah, I get that a lot.|
I think that's a good way to look at it.|That is very true.|Cool, cool.|You make a good point there.|
I have no strong opinion on that.|It's all good, no worries at all.|Okay, that works for me.|Ha, that's funny.|
Time goes by so fast, doesn't it?|I hope everything works out for you.|That must be nice for you.|
I would have to think about that for a while before I could give you a real answer.|Right.|
Some days are better than others.|
Honestly, I don't really have anything interesting to say about that, but I'm happy to listen.|Fair enough.|
Who knows?|It's always good to hear about other people and what they get up to.|
I'm sure you'll figure it out, things usually work out.|
Oh, you know, the usual stuff, this and that, nothing out of the ordinary.|That's one way to do it, I suppose.|
Sure thing.|I'm not sure what to say to that, but it does sound pretty interesting to me.|
Well, there are good days and bad days.|A little bit of everything, I guess, I'm not picky.|
I'd say it's pretty much like it is for everyone else.|Oh, nice one.|
That's awesome, I'm really happy for you and I hope it goes well.|Lots of people say that.|
I like a lot of different things.
"""
BLAND = tuple(" ".join(part.split()) for part in _BLAND.strip().split("|"))
"""Replies that fit anywhere and say nothing, from one word to about twenty."""

_FACTS = """
dog cat rabbit parrot hamster turtle snake goldfish lizard ferret|puppy kitten|
teacher nurse plumber lawyer chef farmer dentist mechanic firefighter librarian programmer waitress engineer accountant|
brother sister cousin uncle aunt|mother father|mom dad|wife husband|son daughter|grandmother grandfather|
grandma grandpa|car truck motorcycle boat van|vegan carnivore|vegetarian carnivore|north south|introvert extrovert|
texas florida ohio california alaska oregon kansas maine|france italy spain germany japan mexico canada ireland|
london paris chicago boston seattle dallas miami|chemistry biology physics history math|married single divorced|
tall short|oldest youngest|older younger|rich poor|blonde brunette redhead|army navy|twin triplet
"""
_TASTES = """
red blue green yellow purple orange pink black white brown|pizza pasta sushi taco burger steak salad curry|
football soccer basketball tennis baseball hockey golf volleyball rugby|coffee tea beer wine juice soda milk|
spring summer autumn winter|jazz rap reggae techno|apple banana strawberry mango|guitar piano violin drum flute banjo
"""
_GENDERED = frozenset(
    [
        "brother",
        "sister",
        "uncle",
        "aunt",
        "mother",
        "father",
        "mom",
        "dad",
        "wife",
        "husband",
        "son",
        "daughter",
        "grandmother",
        "grandfather",
        "grandma",
        "grandpa",
    ]
)
_PRONOUN = re.compile(r"\b(?:he|she|his|her|hers|him)\b|\b(?:he|she)['’]", re.IGNORECASE)
_KIND = {word: group.split() for group in f"{_FACTS}|{_TASTES}".split("|") for word in group.split()}
"""Words of one kind, each of which denies the others where a trait names it."""
_TASTE_WORDS = frozenset(_TASTES.replace("|", " ").split())
"""Whoever likes one of these may like the next as well: only a favourite one denies the others."""
_FAVOURITE = re.compile(r"\bfavou?rite\b", re.IGNORECASE)
_SUBORDINATE = re.compile(r"\b(?:when|if|that|who|because|where|which|while|until|as|than|since)\s*$", re.IGNORECASE)

_NUMBERS = tuple(NUMBER_WORDS)
_VERBS = (
    "live|work|play|want|own|eat|drink|teach|study|collect|watch|read|listen|cook|bake|drive|ride|run"
    "|swim|hike|travel|write|sing|dance|speak|prefer|volunteer|paint|fish|hunt|garden|knit|wear|walk|grow|sell|need"
)
_NEGATIVE = re.compile(r"\b(?:not|no|never|cannot|hate|dislike|without|can ?t|don ?t|isn ?t)\b|n['’]t\b", re.IGNORECASE)
_DENIALS = tuple(
    (re.compile(pattern), edits)
    for pattern, edits in (
        (r"\bI(?:'m| am)\b(?! not)", ("I'm not", "I am not", "I'm no longer")),
        (r"\b(I|[Mm]y \w+) was\b(?! not)", (r"\1 wasn't", r"\1 never was")),
        (r"\b([Mm]y (?:\w+ ){1,3})is\b(?! not)", (r"\1isn't", r"\1is not")),
        (r"\b([Mm]y (?:\w+ ){1,3})are\b(?! not)", (r"\1aren't", r"\1are not")),
        (r"\bI(?: really| also)? (?:love|like|enjoy)\b", ("I hate", "I don't like", "I can't stand", "I never liked")),
        (r"\bI(?: also)? have (?=(?:two|three|four|five|six|\d+|many|several)\b)", ("I don't have ", "I wish I had ")),
        (r"\bI(?: also)? have an? (?!lot|few|bit)", ("I have no ", "I don't have a ")),
        (
            rf"\bI(?: (?:really|also|usually|often))? ({_VERBS})\b(?! (?:to|been|never|always)\b)",
            (r"I don't \1", r"I never \1", r"I used to \1"),
        ),
        (r"\bI (want|need) to\b", (r"I never \1ed to", r"I don't \1 to")),
        (r"\bI can\b(?!['’]t|not)", ("I can't", "I cannot")),
    )
)
"""What to look for in a positive sentence, and ways to deny it, with as many words or more."""
_AFFIRMATIONS = tuple(
    (re.compile(pattern), (edit,))
    for pattern, edit in (
        (r"\bI (?:don't|do not|never) (?=\w)", "I "),
        (r"\bI(?:'m| am) not\b", "I am"),
        (r"\bI (?:can't|cannot) stand\b", "I really like"),
        (r"\bI can(?:'t|not)\b", "I can"),
        (r"\bI (?:hate|dislike)\b", "I love"),
    )
)
"""The same for a negative sentence."""
_CLAUSE_END = re.compile(r"[,;:.!?—]|\b(?:but|because|so|which|and I|that|when|if|until)\b")
_OWN = re.compile(r"^(?!that|it|this)(?:.*\b)?(?:i|my)\b", re.IGNORECASE)


def spoken(trait: str) -> str:
    """A trait with the apostrophes, capitals and stop that PersonaChat leaves out: "i don t swim" -> "I don't swim."""
    text = re.sub(r"\b([Ii]) (m|ve|ll|d)\b", r"\1'\2", trait)
    text = re.sub(r"\b(can|don|didn|doesn|isn|wasn|won|haven|wouldn|couldn|aren) t\b", r"\1't", text)
    text = re.sub(r"\s+([,.!?])", r"\1", re.sub(r"\bi\b", "I", text)).rstrip(" .")
    return text[:1].upper() + text[1:] + ("" if text.endswith(("!", "?")) else ".")


def bland_replies(bland: Sequence[str], length: int, ratio: float, rng: random.Random) -> Iterator[str]:
    """Some bland replies, or several in a row, of about `length` words."""
    for _ in range(8):
        parts: list[str] = []
        target = rng.uniform(length / ratio, length * ratio)
        while not parts or (len(parts) < 2 and count_words(" ".join(parts)) < target - 3):  # three in a row nobody says
            parts.append(
                rng.choice([text for text in rng.sample(bland, 5) if text not in parts] or [rng.choice(bland)])
            )
        yield " ".join(parts)


def cut_off(reply: str, dangling: re.Pattern[str]) -> Iterator[str]:
    """The reply up to every word that cannot end a sentence."""
    tokens = _pieces(reply)
    for end in range(3, len(tokens)):
        if dangling.fullmatch(tokens[end - 1].strip()):
            yield _joined(tokens[:end])


def loops(reply: str, ratio: float, rng: random.Random) -> Iterator[str]:
    """The reply as far as some phrase of it, which then comes again and again."""
    tokens = _pieces(reply)
    for _ in range(6):
        width = rng.randint(2, 4)
        longest = int(len(tokens) * ratio)
        if len(tokens) < width or longest < 3 * width:
            continue
        start = rng.randint(0, min(len(tokens) - width, longest - 3 * width))
        length = rng.randint(max(start + 3 * width, int(len(tokens) / ratio)), longest)
        phrase = [_without_stop(token) for token in tokens[start : start + width]]
        yield _joined((tokens[:start] + phrase * length)[:length])


def _pieces(text: str) -> list[str]:
    """The text in words with their punctuation, each with a space before it if one stands there; so has the first of a text
    that has spaces."""
    spaced = text.split()
    space = " " * (len(spaced) > 1)
    return [part if k else space + part for word in spaced for k, part in enumerate(split_runs(word))]


def _without_stop(piece: str) -> str:
    """Itself where nothing else is in it, as in "i like dogs ."."""
    bare = piece.rstrip(".!?。！？")
    return bare if bare.strip() else piece


def _joined(pieces: Sequence[str]) -> str:
    """The text of pieces in any order. In a text with spaces, two words never become one, except in a script without."""
    text, spaced = "", any(piece.startswith(" ") for piece in pieces)
    for piece in pieces:
        glues = spaced and text and not piece.startswith(" ") and not is_unspaced(text[-1] + piece[0])
        text += f" {piece}" if glues else piece
    return text.strip()


def contradictions(reply: str, traits: Sequence[str], own_stems: frozenset[str], rng: random.Random) -> list[str]:
    """Small edits of a reply that deny a trait which it draws on: a sentence denied or affirmed, another number,
    another thing of the same kind. Only words that trait and sentence share are touched, where both are of one mind."""
    made = []
    for sentence in sentences(reply):
        for trait in traits:
            shared = trait_stems(trait).intersection(content_stems(sentence))
            negative = bool(_NEGATIVE.search(sentence))
            if sentence.endswith("?") or not shared or negative != bool(_NEGATIVE.search(trait)):
                continue
            if not _OWN.search(sentence) and count_words(sentence) > 4:  # may be about somebody else
                continue
            made += [reply.replace(sentence, edited, 1) for edited in _deny(sentence, shared, negative, rng)]
            if not negative:  # whoever let no dentist near denies nothing by letting no teacher near
                made += _change_words(reply, sentence, trait, own_stems, rng)
    return made


def _deny(sentence: str, shared: frozenset[str], negative: bool, rng: random.Random) -> Iterator[str]:
    """The sentence with "not" put in (or taken out, if it is `negative`) in front of a shared word, in its clause."""
    for pattern, edits in _AFFIRMATIONS if negative else _DENIALS:
        for match in pattern.finditer(sentence):
            clause = _CLAUSE_END.split(sentence[match.end() :], maxsplit=1)[0]
            if not shared.isdisjoint(content_stems(clause)) and not _SUBORDINATE.search(sentence[: match.start()]):
                yield sentence[: match.start()] + match.expand(rng.choice(edits)) + sentence[match.end() :]


def _change_words(
    reply: str, sentence: str, trait: str, own_stems: frozenset[str], rng: random.Random
) -> Iterator[str]:
    """The reply with a number or thing that sentence and trait share replaced wherever it stands."""
    favourite = bool(_FAVOURITE.search(sentence) and _FAVOURITE.search(trait))
    other_shared = len(trait_stems(trait).intersection(content_stems(sentence))) > 1
    for word in sorted(set(words(sentence)) & set(words(trait))):
        others = _others_of_kind(word, own_stems, favourite)
        if word in _GENDERED and _PRONOUN.search(reply):  # "My sister ... he"
            continue
        # A number says the same thing in both only beside another word that both share.
        if others and (other_shared or not (word in _NUMBERS or word.isdigit())):
            other = rng.choice(others)
            # Not in "seventy-five", which is a word of its own.
            changed = re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE)
            if changed.search(reply):
                yield changed.sub(lambda match, new=other: _in_case_of(match[0], new), reply)


def _others_of_kind(word: str, own_stems: frozenset[str], favourite: bool) -> list[str]:
    """Words that may stand for this one after the same article, none of which the person ever uses."""
    if word in _NUMBERS:
        return [number for number in _NUMBERS if number != word]
    if word.isdigit() and len(word) < 3:
        return [str(int(word) + step) for step in (1, 2, 3, 4, 5)]
    single = word if word in _KIND else word.removesuffix("s")
    if single in _TASTE_WORDS and not favourite:
        return []
    plural = "s" if single != word else ""
    alike = [w for w in _KIND.get(single, ()) if w != single and (w[0] in "aeiou") == (single[0] in "aeiou")]
    return [w + plural for w in alike if own_stems.isdisjoint(content_stems(w))]


def _in_case_of(old: str, new: str) -> str:
    return new.capitalize() if old[0].isupper() else new
