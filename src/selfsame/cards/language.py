"""The language that a card is written in."""

from __future__ import annotations

import re


def language_of(text: str) -> str:
    """The language of a text as an ISO code, by its script and its most frequent function words; "en" where neither tells."""
    letters = [letter for letter in text if letter.isalpha()]
    scripts = {code: sum(low <= letter <= high for letter in letters) for code, low, high in _SCRIPTS}
    if scripts["kana"] > 0.05 * len(letters):
        return "ja"
    others = {code: count for code, count in scripts.items() if code != "kana" and count > 0.2 * len(letters)}
    if others:
        return max(others, key=lambda code: others[code])
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = {code: sum(word in known for word in words) for code, known in _FUNCTION_WORDS.items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] > counts["en"] else "en"


_SCRIPTS = (
    ("kana", "\u3040", "\u30ff"), ("zh", "\u4e00", "\u9fff"), ("ko", "\uac00", "\ud7af"), ("ru", "\u0400", "\u04ff"),
    ("th", "\u0e00", "\u0e7f"), ("ar", "\u0600", "\u06ff"), ("hi", "\u0900", "\u097f"), ("el", "\u0370", "\u03ff"),
)  # fmt: skip
_FUNCTION_WORDS = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the is a and of in to has he she you my i with his her that it for are not was from who on",
        "de": "der die das ist und ein eine sie er ich hat nicht in im mit auf von zu aus ihr sein seine den dem sich du bist",
        "fr": "le la les est et un une elle il je dans de des du avec pour qui sur pas son sa ses tu es au",
        "es": "el la los las es y un una ella en de del con por que su sus no yo tiene tu eres al le",
        "it": "il la i gli le è e un una lei lui in di del con per che suo sua non io ha sei al",
        "pt": "o a os as é e um uma ela ele em de do da com por que seu sua não eu tem você",
        "nl": "de het is en een zij hij ik in van met op niet haar zijn heeft je bent",
        "pl": "jest i w z na nie się to ma jej jego że do od ja ona on jak",
    }.items()
}
