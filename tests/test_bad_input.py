"""Whatever a user does wrong gives one clear line on stderr and exit code 2, and nothing is lost or half-written."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import ROWS, Command, make, snapshot, tiny_run
from conftest import CHATML, make_tokenizer
from selfsame.cli import main
from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import MARKERS
from selfsame.errors import DataError


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models: Any) -> Command:
    return Command(capsys, tiny_models())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, tiny_models: Any) -> Path:
    """A run whose SFT is finished."""
    directory = tmp_path_factory.mktemp("runs") / "tuned"
    assert main(tiny_run("sft", tiny_models(), directory)) == 0
    return directory


# --- words on the command line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("rum", "unknown command 'rum' - did you mean run?"),
        ("--hepl", "unknown command '--hepl'"),
        ("run --preset gpu", "unknown preset 'gpu': choose character, cluster, cpu"),
        ("run --preset", "--preset needs a value"),
        ("run --config /none.yaml", "cannot read the configuration file /none.yaml"),
        (
            "run --training.ppo.klcoef 1",
            "unknown option '--training.ppo.klcoef' - did you mean --training.ppo.kl-coef?",
        ),
        ("run sft", "unknown option 'sft'"),
        ("run --seed", "--seed needs a value"),
        (
            "run --run.stages sft pop",
            "run.stages.1: Input should be 'data', 'sft', 'reward', 'ppo', 'dpo' or 'evaluate'",
        ),
        ("run --run.stages", "run.stages: Tuple should have at least 1 item"),
        ("run --training.ppo.clip 7", "training.ppo.clip: Input should be less than 1 (got '7')"),
        ("ppo --training.ppo.steps -3", "training.ppo.steps: Input should be greater than or equal to 1 (got '-3')"),
        ("run --training.sft.learning-rate nan", "training.sft.learning_rate: Input should be a finite number"),
        ("dpo --training.dpo.beta 1e999", "training.dpo.beta: Input should be a finite number"),
        ("run --training.ppo.samples-per-prompt 99999999999", "Input should be less than 2147483648"),
        ("run --model.lora.targets q --model.lora.rank x", "model.lora.rank: Input should be a valid integer"),
        ("run --data.path=", "data.path: String should have at least 1 character"),
        ("run --training.ppo.max-new-tokens 512", "training.ppo.max_new_tokens is 512, but prompt and reply together"),
        ("evaluate", "required: RUN_OR_MODEL; see selfsame evaluate --help"),
        ("evaluate x --nix", "unrecognized arguments: --nix"),
        ("evaluate x --json /none/out.json", "the folder /none does not exist"),
        ("evaluate x --json /", "/ is not a file"),
        ("evaluate x --seed -1", "argument --seed: '-1' is not a number from 0"),
        ("evaluate /none", "model.base: there is no folder '/none'"),
        ("evaluate nobody/nothing", "cannot load the model 'nobody/nothing'"),
        ("evaluate x --system ppo", "x is not a run: leave out the system 'ppo'"),
        ("report", "required: RUN"),
        ("report /none", "/none is not a run directory (no config.yaml)"),
        ("chat --persona x", "required: --model"),
        ("chat --model x", "x was not made for one character: give --persona 'I ...' or --card FILE"),
        ("chat --model x --persona", "--persona: expected at least one argument"),
        ("chat --model x --persona ", "the persona is empty"),
        ("chat --model x --persona a --card b", "--card: not allowed with argument --persona"),
        ("chat --model x --persona a --temperature nan", "--temperature is nan: give a number from 0 to 10"),
        ("chat --model x --persona a --temperature -1", "--temperature is -1.0"),
        ("chat --model x --persona a --seed 1.5", "argument --seed: '1.5' is not a number"),
        ("chat --model x --persona a --best-of 0", "--best-of is 0: give 1 or more"),
        ("chat --model x --persona a --max-new-tokens 0", "--max-new-tokens is 0: give 1 or more"),
        ("chat --model x --card /none.json", "/none.json: no such file; give a character card"),
        ("data show", "needs --data.path FILE"),
        ("data shwo --data.path demo", "invalid choice: 'shwo'"),
        ("data show --data.path /none", "/none: no such file or folder"),
        ("data show --data.path demo --count -1", "argument --count: '-1' is not a number from 0"),
        ("data show --data.path demo --data.format xml", "--data.format: invalid choice: 'xml'"),
        ("data convert --data.path demo", "data convert needs --out FILE"),
        ("data convert --data.path demo --out /none/a.jsonl", "the folder /none does not exist"),
    ],
)
def test_a_wrong_word_is_one_line(selfsame, monkeypatch, tmp_path, arguments, part):
    monkeypatch.chdir(tmp_path)
    answer = selfsame(*arguments.split(" "))
    assert answer.code == 2
    assert part in answer.told
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate x --json pipe", "data convert --data.path demo --out pipe"])
def test_what_is_no_file_is_not_replaced_by_one(selfsame, monkeypatch, tmp_path, command):
    """A new file is given its name at the end, which would do away with a device such as /dev/full."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    answer = selfsame(*command.split())
    assert answer.code == 2
    assert "pipe is not a file" in answer.told
    assert (tmp_path / "pipe").is_fifo()


# --- data


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("binary.jsonl", bytes(range(256)), "is binary"),
        ("cut.jsonl.xz", lzma.compress(ROWS)[:-9], "cannot be unpacked, damaged or cut short"),
        ("cut.jsonl.gz", gzip.compress(ROWS, mtime=0)[:-9], "cannot be unpacked, damaged or cut short"),
        ("latin.jsonl", ROWS + b"{\x81}", "is not UTF-8 at byte offset"),
        ("wide.csv", "persona,dialogue\n".encode("utf-16"), "no usable dialogue in 0 rows"),
        ("columns.csv", b"price,size\na,b\n", "its fields are 'price', 'size'"),
        (
            "other.jsonl",
            b'{"question": "a", "answer": "b"}\n' * 5,
            "no usable dialogue in 5 rows (line 1 and 4 more: nei",
        ),
        ("list.json", b'[{"persona": []}]', "line 1: has no turns that can be read"),
        (None, None, "no such file or folder"),
    ],
)
@pytest.mark.parametrize("command", ["run", "convert"])
def test_a_wrong_data_file_is_one_line(selfsame, tmp_path, command, name, content, part):
    path = make(tmp_path, name, content) if name else tmp_path / "none.jsonl"
    out = tmp_path / "out.jsonl"
    if command == "convert":
        answer = selfsame("data", "convert", "--data.path", path, "--out", out)
    else:
        answer = selfsame.tiny("run", tmp_path / "run", "--data.path", path)
    assert answer.code == 2
    assert str(path) in answer.told
    assert part in answer.told
    assert not out.exists()
    assert not (tmp_path / "run").exists()
    assert content is None or path.read_bytes() == content


def test_a_data_set_that_leaves_nothing_to_evaluate_on(selfsame, tuned, tmp_path):
    one = make(tmp_path, "one.jsonl", ROWS.split(b"\n")[0])
    before = snapshot(tuned)
    answer = selfsame("evaluate", tuned, "--data.path", one)
    assert answer.code == 2
    assert f"{one} leaves nothing held out to evaluate on" in answer.told
    assert snapshot(tuned) == before


def test_a_refused_run_leaves_no_folder_and_takes_none_away(selfsame, tuned, tmp_path):
    """Of one that made something everything stays, and so does a folder that was there before."""
    one = make(tmp_path, "one.jsonl", '{"user1_persona": [], "user2_persona": [], "turns": [[1, "Hm?"], [2, "Hm."]]}')
    answer = selfsame.tiny("run", tmp_path / "new" / "runs" / "one", "--data.path", one)
    assert f"{one}: no usable dialogue in 1 rows" in answer.told
    assert "is not finished: run it first" in selfsame.tiny("dpo", tmp_path / "new" / "dpo").told
    assert [path.name for path in tmp_path.iterdir()] == ["one.jsonl"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".notes").write_text("mine")
    (tmp_path / "runs").mkdir()
    for folder in (tmp_path / "mine", tmp_path / "runs" / "one"):
        assert selfsame.tiny("run", folder, "--data.path", one).code == 2
    assert (tmp_path / "mine" / ".notes").read_text() == "mine" and list((tmp_path / "runs").iterdir()) == []
    before = snapshot(tuned)
    assert selfsame.tiny("sft", tuned, "--data.path", one).code == 2
    assert snapshot(tuned) == before


def test_a_file_is_not_converted_onto_itself(selfsame, tmp_path):
    """The rows that cannot be used would be lost."""
    path = make(tmp_path, "a.jsonl", ROWS + b"not a row\n")
    answer = selfsame("data", "convert", "--data.path", path, "--out", tmp_path / "." / "a.jsonl")
    assert answer.code == 2
    assert "is the file to convert" in answer.told
    assert path.read_bytes() == ROWS + b"not a row\n"


@pytest.mark.parametrize(
    ("persona", "reply"), [("I like words. " * 100, "Hello."), ("I like words.", "Hello, words. " * 100)]
)
def test_a_persona_or_a_reply_longer_than_the_context(selfsame, tmp_path, persona, reply):
    """Where there are others too, it is left out; told before anything is trained."""
    row = {"user1_persona": [persona], "user2_persona": [persona]}
    rows = [row | {"turns": [[1, f"{k} {reply}"], [2, f"{reply} {k}"]]} for k in range(8)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = make(tmp_path, "a.jsonl", text)
    answer = selfsame.tiny("sft", tmp_path / "run", "--data.path", path, "--data.clean", "false")
    assert answer.code == 2
    assert f"no side of {path} fits into the context: a-00001/1 (" in answer.told
    assert not (tmp_path / "run").exists()
    assert int(re.findall(r"--model.max-length (\d+) holds them all", answer.told)[0]) > 512
    both = make(tmp_path, "b.jsonl", text.encode() + ROWS)
    answer = selfsame.tiny("sft", tmp_path / "both", "--data.path", both, "--data.clean", "false")
    assert answer.code == 0
    assert re.search(r"left out, 16 sides: \S+ \(\d+ tokens of persona\), .* and 13 more\.", answer.err)


def test_a_persona_that_leaves_no_room_in_chat(selfsame, tuned):
    answer = selfsame("chat", "--model", tuned, "--persona", "I like words. " * 100)
    assert answer.code == 2
    assert "leaves no room for a dialogue" in answer.told
    assert answer.out == ""


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_prompt_of_nothing_but_control_markers(template):
    processor = DataProcessor(make_tokenizer(template))
    form = processor.format
    for history in ([], [form.answer, form.next]):
        text = form.space.join([form.head, form.opening, *history, form.answer])
        with pytest.raises(DataError, match="nothing but control markers"):
            processor.parse_prompt(text)
    with pytest.raises(DataError, match="not a prompt"):
        processor.parse_prompt(" ".join(MARKERS[::-1]))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is not JSON"),
        (b"Name: Mika", "is not JSON"),
        (b'{"name": "Mika", ', "is not JSON"),
        (b"[1, 2]", "not a character card"),
        (b"{}", "the card has no name"),
        (b'{"name": "Mika"}', "has neither a description nor a personality"),
        (b"\x89PNG\r\n", "the picture is damaged"),
        (b"\xff\xfe{}", "is not JSON"),
    ],
)
def test_a_wrong_card_is_one_line(selfsame, tmp_path, content, part):
    answer = selfsame("chat", "--model", "never-loaded", "--card", make(tmp_path, "card.json", content))
    assert answer.code == 2
    assert part in answer.told


# --- models, runs and checkpoints


def test_a_folder_that_is_no_model_and_no_run(selfsame, tmp_path):
    make(tmp_path, "notes.txt", "hello")
    for answer in (
        selfsame("evaluate", tmp_path),
        selfsame("chat", "--model", tmp_path, "--persona", "I sing."),
        selfsame("run", "--model.base", tmp_path, "--run.directory", tmp_path / "run"),
    ):
        assert answer.code == 2
        assert f"the folder {tmp_path} holds no usable causal language model" in answer.told
    answer = selfsame("report", tmp_path)
    assert answer.code == 2
    assert f"{tmp_path} is not a run directory" in answer.told


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--model.max-length", "9999", "model.max_length is 9999, but"),
        ("--model.lora.rank", "500", "model.lora.rank is 500, more than the model's hidden size"),
    ],
)
def test_settings_that_the_model_cannot_have(selfsame, tmp_path, option, value, part):
    answer = selfsame.tiny("run", tmp_path / "run", option, value)
    assert answer.code == 2
    assert part in answer.told
    assert not (tmp_path / "run").exists()


def test_a_system_that_is_not_there(selfsame, tuned):
    assert "has no finished stage ppo" in selfsame("evaluate", tuned, "--system", "ppo").told
    assert "unknown system 'best': choose base, sft, ppo, dpo" in selfsame("evaluate", tuned, "--system", "best").told


@pytest.mark.parametrize(
    "harm", ["complete.json", "state.json", "sft/adapter_model.safetensors", "cut sft/adapter_model.safetensors"]
)
def test_an_incomplete_checkpoint_does_not_count(selfsame, tuned, tmp_path, harm):
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    (checkpoint,) = (run / "checkpoints" / "sft").iterdir()
    file = checkpoint / harm.removeprefix("cut ")
    if harm.startswith("cut"):
        file.write_bytes(file.read_bytes()[:-10])
    else:
        file.unlink()
    before = snapshot(run, ("timing.json", "cost.json"))
    answer = selfsame.tiny("reward", run)
    assert answer.code == 2
    assert f"the stage sft of {run} is not finished" in answer.told
    assert "has no finished stage sft" in selfsame("evaluate", run, "--system", "sft").told
    after = snapshot(run, ("timing.json", "cost.json"))
    assert {name: after[name] for name in before if "checkpoints" in name} == {
        name: before[name] for name in before if "checkpoints" in name
    }
    assert selfsame.tiny("sft", run).code == 0  # it is made again


def test_a_checkpoint_of_another_model(selfsame, tuned, tmp_path, tiny_models):
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(selfsame.model), str(tiny_models("gpt2"))))
    for command in (["chat", "--model", run, "--persona", "I sing."], ["evaluate", run]):
        answer = selfsame(*command)
        assert answer.code == 2
        assert "the saved role 'sft' is from another model or other adapter settings" in answer.told
    answer = selfsame.tiny("sft", tuned, "--model.base", tiny_models("gpt2"))
    assert answer.code == 2
    assert f"model.base: stored {str(selfsame.model)!r}, now {str(tiny_models('gpt2'))!r}" in answer.told


def test_a_damaged_configuration_of_a_run(selfsame, tuned, tmp_path):
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    for content, in_chat, in_training in (
        ("seed: [", "config.yaml is not YAML", "config.yaml cannot be read"),
        ("seed: x\n", "seed: Input should be a valid integer", "seed: stored 'x', now 0"),
        ("a: 1\n", "unknown setting a", "a: stored 1, now None"),
    ):
        (run / "config.yaml").write_text(content)
        assert in_chat in selfsame("chat", "--model", run, "--persona", "I sing.").told
        answer = selfsame.tiny("sft", run)
        assert answer.code == 2
        assert in_training in answer.told
        assert (run / "config.yaml").read_text() == content
