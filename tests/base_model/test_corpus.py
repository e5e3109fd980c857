"""The data of the bundled base: what is repaired and left out, which words are alike, and the recipes themselves."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import pytest
from base_model.corpus import SOURCES, _speakers_by_name, is_watched, prepare, read_corpus, tidy_trait
from base_model.neighbours import similar_words
from base_model.settings import Recipe, load_recipe

from selfsame.errors import ConfigError
from selfsame.types import Dialogue

ROOT = Path(__file__).resolve().parents[2]
SHORT = load_recipe(ROOT / "base_model" / "short.yaml")


def test_what_is_evaluated_on_is_left_out(tmp_path):
    """A dialogue with a trait of the validation set, one with thirteen of its words, one with a placeholder."""
    folder = tmp_path / "data" / "synthetic-persona-chat"
    folder.mkdir(parents=True)
    (folder / "Synthetic-Persona-Chat_valid.csv").write_text(
        "user 1 personas,user 2 personas,Best Generated Conversation\n"
        '"I keep bees.","I sing.","User 1: One two three four five six seven eight nine ten eleven twelve thirteen.\n'
        'User 2: Yes."\n'
    )
    for name in ("personachat-convai2", "fed"):
        (tmp_path / "data" / name).mkdir()
    long = "Well, one two three four five six seven eight nine ten eleven twelve"
    rows = [
        ("kept", ["I paint ."], [[1, long], [2, "No."]]),
        ("trait", ["i keep bees ."], [[1, "Hi."], [2, "Hello."]]),
        ("words", ["I run."], [[1, long + " thirteen!"], [2, "Sure."]]),
        ("slot", ["I hop."], [[1, "I am [name]."], [2, "Hm."]]),
    ]
    with lzma.open(folder / "spc_new_persona.jsonl.xz", "wt") as file:
        for id, persona, turns in rows:
            record = {"id": id, "user1_persona": persona, "user2_persona": ["I whistle."], "turns": turns}
            file.write(json.dumps(record) + "\n")
    assert SOURCES["new-persona"].endswith("spc_new_persona.jsonl.xz")
    corpus = read_corpus(prepare(tmp_path / "data", tmp_path / "work", ["new-persona"]))
    assert [d.id for d in corpus["new-persona"]] == ["kept"] and corpus["new-persona"][0].personas[0] == ("I paint.",)
    account = json.loads((tmp_path / "work" / "corpus.json").read_text())["new-persona"]
    assert account["left_out"] == {
        "placeholder": 1,
        "a trait of the validation personas": 1,
        "13 words of an evaluation set": 1,
    }
    assert (account["dialogues"], account["kept"]) == (4, 1)


def test_small_repairs():
    assert tidy_trait(" i have two dogs , both old .") == "I have two dogs, both old."
    assert tidy_trait("i do n't think i 'm old") == "I don't think I'm old"
    turns = ["Matt: You see: a door.", "Sam: I open it.", "Matt: It creaks.", "(laughter)"]
    assert _speakers_by_name(turns) == [(1, "You see: a door."), (2, "I open it."), (1, "It creaks.")]


def test_a_share_is_set_aside_by_id():
    dialogues = [Dialogue(f"d{k}", ((), ()), ()) for k in range(2000)]
    away = [d.id for d in dialogues if is_watched(d, 0.1)]
    assert 150 < len(away) < 250 and {d.id for d in dialogues if is_watched(d, 0.05)} < set(away)


def test_similar_words_have_similar_neighbours():
    draw = random.Random(0)
    animals, jobs = ("terrier", "ferret", "parrot", "gerbil"), ("plumber", "tailor", "baker", "lawyer")
    texts = [f"we feed our {draw.choice(animals)} every morning" for _ in range(300)]
    texts += [f"she works as a {draw.choice(jobs)} in town" for _ in range(300)]
    found = similar_words(texts, minimum=5, dimensions=4, count=3)
    assert set(found["ferret"]) == set(animals) - {"ferret"} and set(found["baker"]) == set(jobs) - {"baker"}


def test_the_recipes_are_valid(tmp_path):
    full = load_recipe(ROOT / "base_model" / "recipe.yaml")
    assert set(full.views.source_weights) == set(SOURCES) and full.shape.hidden % full.shape.heads == 0
    with pytest.raises(ValueError, match="no multiple of 10"):
        Recipe.model_validate({"shape": {"hidden": 128, "heads": 5}})
    (tmp_path / "odd.yaml").write_text("optimiser: {stepz: 5}")
    with pytest.raises(ConfigError, match=r"odd\.yaml: optimiser\.stepz: Extra"):
        load_recipe(tmp_path / "odd.yaml")
