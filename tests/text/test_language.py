"""Languages: found from texts, counted alike, and refused where words cannot be counted."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.phrases import _deny, load_phrases
from selfsame.data.settings import PairSettings
from selfsame.errors import ConfigError, DataError
from selfsame.eval.given import score_given
from selfsame.metrics.judge import load_judge
from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.rows import GivenReply
from selfsame.text import language as languages
from selfsame.text.keywords import TraitMatcher, content_stems, count_words, sentences, word_spans, words
from selfsame.text.language import describe_languages, find_language
from selfsame.types import Example

TALKS = {  # trait, question, reply that draws on it: the same ones in every language
    "en": [
        ("I bake bread at night.", "What do you do?", "I bake bread until five."),
        ("I have two cats.", "Any animals?", "Yes, my cats are asleep."),
        ("I am afraid of the sea.", "Shall we sail?", "Please, the sea frightens me."),
        ("I teach chemistry.", "And your job?", "It is chemistry, at a school."),
        ("My sister lives in Lisbon.", "Do you travel?", "Only to Lisbon."),
        ("I play the accordion.", "Who makes music?", "That is me on the accordion."),
    ],
    "de": [
        ("Ich backe nachts Brot.", "Was machst du?", "Ich backe Brot bis fünf."),
        ("Ich habe zwei Katzen.", "Hast du Tiere?", "Ja, meine Katzen schlafen."),
        ("Ich habe Angst vor dem Meer.", "Segeln wir?", "Nein, das Meer macht mir Angst."),
        ("Ich unterrichte Chemie.", "Und dein Beruf?", "Das ist Chemie, an einer Schule."),
        ("Meine Schwester lebt in Lissabon.", "Reist du?", "Nur nach Lissabon."),
        ("Ich spiele Akkordeon.", "Wer macht Musik?", "Das bin ich am Akkordeon."),
    ],
    "zh": [
        ("我晚上烤面包。", "你做什么工作？", "我烤面包，烤到五点。"),
        ("我有两只猫。", "你有动物吗？", "有，我的猫在睡觉。"),
        ("我害怕大海。", "我们去航海吧？", "不，大海让我害怕。"),
        ("我教化学。", "你的工作呢？", "是化学，在学校里。"),
        ("我的姐姐住在里斯本。", "你旅行吗？", "只去里斯本。"),
        ("我拉手风琴。", "谁在演奏？", "是我在拉手风琴。"),
    ],
    "fr": [
        ("Je prépare du pain la nuit.", "Que fais-tu ?", "Je prépare du pain jusqu'à cinq heures."),
        ("J'ai deux chats.", "Des animaux ?", "Oui, mes chats dorment."),
        ("J'ai peur de la mer.", "On navigue ?", "Non, la mer me fait peur."),
        ("J'enseigne la chimie.", "Et ton métier ?", "C'est la chimie, dans une école."),
        ("Ma sœur habite à Lisbonne.", "Tu voyages ?", "Seulement à Lisbonne."),
        ("Je joue de l'accordéon.", "Qui fait de la musique ?", "C'est moi, à l'accordéon."),
    ],
    "ja": [
        ("私は夜にパンを焼きます。", "お仕事は何ですか？", "五時までパンを焼いています。"),
        ("私は猫を二匹飼っています。", "動物はいますか？", "はい、猫は寝ています。"),
        ("私は海が怖いです。", "船に乗りませんか？", "いいえ、海は怖いです。"),
        ("私は化学を教えています。", "お仕事は？", "学校で化学です。"),
        ("私の姉はリスボンに住んでいます。", "旅行しますか？", "リスボンだけです。"),
        ("私はアコーディオンを弾きます。", "音楽は誰ですか？", "アコーディオンは私です。"),
    ],
}


def examples(language: str) -> list[Example]:
    """Dialogues of people with three of the traits each, of which every reply draws on one."""
    talks = TALKS[language]
    made = []
    for k in range(len(talks)):
        own = [talks[(k + step) % len(talks)] for step in range(3)]
        turns = tuple(text for _, asked, reply in own for text in (asked, reply))
        made.append(Example(f"{k}/2", tuple(trait for trait, *_ in own), (), turns, (None,) * 3))
    return made


def given(language: str) -> list[GivenReply]:
    prompts = [(prompt, reply) for example in examples(language) for prompt, reply in example.prompts()]
    return [GivenReply(k, "bot", None, p.persona, p.history, reply) for k, (p, reply) in enumerate(prompts, start=1)]


@pytest.mark.parametrize("language", TALKS)
def test_the_language_is_found(language: str) -> None:
    texts = [text for talk in TALKS[language] for text in talk]
    assert find_language(texts) == language
    assert TraitMatcher(texts).language == language


@pytest.mark.parametrize("text", ["", "42 :-)", "pizza", "Ok lol"])
def test_too_little_to_tell_is_english(text: str) -> None:
    assert find_language([text]) == "en"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("hr", "Imam dva psa i volim plivati. Radim kao učiteljica u maloj školi, a noću pečem kruh."),
        ("is", "Ég á tvo hunda og elska að synda. Ég vinn sem kennari í litlum skóla og baka brauð."),
        ("sw", "Nina mbwa wawili na napenda kuogelea. Ninafanya kazi kama mwalimu katika shule ndogo."),
    ],
)
def test_a_language_in_latin_script_is_not_taken_for_english(code: str, text: str) -> None:
    with pytest.raises(DataError, match=repr(code)):
        TraitMatcher([text])


def test_a_language_whose_words_cannot_be_counted_is_refused() -> None:
    korean = [
        "저는 개를 두 마리 키우고 빵을 굽습니다.",
        "제 여동생은 리스본에 살고 화학을 가르칩니다. 바다가 무섭습니다.",
    ]
    with pytest.raises(DataError, match="'ko', whose words Selfsame cannot count; it knows ar, ca"):
        TraitMatcher(korean)


@pytest.mark.parametrize("language", ["de", "zh", "fr", "ja"])
def test_the_same_dialogues_score_alike(language: str) -> None:
    scored = {
        code: score_given(given(code), load_judge("rules"), Bootstrap(resamples=50))["systems"]["bot"]
        for code in ("en", language)
    }
    ours, english = scored[language], scored["en"]
    consistency = [system["metrics"]["consistency"]["value"] for system in (ours, english)]
    assert consistency[0] == pytest.approx(consistency[1], abs=0.05)
    strangers = [system["references"]["random_persona"]["consistency"]["value"] for system in (ours, english)]
    assert strangers[0] < strangers[1] + 0.1


def test_what_was_trained_on_english_is_missing_elsewhere() -> None:
    found = score_given(given("de"), load_judge("rules"), Bootstrap(resamples=50))
    assert found["judge"]["unknown_language"] == "de"
    assert found["systems"]["bot"]["metrics"]["contradiction"]["count"] == 0
    assert score_given(given("en"), load_judge("rules"), Bootstrap(resamples=50))["judge"]["unknown_language"] == ""


@pytest.mark.parametrize("language", ["de", "zh", "fr", "ja"])
def test_pairs_have_the_reasons_of_the_english_ones_in_their_language(language: str) -> None:
    def pairs(code: str) -> PreferenceGenerator:
        return PreferenceGenerator(examples(code), PairSettings(count=60, length_ratio=3.0))

    english = {pair.reason for pair in pairs("en").generate_pairs()}
    made = pairs(language).generate_pairs()
    assert {"contradicted", "bland", "degenerate"} <= english <= {pair.reason for pair in made}
    english_phrases = set(load_phrases("en").bland)
    said = {sentence for pair in made for sentence in sentences(pair.rejected)}
    assert said.isdisjoint(english_phrases) and find_language(said) == language


def test_a_denied_trait_stands_in_place_of_the_sentence_that_drew_on_it() -> None:
    made = PreferenceGenerator(examples("de"), PairSettings(count=60, length_ratio=3.0)).generate_pairs()
    denied = {pair.chosen: pair.rejected for pair in made if pair.reason == "contradicted"}
    assert denied["Ja, meine Katzen schlafen."] == "Ich habe keine Katzen."
    made = PreferenceGenerator(examples("zh"), PairSettings(count=60, length_ratio=3.0)).generate_pairs()
    denied = {pair.chosen: pair.rejected for pair in made if pair.reason == "contradicted"}
    assert denied["是我在拉手风琴。"] == "我不拉手风琴。"


@pytest.mark.parametrize(
    ("language", "trait", "denied"),
    [
        ("de", "Ich habe keine Katzen.", "Ich habe viele Katzen."),
        ("de", "Ich backe nachts Brot.", "Ich backe nicht nachts Brot."),
        ("es", "Tengo dos gatos.", "No tengo dos gatos."),
        ("es", "Mi hermana vive en Lisboa.", "Mi hermana no vive en Lisboa."),
        ("fr", "Je n'aime pas le café.", "J'aime le café."),
        ("fr", "Je n'ai pas de chat.", ""),
        ("ja", "私は先生です。", "私は先生ではありません。"),
        ("zh", "我妈妈是医生。", "我妈妈不是医生。"),
        ("zh", "我从来不喝酒。", "我常常喝酒。"),
    ],
)
def test_traits_are_denied_in_sentences_that_people_write(language: str, trait: str, denied: str) -> None:
    assert _deny(trait, load_phrases(language)) == denied


def test_words_of_scripts_without_spaces() -> None:
    assert words("我有两只猫，ok?")[-2:] == ["猫", "ok"] and count_words("我有两只猫。") > 3
    assert sentences("我教化学。你呢？「好。」她说。") == ["我教化学。", "你呢？", "「好。」", "她说。"]
    text = "I say 我教化学 here"
    assert [text[start:end] for start, end, _ in word_spans(text)] == ["I", "say", *words("我教化学"), "here"]
    assert words("ฉันมีแมว") == ["ฉัน", "มี", "แมว"]
    assert words("मेरे दो कुत्ते हैं") == ["मेरे", "दो", "कुत्ते", "हैं"]


def test_articles_and_compounds() -> None:
    assert content_stems("l'ascenseur", "fr") == content_stems("ascenseur", "fr") != []
    matcher = TraitMatcher(["Ich habe Zwillingssöhne.", "Zwei Söhne, Zwillinge sogar.", "Ich habe eine Katze."])
    assert matcher.matches("Ich habe Zwillingssöhne.", "Meine Söhne sind groß.")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    languages._segmenter.cache_clear()
    languages._segment.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"package rjieba: pip install 'selfsame-chat\[languages\]'"):
            TraitMatcher(["我教化学。你呢？"])
        # English texts need no package for a word of another script.
        assert TraitMatcher(["I teach 化学 at a school."]).language == "en" and words("I teach 化学") == [
            "i",
            "teach",
            "化学",
        ]
    finally:
        languages._segment.cache_clear()
        languages._segmenter.cache_clear()


def texts(language: str, count: int) -> Sequence[str]:
    return ["\n".join(text for talk in TALKS[language] for text in talk)] * count


def test_a_mixed_set_is_reported() -> None:
    assert describe_languages(texts("en", 5)) == ""
    assert describe_languages(texts("de", 5)).startswith(
        "languages of the dialogues: de 100%; words are counted in 'de'"
    )
    mixed = describe_languages([*texts("de", 8), *texts("en", 2)])
    assert "de 80%, en 20%" in mixed and "mixed" in mixed


def test_the_guide_names_the_languages() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "own-data.md").read_text(encoding="utf-8")
    (listed,) = [line.split("|")[2].strip() for line in guide.splitlines() if line.startswith("| words are counted |")]
    assert listed.split(", ") == sorted(languages.LANGUAGES)
    (complete,) = [line.split("|")[2].strip() for line in guide.splitlines() if line.startswith("| pairs with all six")]
    assert complete.split(", ") == [code for code in sorted(languages.LANGUAGES) if load_phrases(code).bland]
