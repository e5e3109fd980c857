"""Files of other people's benchmarks: what is read, and how a line that cannot be used is told."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest

from commands import make
from selfsame.errors import DataError
from selfsame.tasks.external import detokenize, parlai_words, read_convai2, read_minimal_edits, read_personagym

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TEXT = """1 your persona: i have two dogs .
2 partner's persona: i sing .
3 hello !\thi , i 'm bob .\t\tno .|yes .|hi , i 'm bob .
4 any pets ?\ttwo dogs .\t\tno .|no .|two dogs .
1 your persona: i teach .
2 __SILENCE__\thello .\t\tbye .|hello .
"""
EDIT = {
    "context": ["any pets ?"],
    "original_response": "no .",
    "intervening_persona": ["i have a dog ."],
    "references": ["a dog ."],
}


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the data file {name} is not here")
    return path


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_convai2(tmp_path, suffix, pack):
    file = read_convai2(make(tmp_path, f"v.txt{suffix}", pack(TEXT.encode())))
    one, two, three = file.examples
    assert [(e.line, e.dialogue, e.words) for e in file.examples] == [(3, 1, 6), (4, 1, 3), (6, 2, 2)]
    assert one.prompt.persona == ("i have two dogs .",) and one.prompt.history == ("hello !",)
    assert one.gold == "hi , i 'm bob ." and one.distractors == ("no .", "yes .")
    assert two.prompt.history == ("hello !", "hi , i 'm bob .", "any pets ?") and two.distractors == ("no .",)  # once
    assert three.prompt.persona == ("i teach .",) and three.prompt.history == ("",)
    assert file.rejected == [] and file.official is None


def test_some_dialogues(tmp_path):
    path = make(tmp_path, "v.txt", TEXT)
    assert [e.line for e in read_convai2(path, limit=1).examples] == [3, 4]
    assert len(read_convai2(path, limit=9).examples) == 3


def test_bad_lines_are_told_and_set_aside(tmp_path):
    bad = [
        "no number",
        "5 no tab",
        "6 a\tb",
        "7 c\td\t\te|f",
        "8 g\th\t\th|h",
        "9 \t \t\ti",
        "10 j\tk\t\tk|l",
        "11 m\tn\t\tn|o\r",
    ]
    file = read_convai2(make(tmp_path, "v.txt", TEXT + "\n".join(bad)))
    reasons = [str(row).split(": ", 1) for row in file.rejected]
    assert [where.rsplit(":", 1)[1] for where, _ in reasons] == ["7", "8", "9", "10", "11", "12"]
    expected = ["does not begin with a number", "is neither", "has no candidates", "is not among its candidates",
                "no candidate differs", "is neither"]  # fmt: skip
    assert all(part in reason for part, (_, reason) in zip(expected, reasons, strict=True))
    assert [e.line for e in file.examples] == [3, 4, 6, 13, 14] and file.examples[-1].distractors == ("o",)
    # What was said in a line without usable candidates was said.
    assert file.examples[-2].prompt.history == ("", "hello .", "a", "b", "c", "d", "g", "h", "j")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "is empty"),
        ("{}\n", "no example with candidates (1 lines set aside; the first line set aside: "),
        ("1 your persona: i sing .\n", "no example with candidates (0 lines"),
        ("1 hello\thi\n2 yes\tno\n", "has no candidates"),
        ("text:hello\tlabels:hi\n", "expected ParlAI text"),
    ],
)
def test_a_file_without_examples_is_told(tmp_path, content, part):
    with pytest.raises(DataError) as error:
        read_convai2(make(tmp_path, "v.txt", content))
    assert part in str(error.value)


def test_words_are_those_of_parlai():
    assert parlai_words("i've a dog , u.s.a.!") == ["i've", "a", "dog", ",", "u", ".", "s", ".", "a", ".", "!"]


def test_detokenized():
    assert detokenize(" i 'm tired , and you ? i do n't . ") == "I'm tired, and you? I don't."
    assert detokenize("") == "" and detokenize("wow ! !") == "Wow!!"


def test_minimal_edits(tmp_path):
    odd = [1, {**EDIT, "original_response": " "}, {**EDIT, "references": []}, {**EDIT, "context": "hi"}]
    rows, rejected = read_minimal_edits(make(tmp_path, "e.json", json.dumps([EDIT, *odd])))
    assert [(r.persona, r.context, r.original, r.edits) for r in rows] == [
        (("i have a dog .",), ("any pets ?",), "no .", ("a dog .",))
    ]
    assert [row.line for row in rejected] == [2, 3, 4, 5] and "original_response is no text" in str(rejected[1])
    for content, part in (("{}", "is not a JSON list"), ("[1]", "no row can be used"), ("[", "is not JSON")):
        with pytest.raises(DataError, match=part):
            read_minimal_edits(make(tmp_path, "bad.json", content))


def test_personagym(tmp_path):
    people = {"A cook from Leeds. Sings.": {"Persona Consistency": ["Do you cook?", "Why?"], "Toxicity": ["What?"]}}
    path = make(tmp_path, "q.json", json.dumps(people))
    (first, _) = read_personagym(path, "persona-consistency")
    assert first.persona == ("A cook from Leeds.", "Sings.") and first.question == "Do you cook?"
    assert [p.question for p in read_personagym(path, "Persona Consistency", 1)] == ["Do you cook?"]
    assert [p.task for p in read_personagym(path, "toxicity")] == ["Toxicity"]
    with pytest.raises(DataError, match="has no task 'cooking'; it has Persona Consistency, Toxicity"):
        read_personagym(path, "cooking")
    for content in ("[]", '{"a": []}', '{"a": {"t": [1]}}', '{"a": {"Toxicity": []}}'):
        with pytest.raises(DataError):
            read_personagym(make(tmp_path, "bad.json", content), "Toxicity")


def test_the_published_files():
    """All of ConvAI2's official validation examples, of which none has fewer than 19 candidates that differ."""
    file = read_convai2(shared("personachat-convai2/valid_self_original.txt.xz"))
    assert len(file.examples) == 7801 and file.rejected == [] and file.examples[-1].dialogue == 1000
    assert file.official == ("validation", "self, original")
    assert {len(e.distractors) for e in file.examples} == {18, 19}
    rows, rejected = read_minimal_edits(shared("persona-min-edit/valid.json.xz"))
    assert len(rows) == 1384 and rejected == [] and {len(r.edits) for r in rows} == {3}
    probes = read_personagym(shared("personagym/questions_benchmark_v1.json.xz"), "Persona Consistency")
    assert len(probes) == 2000
