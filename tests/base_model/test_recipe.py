"""The recipe of the bundled base in its short form: what it makes, that a stopped run ends the same, and each part."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from base_model.__main__ import main
from base_model.corpus import prepare, read_corpus
from base_model.settings import OptimiserSettings, ViewSettings, load_recipe
from base_model.train import _Training, learning_rate, make_model, micro_batches, pretrain
from base_model.views import Row, RowMaker
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import MARKERS
from selfsame.errors import ConfigError
from selfsame.run.files import read_jsonl
from selfsame.text.keywords import content_stems
from selfsame.types import Dialogue, Turn

ROOT = Path(__file__).resolve().parents[2]
SHORT = load_recipe(ROOT / "base_model" / "short.yaml")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A finished short training."""
    folder = tmp_path_factory.mktemp("base-model")
    prepare(None, folder, SHORT.views.source_weights)
    pretrain(SHORT, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(work):
    return AutoTokenizer.from_pretrained(work / "tokenizer")


@pytest.fixture(scope="module")
def maker(work, tokenizer) -> RowMaker:
    similar = json.loads((work / "similar.json").read_text())
    return RowMaker(read_corpus(work / "corpus.jsonl"), tokenizer, similar, SHORT.views, 512, 0)


def weights(work: Path) -> dict[str, bytes]:
    folder = work / "checkpoints" / "step-000012"
    return {p.name: p.read_bytes() for p in (*folder.glob("*.safetensors"), *folder.glob("model/*.safetensors"))}


def test_it_makes_an_ordinary_model(work, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["base_model", "export", "--work", str(work), "--to", str(tmp_path / "out")])
    main()
    assert "step 12 -> " in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16 and model.config.model_type == "llama" and model.config.tie_word_embeddings
    assert len(tokenizer) == model.config.vocab_size == 600 and model.config.max_position_embeddings == 512
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("[SEP]")
    trained = load_file(work / "checkpoints" / "step-000012" / "weights.safetensors")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, trained[name].bfloat16()), name


def test_the_loss_falls_and_is_recorded(work):
    steps, damaged = read_jsonl(work / "metrics.jsonl")
    assert damaged == 0 and [s["step"] for s in steps] == list(range(1, 13))
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.3 and all(s["tokens"] > 100 for s in steps)
    watched, _ = read_jsonl(work / "watch.jsonl")
    assert [w["step"] for w in watched] == [4, 8, 12]
    assert all(w["bits_per_byte"] > 1 and 0 <= w["grounding"] <= 1 for w in watched)
    assert watched[-1]["bits_per_byte"] < watched[0]["bits_per_byte"]


@pytest.mark.parametrize("stopped_at", [2, 9])
def test_stopped_and_started_again_it_ends_the_same(work, tmp_path, monkeypatch, stopped_at):
    for name in ("corpus.jsonl", "similar.json"):
        shutil.copy(work / name, tmp_path)
    shutil.copytree(work / "tokenizer", tmp_path / "tokenizer")
    step = _Training.step
    with monkeypatch.context() as patch:

        def stop(self, number):
            if number == stopped_at:
                raise KeyboardInterrupt
            return step(self, number)

        patch.setattr(_Training, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(SHORT, tmp_path)
    pretrain(SHORT, tmp_path)
    assert len(weights(work)) == 4 and weights(tmp_path) == weights(work)
    for name in ("metrics.jsonl", "watch.jsonl"):
        ours, theirs = (
            [{k: v for k, v in r.items() if k != "seconds"} for r in read_jsonl(w / name)[0]] for w in (work, tmp_path)
        )
        assert ours == theirs


def test_a_checkpoint_that_was_not_measured_is_measured_at_the_next_start(work, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(work, folder)
    rows = (folder / "watch.jsonl").read_text()
    (folder / "watch.jsonl").write_text("".join(rows.splitlines(keepends=True)[:2]))
    pretrain(SHORT, folder)
    assert (folder / "watch.jsonl").read_text() == rows and weights(folder) == weights(work)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(work, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "localhost:0", "-m", "base_model", "train", "--recipe", "base_model/short.yaml"]
    result = subprocess.run(
        [*command, "--work", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (read_jsonl(folder / "metrics.jsonl")[0] for folder in (work, tmp_path))
    assert [s["tokens"] for s in one] == [s["tokens"] for s in two]
    for ours, theirs in zip(one, two, strict=True):  # bfloat16 rounds other micro-batches otherwise
        for name in ("loss", "gradient_norm"):
            assert ours[name] == pytest.approx(theirs[name], rel=0.01), (name, ours["step"])


def test_it_does_not_go_on_with_something_else(work, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(work, folder)
    other = SHORT.model_copy(update={"seed": 1})
    with pytest.raises(ConfigError, match="holds a training with another recipe: choose another --work"):
        pretrain(other, folder)
    with open(folder / "corpus.jsonl", "a") as file:
        file.write((folder / "corpus.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="another corpus:"):
        pretrain(SHORT, folder)
    assert weights(folder) == weights(work)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--recipe", "base_model/recipe.yaml"], "needs --data FOLDER"),
        (["train", "--recipe", "nowhere.yaml"], "nowhere.yaml"),
        (["export"], "no complete checkpoint"),
        (["card", "--records", "nowhere"], "nowhere"),
    ],
)
def test_a_users_mistake_is_one_line(arguments, told, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["base_model", *arguments, "--work", str(tmp_path / "work")])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=told) as stopped:
        main()
    assert str(stopped.value).startswith("base_model: ") and "\n" not in str(stopped.value)


# --- views ------------------------------------------------------------------------------------------------------------


def test_rows_depend_on_seed_step_and_number_alone(work, tokenizer, maker):
    again = RowMaker(read_corpus(work / "corpus.jsonl"), tokenizer, maker.similar, SHORT.views, 512, 0)
    assert again.rows(5, 12, [3, 1]) == [maker.rows(5, 12, [3])[0], maker.rows(5, 12, [1])[0]]
    assert maker.rows(5, 12, [3]) != maker.rows(6, 12, [3]) != maker.rows(6, 12, [2])


def test_every_row_is_a_dialogue_in_the_prompt_format(maker, tokenizer):
    head, opening, answer, end = tokenizer.convert_tokens_to_ids(list(MARKERS))
    for row in maker.rows(3, 12, range(60)):
        assert row.ids[0] == head and row.ids.count(head) == row.ids.count(opening) == 1
        assert row.ids[-1] == end and row.ids.count(answer) == row.ids.count(end) >= 1
        assert len(row.weights) == len(row.ids) <= 512 and row.weights[0] == 0


def test_weights_follow_who_speaks(maker, tokenizer):
    content = maker.long.content_ids()
    _, opening, answer, end = tokenizer.convert_tokens_to_ids(list(MARKERS))
    drawn = 0
    for row in maker.rows(3, 12, range(40)):
        start = row.ids.index(opening) + 1
        persona = content.intersection(row.ids[:start])
        own = False
        for token, weight in list(zip(row.ids, row.weights, strict=True))[start:]:
            wanted = (3.0 if token in persona else 1.0) if own else 0.4
            assert weight == wanted
            drawn += weight == 3.0
            own = token == answer or (own and token != end)
        assert set(row.weights[1:start]) == {0.1}
    assert drawn > 50


def test_renaming_is_the_same_word_everywhere(maker):
    example = Dialogue(
        "a", (("I have a dog.", "I sing."), ()), (Turn(2, "Dog or cat?"), Turn(1, "My dog. Dogs!"))
    ).seen_by(1)
    similar = {"dog": ["ferret"], "sing": ["hum"], "cat": ["newt"]}
    maker = object.__new__(RowMaker)
    maker.similar = similar
    draws = [maker._renamed(random.Random(k), example) for k in range(20)]
    renamed = next(d for d in draws if d != example)
    assert renamed.persona == ("I have a ferret.", "I sing.")
    assert renamed.turns == ("Ferret or cat?", "My ferret. Dogs!")
    assert any(d == example for d in draws)


def test_a_derived_persona_holds_own_statements_and_others(maker):
    turns = ("Hi there.", "I really like old trains. Do you?", "My cat eats my plants.", "I live by the sea now. Nice.")
    example = Dialogue("a", ((), ()), tuple(Turn(2 - k % 2, t) for k, t in enumerate(turns))).seen_by(1)
    own = {"I really like old trains.", "I live by the sea now."}
    for k in range(30):
        persona = maker._derived_persona(random.Random(k), example)
        assert own & set(persona) and set(persona) - own and set(persona) <= own | set(maker.traits)


def test_a_drill_answers_with_the_trait_that_was_named(maker):
    for k in range(40):
        drill = maker._drill(random.Random(k))
        assert sorted(drill.replies) == sorted(drill.persona) and len(drill.persona) >= 3
        for cue, reply in zip(drill.turns[::2], drill.replies, strict=True):
            word = cue[:-1].lower()
            known = {
                s for w in reply.lower().replace(".", "").replace(",", "").split() for s in maker.similar.get(w, [])
            }
            assert word in reply.lower() or word in known


def test_sides_that_use_their_persona_come_more_often(maker):
    sides = maker.sides["demo"]
    share = {}
    for (dialogue, speaker), low, high in zip(sides.sides, [0, *sides.cumulative], sides.cumulative, strict=False):
        stems = {s for t in dialogue.personas[speaker - 1] for s in content_stems(t)}
        share[dialogue.id, speaker] = sum(
            t.speaker == speaker and bool(stems & set(content_stems(t.text))) for t in dialogue.turns
        ) == pytest.approx(high - low - 0.5)
    assert len(share) > 200 and all(share.values())


def test_shares_go_from_the_first_value_to_the_second(work, tokenizer, maker):
    settings = ViewSettings(drill_share=((0, 1), (0.5, 0)), no_persona_share=0, long_share=0)
    drills = RowMaker(read_corpus(work / "corpus.jsonl"), tokenizer, maker.similar, settings, 512, 0)
    head = [DataProcessor(tokenizer, 512).head_ids[0]]
    assert all(row.ids[:1] == head for row in drills.rows(0, 10, range(20)))
    questions = [
        tokenizer.decode(row.ids).split("[DIALOGUE]")[1].split("[RESPONSE]")[0] for row in drills.rows(0, 10, range(20))
    ]
    assert all(q.count(" ") == 1 and q.endswith("?") for q in questions)
    later = [
        tokenizer.decode(row.ids).split("[DIALOGUE]")[1].split("[RESPONSE]")[0] for row in drills.rows(5, 10, range(20))
    ]
    assert sum(q.count(" ") == 1 for q in later) < 6


# --- training -----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_mean_over_all_rows(work, tokenizer, maker):
    """Against one plain forward for each row, token by token."""
    model = make_model(SHORT.shape, tokenizer, 0)
    training = _Training(model, SHORT.optimiser, maker)
    training.autocast = False
    rows = maker.rows(0, SHORT.optimiser.steps, range(SHORT.optimiser.rows_per_step))
    total = weight = 0.0
    with torch.no_grad():
        for row in rows:
            logprobs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            for k in range(1, len(row.ids)):
                total -= row.weights[k] * logprobs[k - 1, row.ids[k]].item()
                weight += row.weights[k]
    assert training.step(0)["loss"] == pytest.approx(total / weight, rel=1e-4)


def test_every_parameter_is_in_one_optimiser(tokenizer, maker):
    model = make_model(SHORT.shape, tokenizer, 0)
    groups = {n: o.param_groups[0]["params"] for n, o in _Training(model, SHORT.optimiser, maker).optimisers.items()}
    found = [id(p) for group in groups.values() for p in group]
    assert sorted(found) == sorted(map(id, model.parameters())) and len(set(found)) == len(found)
    assert all(p.ndim == 2 for p in groups["muon"]) and id(model.model.embed_tokens.weight) not in map(
        id, groups["muon"]
    )


def test_learning_rate_rises_stays_and_falls():
    settings = OptimiserSettings(steps=100, warmup=0.1, decay=0.2)
    rates = [learning_rate(k, settings) for k in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:80] == [1.0] * 71
    assert (
        rates[90] == pytest.approx(0.5)
        and rates[99] == pytest.approx(0.05)
        and rates == sorted(rates[:10]) + rates[10:]
    )


def test_micro_batches_keep_every_row_within_the_budget():
    draw = random.Random(0)
    rows = [Row([k] * draw.randint(1, 50), []) for k in range(30)] + [Row([99] * 300, [])]
    batches = micro_batches(rows, 200)
    assert sorted(r.ids[0] for b in batches for r in b) == sorted(r.ids[0] for r in rows)
    assert all(len(b) == 1 or len(b) * max(len(r.ids) for r in b) <= 200 for b in batches)
    assert len(batches) < 12
