import json
import lzma
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from selfsame.data.loader import DatasetLoader, half, persona_key, write_rejects
from selfsame.data.settings import DataSettings
from selfsame.errors import ConfigError, DataError
from selfsame.types import RejectedRow

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LOADER = DatasetLoader()
ROW = {
    "id": "d",
    "user1_persona": ["I have two dogs."],
    "user2_persona": ["I teach."],
    "turns": [[1, "Hi."], [2, "Hello."]],
}
SPC_HEADER = "user 1 personas,user 2 personas,Best Generated Conversation\n"
SPC_ROW = '"I bake.\nI knit.",I fly.,"User 1: Hi!\nUser 2: Hello!\nand more"\n'


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(path: Path | str, **settings: Any) -> Any:
    return DatasetLoader(DataSettings(path=str(path), **settings)).load()


def persona(k: int) -> list[str]:
    return [f"My name is person{k}.", f"I own hobby{k}."]


def chat(k: int, first: int, second: int) -> dict[str, Any]:
    turns = [[1, f"Hello number {k}!"], [2, f"Good to see you, friend {k * 7}."], [1, f"How are all {k} things?"]]
    return {"id": f"d{k}", "user1_persona": persona(first), "user2_persona": persona(second), "turns": turns}


def own_and_all(dataset: Any) -> tuple[set[frozenset[str]], set[frozenset[str]]]:
    held = {persona_key(side.persona) for side in dataset.validation}
    trained = {persona_key(p) for side in dataset.train for p in (side.persona, side.partner_persona)}
    return held, trained


@pytest.mark.parametrize("step", [0, 1, 7])
def test_split_keeps_personas_apart(tmp_path: Path, step: int) -> None:
    """step 0: pairs that meet once (small groups); 1 and 7: everybody is connected with everybody."""
    rows = [chat(k, 2 * k, 2 * k + 1) if step == 0 else chat(k, k % 40, (k + step) % 40) for k in range(80)]
    dataset = load(write(tmp_path, "a.jsonl", jsonl(*rows)), validation_share=0.2)
    held, trained = own_and_all(dataset)
    count = 160 if step == 0 else 40
    assert held
    assert held.isdisjoint(trained)
    assert 0.1 * count <= len(held) <= 0.3 * count
    assert len(dataset.train) >= 80
    if step == 0:  # no dialogue is torn
        assert len(dataset.train) + len(dataset.validation) == 160
    assert dataset.train == load(tmp_path / "a.jsonl", validation_share=0.2).train


def test_split_ignores_order_and_case_of_traits(tmp_path: Path) -> None:
    rows = [chat(k, k, k + 100) for k in range(20)]
    rows += [chat(k, k - 20, k + 200) for k in range(20, 40)]
    for row in rows[20:]:
        row["user1_persona"] = [trait.upper() for trait in reversed(row["user1_persona"])]
    held, trained = own_and_all(load(write(tmp_path, "a.jsonl", jsonl(*rows))))
    assert held
    assert held.isdisjoint(trained)


def test_what_makes_personas_the_same() -> None:
    assert persona_key(("I  bake.", "I KNIT.")) == persona_key(("i knit.", "I bake."))
    assert persona_key(("I bake.",)) != persona_key(("I bake.", "I knit."))


def test_one_persona_cannot_be_split(tmp_path: Path) -> None:
    rows = [
        {"persona": ["I bake."], "turns": [[1, f"Hi number {k}!"], [2, f"Hello to {k * 3} people."]]} for k in range(9)
    ]
    dataset = load(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert dataset.validation == []
    assert len(dataset.train) == 9  # the side without a persona gives no example
    assert (
        "no validation part: one persona, and 9 dialogues are too few to hold any out (10 are enough)"
        in dataset.summary()
    )


def one_person(count: int) -> list[dict[str, Any]]:
    return [
        {"persona": ["I bake."], "turns": [[1, f"Hi number {k}!"], [2, f"Hello to {k * 3} people."]]}
        for k in range(count)
    ]


def test_dialogues_of_one_persona_are_held_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", jsonl(*one_person(40)))
    dataset = load(path)
    trained, held = ({side.id for side in part} for part in (dataset.train, dataset.validation))
    assert (len(trained), len(held)) == (34, 6)
    assert trained.isdisjoint(held)
    assert dataset.dialogues == {"train": 34, "validation": 6}
    assert "one persona: 6 held-out dialogues of the same character; nothing is said about" in dataset.summary()
    more = load(write(tmp_path, "b.jsonl", jsonl(*one_person(41))))
    assert len({side.turns for side in dataset.validation} - {side.turns for side in more.validation}) <= 1
    dev, test = half(dataset.validation, "dev"), half(dataset.validation, "test")
    assert len(dev) + len(test) == 6 and dev and test


def test_a_validation_part_of_the_same_person_stays(tmp_path: Path) -> None:
    rows = one_person(15)
    write(tmp_path, "train.jsonl", jsonl(*rows[:12]))
    write(tmp_path, "valid.jsonl", jsonl(*rows[12:]))
    dataset = load(tmp_path)
    assert dataset.dialogues == {"train": 12, "validation": 3}
    assert dataset.removed == {}
    assert "3 held-out dialogues of the same character" in dataset.summary()


def test_two_people_who_always_talk_to_each_other(tmp_path: Path) -> None:
    rows = [
        {
            "user1_persona": ["I bake."],
            "user2_persona": ["I knit."],
            "turns": [[1, f"Hi {k}!"], [2, f"Ho {k * 3} you."]],
        }
        for k in range(20)
    ]
    dataset = load(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert dataset.dialogues == {"train": 17, "validation": 3}
    assert (
        "2 personas that speak in nearly all dialogues: 3 held-out dialogues of the same characters"
        in dataset.summary()
    )


def test_clean_limit_and_max_turns(tmp_path: Path) -> None:
    rows = [chat(k, 2 * k, 2 * k + 1) for k in range(30)]
    rows[3]["turns"][0][1] = "Hi, I'm [user 1's name]."
    path = write(tmp_path, "a.jsonl", jsonl(*rows, "bad"))
    dataset = load(path, max_turns=2)
    assert dataset.removed == {"clean-up (placeholder)": 1}
    assert sum(dataset.dialogues.values()) == 29
    assert all(len(side.turns) <= 4 for side in dataset.train)
    assert len(dataset.rejected) == 1
    assert "left out, clean-up (placeholder): 1 dialogues" in dataset.summary()
    assert f"{path}:31: is not a JSON object" in dataset.summary()
    assert sum(load(path, clean=False).dialogues.values()) == 30
    few = load(path, limit=5)
    assert few.dialogues["train"] == 5
    assert few.dialogues["validation"] == dataset.dialogues["validation"]
    assert few.removed["over the limit"] == dataset.dialogues["train"] - 5


def test_nothing_left_after_clean_up(tmp_path: Path) -> None:
    row = ROW | {"turns": [[1, "Hi [name]"], [2, "Hello."]]}
    with pytest.raises(DataError, match=r"clean-up \(placeholder\) 1.*--data.clean false keeps"):
        load(write(tmp_path, "a.jsonl", jsonl(row)))


def test_folder_with_parts(tmp_path: Path) -> None:
    write(tmp_path, "my_train.jsonl", jsonl(*(chat(k, k, k + 100) for k in range(10))))
    write(tmp_path, "my-validation.jsonl.xz", lzma.compress(jsonl(chat(0, 3, 60), chat(1, 50, 51)).encode()))
    for name in ("my_test.jsonl", "train_new_persona.jsonl", "train_test.jsonl", "constrained.jsonl", "train.md"):
        write(tmp_path, name, "not read")
    dataset = load(tmp_path)
    held, trained = own_and_all(dataset)
    assert held == {persona_key(tuple(persona(k))) for k in (3, 60, 50, 51)}
    assert held.isdisjoint(trained)
    # d3 has a persona of the validation part; d0 and d1 are word for word in it
    assert dataset.dialogues == {"train": 7, "validation": 2}
    assert dataset.removed == {"clean-up (duplicate)": 2, "a persona of the validation part": 1}
    ids = [side.id for part in (dataset.train, dataset.validation) for side in part]
    assert len(ids) == len(set(ids))


def test_folder_without_train_file(tmp_path: Path) -> None:
    write(tmp_path, "strain.csv", "x")
    with pytest.raises(DataError, match=r"train in its name .found strain.csv."):
        load(tmp_path)


def test_demo_is_clean_and_split() -> None:
    dataset = load("demo")
    held, trained = own_and_all(dataset)
    assert held.isdisjoint(trained)
    assert dataset.removed == {}
    assert dataset.rejected == []
    assert len(dataset.validation) >= 10
    assert all(traits is not None for side in dataset.train for traits in side.traits)


def hub(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    def load_dataset(name: str) -> Any:
        assert name == "owner/name"
        if isinstance(result, Exception):
            raise result
        return result

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(k: int) -> dict[str, Any]:
        return {
            "user 1 personas": "\n".join(persona(k)),
            "user 2 personas": "\n".join(persona(k + 50)),
            "Best Generated Conversation": f"User 1: Hi number {k}!\nUser 2: Hello, {k * 3} times.",
        }

    hub(
        monkeypatch,
        {"train": [row(0), row(1), {"Best Generated Conversation": None}], "validation": [row(2)], "test": [row(3)]},
    )
    dataset = load("owner/name")
    assert dataset.dialogues == {"train": 2, "validation": 1}
    assert [str(bad) for bad in dataset.rejected] == [
        "owner/name[train]:3: has no turns that can be read; its fields are 'best_generated_conversation',"
        " no form is near; name them with --data.fields turns=...,persona=..."
    ]


def test_hub_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, ConnectionError("offline\nlong trace"))
    with pytest.raises(DataError, match=r"owner/name: no such file here, and not loaded from the hub .offline."):
        load("owner/name")
    hub(monkeypatch, {"test": []})
    with pytest.raises(DataError, match="has no train split but test"):
        load("owner/name")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'selfsame-chat\[hub\]'"):
        load("owner/name")
    with pytest.raises(DataError, match="no such file"):
        load("owner/name.jsonl")


def test_write_rejects(tmp_path: Path) -> None:
    write_rejects([RejectedRow("a.csv", 3, "is não CSV")], tmp_path / "rejects.jsonl")
    assert json.loads((tmp_path / "rejects.jsonl").read_text(encoding="utf-8")) == {
        "file": "a.csv",
        "line": 3,
        "reason": "is não CSV",
    }


# --- real data


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.slow
def test_synthetic_persona_chat_folder() -> None:
    dataset = load(shared("synthetic-persona-chat"))
    held, trained = own_and_all(dataset)
    assert held.isdisjoint(trained)
    assert dataset.dialogues["train"] > 4000
    assert dataset.dialogues["validation"] > 400
    assert len([row for row in dataset.rejected if "0 turns" in row.reason]) == 36
