"""A judge that was written before is measured again from its folder, next to the one in the package."""

from __future__ import annotations

import json
import shutil

from evaluator_models.judge import export
from evaluator_models.settings import WHAT, Recipe
from test_roles import load

from selfsame.metrics.judge import AdapterJudge
from selfsame.model.settings import LoraSettings
from selfsame.types import LABELS

PAIRS = [("I have two dogs.", "I have no dogs.", 0), ("I sing.", "How are you?", 1), ("I am a nurse.", "I nurse.", 2)]


def test_a_written_judge_is_measured(tiny_models, tmp_path):
    base, lora = str(tmp_path / "base"), LoraSettings(rank=4)
    shutil.copytree(tiny_models("llama"), base)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    roles = load(base, lora=lora)
    roles.add("judge")
    roles.save("judge", tmp_path / "judge")
    rows = [
        {"premise": p, "hypothesis": h, "label": LABELS[k], "dialogue": str(k), "kind": "decode"} for p, h, k in PAIRS
    ]
    for name in ("train", *WHAT):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = (tmp_path / "judge" / "adapter_model.safetensors").read_bytes()
    record = export(Recipe(base=base, lora=lora, threshold_replies=20), tmp_path, tmp_path / "out", tmp_path / "judge")
    assert {*record["held_out"]} == {*record["bundled"]} == {*record["rules"]} == {*WHAT}
    assert {part["rows"] for part in record["held_out"].values()} == {3}
    assert record["bundled"]["prosecco"]["recall"]["contradiction"]["value"] == 1.0
    assert AdapterJudge(str(tmp_path / "out")).threshold == record["threshold"]
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == before
