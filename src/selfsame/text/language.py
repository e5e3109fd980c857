"""Languages: which one texts are in, and how its words are found, stemmed and told from words without content.

English has rules of its own (`text/keywords.py`); other languages have those of maintained packages: stop words of
stopwordsiso, stemmers of Snowball, and words of scripts without spaces by rjieba (Chinese), janome (Japanese) and budoux
(Thai), which come with the extra `languages`. A language without them is refused: its words would be counted incorrectly.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import snowballstemmer

from selfsame.errors import ConfigError, DataError

ENGLISH = "en"
STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "es": "spanish",
    "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "nl": "dutch",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish",
    "tr": "turkish",
}  # fmt: skip
"""Snowball's stemmer for each language that has one, and stop words."""
UNSPACED = {"zh": "rjieba", "ja": "janome", "th": "budoux"}
"""Languages without spaces between words, and the package that finds the words."""
LANGUAGES = (ENGLISH, *STEMMERS, *UNSPACED, "vi")
"""Codes (ISO 639-1) of the languages whose words can be counted. Vietnamese words have one form: they need no stemmer."""
COMPOUNDING = {
    "de": ("", "s", "n", "en", "es"), "nl": ("", "s", "en", "e"), "da": ("", "s", "e"), "no": ("", "s", "e"),
    "sv": ("", "s", "o"), "fi": ("", "n"),
}  # fmt: skip
"""Languages that write compounds as one word, and what may stand between their parts."""
_SHORTEST_PART = 4
_KIN = {"zxx": ENGLISH, "yue": "zh", "wuu": "zh", "nan": "zh", "nb": "no", "nn": "no"}
_SURELY_ENGLISH = 0.3
"""A text with such a share of English stop words is English. Measured: .45 to .6 of English chat, under .2 of others."""
_HARDLY_ENGLISH, _FEW_WORDS = 0.15, 12
"""A longer text with fewer English stop words is in the language that the classifier says, whether or not it can be counted."""
_HAN, _KANA, _THAI = r"\u3400-\u9fff\uf900-\ufaff々", r"\u3040-\u30ff", r"\u0e00-\u0e7f"
_RUN = re.compile(rf"[{_HAN}{_KANA}]+|[{_THAI}]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_SAMPLE, _PIECE = 60_000, 500
"""Letters that are looked at in all, and at a time."""
_MOST_TEXTS = 500
_FEW_LETTERS = 40
"""Fewer say nothing sure about a language whose words cannot be counted: such texts are taken for English."""


def find_language(texts: Iterable[str]) -> str:
    """Code of the language that most of the texts are in; English where they hold no letter.

    Raises:
        DataError: words of that language cannot be counted.
    """
    pieces = _pieces(texts)
    found = Counter(language for piece in pieces if (language := language_of(piece)))
    code = found.most_common(1)[0][0] if found else ENGLISH
    if code not in LANGUAGES:
        if sum(map(str.isalpha, "".join(pieces))) < _FEW_LETTERS:
            return ENGLISH
        raise DataError(
            f"the texts seem to be in the language {code!r}, whose words Selfsame cannot count; it knows"
            f" {', '.join(sorted(LANGUAGES))}"
        )
    return code


def describe_languages(texts: Sequence[str]) -> str:
    """One line that names the languages of the texts, each a dialogue; "" where all are English."""
    step = max(1, len(texts) // _MOST_TEXTS)
    found = Counter(language for text in texts[::step] if (language := language_of(text[:2000])))
    if not set(found) - {ENGLISH}:
        return ""
    total, counted = sum(found.values()), find_language(texts)
    shares = ", ".join(f"{code} {count / total:.0%}" for code, count in found.most_common(4) if count >= 0.02 * total)
    mixed = "; a mixed set: dialogues in the other languages are counted by the wrong words" if "," in shares else ""
    return f"languages of the dialogues: {shares}; words are counted in {counted!r}{mixed}"


@lru_cache(maxsize=4096)
def language_of(text: str) -> str:
    """Code of the language of one text, "" where it holds no letter. A text of a few words may be taken for English."""
    words = [word.lower() for word in _LETTERS.findall(text)]
    if not words:
        return ""
    if runs := "".join(_RUN.findall(text)):
        others = sum(len(word) for word in words if not _RUN.search(word))
        if len(runs) * 2 > others:  # a character says about as much as two letters
            return "ja" if re.search(rf"[{_KANA}]", runs) else "th" if re.search(rf"[{_THAI}]", runs) else "zh"
    english = sum(word in _english_words() for word in words) / len(words)
    if english >= _SURELY_ENGLISH:
        return ENGLISH
    code = _classified(text)
    if any(ord(letter) > 0x24F for word in words for letter in word):
        return code
    if code not in LANGUAGES:
        return code if english < _HARDLY_ENGLISH and len(words) >= _FEW_WORDS else ENGLISH
    # The classifier calls a lone "pizza" Italian: a language in Latin script has to show words of its own.
    return code if _share(words, code) > english else ENGLISH


def _classified(text: str) -> str:
    import py3langid

    code = py3langid.classify(text)[0]
    return _KIN.get(code, code)


def _share(words: list[str], code: str) -> float:
    return sum(word in stop_words(code) for word in words) / len(words)


def _pieces(texts: Iterable[str]) -> list[str]:
    """The first of the texts in pieces long enough to tell their language."""
    pieces, piece, total = [], "", 0
    for text in texts:
        piece += f"{text}\n"
        total += len(text)
        if len(piece) >= _PIECE or total >= _SAMPLE:
            pieces.append(piece)
            piece = ""
        if total >= _SAMPLE:
            break
    return [*pieces, piece] if piece.strip() else pieces


def _stopwords() -> Any:
    import stopwordsiso

    return stopwordsiso


@lru_cache(maxsize=64)
def stop_words(code: str) -> frozenset[str]:
    """Words without content of a language, lower-case."""
    return frozenset(_stopwords().stopwords(code))


@lru_cache(maxsize=1)
def _english_words() -> frozenset[str]:
    """Stop words that tell English from others; of the short ones the list has all, country codes too."""
    return frozenset(word for word in stop_words(ENGLISH) if len(word) > 2) | {"i", "my", "is", "it", "to", "of", "we"}


@lru_cache(maxsize=200_000)
def stem(word: str, code: str) -> str:
    """The stem of one lower-case word of a language other than English; "" for a word without content."""
    # "l'ascenseur", "dell'acqua": what stands before the apostrophe is an article or a pronoun.
    whole, word = word, word.rsplit("'", 1)[-1] if code in ("fr", "it", "ca") else word
    if word.isdigit():
        return word
    if not stop_words(code).isdisjoint((whole, word)) or (len(word) == 1 and not _RUN.match(word)):
        return ""
    return _stemmer(code).stemWord(word) if code in STEMMERS else word


def split_compounds(frequency: Mapping[str, int], code: str) -> dict[str, tuple[str, str]]:
    """The stems that are two others of the same texts written as one, and these two: "zwillingssohn" -> "zwilling", "sohn".
    Of several ways, the parts that are most frequent count (Koehn and Knight 2003). `frequency`: of every stem."""
    found: dict[str, tuple[str, str]] = {}
    for whole in frequency if code in COMPOUNDING else ():
        ways = [
            (whole[:at], whole[at + len(link) :])
            for at in range(_SHORTEST_PART, len(whole) - _SHORTEST_PART + 1)
            for link in COMPOUNDING[code]
            if whole.startswith(link, at) and len(whole) - at - len(link) >= _SHORTEST_PART
        ]
        known = [way for way in ways if all(part in frequency for part in way)]
        if known:
            found[whole] = max(known, key=lambda way: frequency[way[0]] * frequency[way[1]])
    return found


@lru_cache(maxsize=64)
def _stemmer(code: str) -> Any:
    return snowballstemmer.stemmer(STEMMERS[code])


def need_segmenter(code: str) -> None:
    """Raises `ConfigError` where texts in this language need a package that is not installed."""
    if code in UNSPACED and _segmenter(code) is None:
        raise ConfigError(
            f"words of the language {code!r} are found by the package {UNSPACED[code]}: pip install"
            " 'selfsame-chat[languages]'"
        )


def is_unspaced(text: str) -> bool:
    """Whether letters of a script without spaces are in a text."""
    return _RUN.search(text) is not None


def split_runs(word: str) -> list[str]:
    """The words in what stands between spaces: itself, or its parts in a script without spaces. Without the package that
    finds words of the script, a stray run of it is one word; a text in that language is refused (`need_segmenter`)."""
    if not _RUN.search(word):
        return [word]
    parts: list[str] = []
    end = 0
    for run in _RUN.finditer(word):
        parts += [word[end : run.start()], *_segment(run[0])]
        end = run.end()
    return [part for part in [*parts, word[end:]] if part]


@lru_cache(maxsize=100_000)
def _segment(run: str) -> tuple[str, ...]:
    code = "th" if re.match(rf"[{_THAI}]", run) else "ja" if re.search(rf"[{_KANA}]", run) else "zh"
    segmenter = _segmenter(code)
    return tuple(segmenter(run)) if segmenter else (run,)


@lru_cache(maxsize=3)
def _segmenter(code: str) -> Callable[[str], Iterable[str]] | None:
    """What finds the words of a language without spaces; None where its package is not installed."""
    try:
        package = importlib.import_module("janome.tokenizer" if code == "ja" else UNSPACED[code])
    except ImportError:
        return None
    if code == "zh":
        return package.cut
    if code == "th":
        return package.load_default_thai_parser().parse
    tokenizer = package.Tokenizer()
    return lambda run: [token.surface for token in tokenizer.tokenize(run)]
