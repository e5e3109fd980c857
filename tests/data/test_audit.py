import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsame.data.audit import CONTROL_MARKER, EXAMPLES, KINDS, LONG_TURN, PLACEHOLDER, audit
from selfsame.types import Dialogue, Turn

FIRST = ("I have two dogs.", "I teach chemistry.")
SECOND = ("I am a retired newspaper reporter.", "I collect stamps.")
CHAT = ("Hello there!", "Hi, how was your week?", "Busy, exams are coming.", "Good luck to all of them.")


def make(id: str, *texts: str, speakers: str = "12" * 50) -> Dialogue:
    turns = tuple(Turn(int(speaker), text) for speaker, text in zip(speakers, texts, strict=False))
    return Dialogue(id, (FIRST, SECOND), turns)


def kinds_of(dialogue: Dialogue) -> set[str]:
    return {name for name, finding in audit([dialogue]).findings.items() if finding.count}


@pytest.mark.parametrize(
    "text",
    [
        "Hi, I'm [user 1's name].",
        "I am [name].",
        "Call me <name>!",
        "I live in [city].",
        "I like [insert hobby].",
        "My (child's name) is five.",
        "Hello (your name).",
        "I'm from [User 2's home town].",
        "I am {{char}}.",
        "Hi User 2!",
        "Here is [link].",
        "Bye (name)",
    ],
)
def test_placeholders_are_found(text: str) -> None:
    assert kinds_of(make("d", "Hello!", text)) == {"placeholder"}


@pytest.mark.parametrize(
    "text",
    [
        "I paid (555) dollars [really].",
        "(laughs) Sure!",
        "I [heart] you <3",
        "As a user of trains I agree.",
        "(I forgot his name)",
    ],
)
def test_other_brackets_are_no_placeholders(text: str) -> None:
    assert not PLACEHOLDER.search(text)


def test_control_markers_are_reported_and_kept() -> None:
    for text in ("[SEP] hi", "a [PERSONA] b", "<|im_end|>", "[RESPONSE]", "</s>"):
        dialogue = make("d", "Hello!", text)
        assert kinds_of(dialogue) == {"control_marker"}
        assert not audit([dialogue]).removed
    assert not CONTROL_MARKER.search("[sepia] <||>")


def test_shapes_of_dialogues() -> None:
    assert kinds_of(make("d", "Hello!")) == {"empty"}
    assert kinds_of(make("d")) == {"empty"}
    assert kinds_of(make("d", "Hello!", "Anyone?", speakers="11")) == {"one_sided", "same_speaker"}
    assert kinds_of(make("d", *CHAT[:3], speakers="122")) == {"same_speaker"}
    assert kinds_of(make("d", "Hi!", "word " * (LONG_TURN + 1))) == {"long_turn"}
    assert kinds_of(make("d", "Hi!", "word " * LONG_TURN)) == set()
    assert kinds_of(make("d", *CHAT)) == set()


@pytest.mark.parametrize(
    ("texts", "swapped"),
    [
        (("What do you do?", "What do you do?", "I'm a retired newspaper reporter."), True),
        (("Hi!", "Hi!", "I like to collect stamps."), True),
        (("Hi!", "Well, I have two dogs at home."), True),
        (("Hi!", "I collect stamps.", "I collect stamps as well, I do."), False),  # the other said it first
        (("Hi!", "Hi!", "I never collect stamps."), False),  # a denial
        (("Hi!", "Hi!", "Do I collect stamps?"), False),  # a question
        (("Hi!", "Hi!", "I heard you collect stamps."), False),  # about the other
        (("Hi!", "I'm a retired newspaper reporter and I collect stamps."), False),  # one's own
        (("I have two dogs.", "Nice!"), False),
    ],
)
def test_speaker_swap(texts: tuple[str, ...], swapped: bool) -> None:
    # Among other dialogues, where stamps and dogs are rare words.
    turns = tuple(Turn(1 + k % 2, text) for k, text in enumerate(CHAT))
    others = [Dialogue(f"o{k}", ((f"I own ship {k}.",), ()), (*turns, Turn(1, f"Bye {k}!"))) for k in range(20)]
    assert audit([make("d", *texts), *others]).findings["speaker_swap"].ids == ["d"] * swapped


def test_an_annotated_trait_is_no_swap() -> None:
    turns = (Turn(1, "Hi!"), Turn(2, "Hi!"), Turn(1, "I'm a retired newspaper reporter.", (0,)))
    assert not kinds_of(Dialogue("d", (FIRST, SECOND), turns))


def test_a_shared_trait_is_no_swap() -> None:
    both = ("I collect stamps.",)
    dialogue = Dialogue("d", (both, both), (Turn(1, "Hi!"), Turn(2, "I collect stamps.")))
    assert not kinds_of(dialogue)


def test_copies_keep_the_first() -> None:
    other = ("Good evening.", "What a storm outside tonight!", "I like it when the windows shake.", "Not me, I hide.")
    long = tuple(f"{text} And then we walked along river number {k}." for k, text in enumerate(CHAT * 4))
    near = (*long[:-1], "Something else at the end.")
    dialogues = [
        make("a", *CHAT),
        make("b", *other),
        make("c", *(text.upper() for text in CHAT)),  # case and punctuation do not count
        make("d", *long),
        make("e", *near),
    ]
    result = audit(dialogues)
    assert result.findings["duplicate"].ids == ["c"]
    assert result.findings["near_duplicate"].ids == ["e"]
    assert result.removed == {"c", "e"}
    assert result.reasons() == {"c": "duplicate", "e": "near_duplicate"}
    assert "copies a" in result.findings["duplicate"].examples[0][1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_near_duplicates_follow_the_jaccard_similarity(seed: int, changed: int) -> None:
    rng = random.Random(seed)
    tokens = [f"w{rng.randrange(10**6)}" for _ in range(80)]
    edited = list(tokens)
    for k in rng.sample(range(80), changed):
        edited[k] = f"x{k}"
    triples = [{tuple(t[k : k + 3]) for k in range(78)} for t in (tokens, edited)]
    similarity = len(triples[0] & triples[1]) / len(triples[0] | triples[1])
    halves = [(" ".join(t[:40]), " ".join(t[40:])) for t in (tokens, edited)]
    found = {f.kind.name for f in audit([make("a", *halves[0]), make("b", *halves[1])]).findings.values() if f.count}
    if similarity < 0.8:
        assert found == set()
    elif similarity >= 0.86:  # nearer the threshold one pair in 120 is missed by design
        assert found == {"duplicate" if similarity == 1 else "near_duplicate"}


def test_table_and_examples() -> None:
    result = audit([make(str(k), "Hi [name]", CHAT[k % 4], f"turn {k}") for k in range(10)])
    table = result.table()
    assert [kind.name for kind in KINDS] == [line.split()[0] for line in table.splitlines()[1 : len(KINDS) + 1]]
    assert result.findings["placeholder"].count == 10
    assert result.share("placeholder") == 1.0
    assert len(result.findings["placeholder"].examples) == EXAMPLES
    assert "100.0%" in table
    assert "Hi [name]" in table
    assert audit([]).table()  # nothing to divide by


def test_thousands_of_dialogues() -> None:
    """All alike, one of them again: compared two by two they would take minutes."""
    turns = [[f"{text} number {k} of {j}" for j, text in enumerate(CHAT * 5)] for k in range(2000)]
    dialogues = [make(f"d{k}", *own) for k, own in enumerate(turns)]
    found = audit([*dialogues, make("copy", *turns[7][:-1], "Bye!")]).findings
    assert found["duplicate"].count == 0 and found["near_duplicate"].ids == ["copy"]
