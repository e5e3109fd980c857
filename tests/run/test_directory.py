"""The run directory: atomic files, one configuration, one process, errors of one line."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from selfsame.errors import ConfigError, RunError
from selfsame.run import directory
from selfsame.run.directory import RunDirectory
from selfsame.run.files import append_jsonl, dotted, read_json, read_jsonl, write_json, write_text
from selfsame.run.settings import RunSettings

CONFIG = {"seed": 0, "training": {"ppo": {"kl_coef": 0.05, "clip": 0.2}}, "run": {"trackers": (), "stages": ("sft",)}}


def one_line(caught: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fail_with(code: int):
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_create_stores_the_config_and_comes_back_to_it(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "a" / "b", CONFIG)
    assert yaml.safe_load(run.config_path.read_text()) == run.config() == json.loads(json.dumps(CONFIG))
    before = run.config_path.stat().st_mtime_ns
    RunDirectory.create(run.path, CONFIG)
    assert run.config_path.stat().st_mtime_ns == before
    assert {entry.name for entry in run.path.iterdir()} == {".lock", "config.yaml"}  # no temporary file stays


def test_another_config_is_refused_and_the_keys_are_named(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).checkpoints("sft").mkdir(parents=True)
    other = {"seed": 0, "training": {"ppo": {"kl_coef": 0.1, "clip": 0.2}}, "run": {"trackers": (), "stages": ("sft",)}}
    with pytest.raises(RunError, match=r"training\.ppo\.kl_coef: stored 0\.05, now 0\.1") as caught:
        RunDirectory.create(tmp_path / "run", other | {"extra": 1})
    message = one_line(caught)
    assert "extra: stored None, now 1" in message and "--run.directory" in message
    assert "seed" not in message and "clip" not in message


def test_keys_that_are_free_may_change_and_are_stored(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).checkpoints("sft").mkdir(parents=True)
    other = CONFIG | {"run": {"trackers": ("wandb",), "stages": ("sft",)}}
    with pytest.raises(RunError, match=r"run\.trackers"):
        RunDirectory.create(tmp_path / "run", other)
    assert RunDirectory.create(tmp_path / "run", other, free=("run.trackers",)).config()["run"]["trackers"] == ["wandb"]


def test_a_mistyped_setting_can_be_put_right_while_nothing_was_made(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG | {"seed": 7})
    run.data_path.write_text("{}")
    assert RunDirectory.create(tmp_path / "run", CONFIG).config()["seed"] == CONFIG["seed"]
    assert not run.data_path.exists()


def test_a_second_start_takes_nothing_from_the_first(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    with run.lock():
        run.data_path.write_text("{}")
        run.write_environment("float32")
        with pytest.raises(RunError, match="is in use by process"):
            RunDirectory.create(tmp_path / "run", CONFIG | {"seed": 1})
        assert run.data_path.exists() and run.environment() and run.config() == json.loads(json.dumps(CONFIG))


def test_half_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    (run.path / "eval").mkdir()
    for left in (".cost.json.7.tmp", "eval/.sft.json.7.tmp"):
        (run.path / left).touch()
    with run.lock():
        assert sorted(path.name for path in run.path.rglob("*")) == [".lock", "config.yaml", "eval"]


def test_a_sealed_record_shows_every_changed_bit(tmp_path: Path) -> None:
    path, record = tmp_path / "reward.json", {"pairs": 3, "metrics": {"a": 0.1 + 0.2, "b": math.nan}, "text": "ü\ud83d"}
    write_json(path, record, sealed=True)
    whole = path.read_bytes()
    expected = {"pairs": 3, "metrics": {"a": 0.1 + 0.2, "b": None}, "text": "ü\ud83d"}
    assert read_json(path) == expected
    for bit in range(8 * whole.index(b',\n  "sha256')):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert read_json(path) == expected
        except RunError as error:
            assert "is damaged" in str(error) and "delete it" in str(error)
    write_json(path, {"pairs": 4})
    assert read_json(path) == {"pairs": 4}


def test_a_path_that_cannot_be_a_run(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="is a file") as caught:
        RunDirectory.create(file, CONFIG)
    one_line(caught)
    (tmp_path / "letters.txt").touch()
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        RunDirectory.create(tmp_path, CONFIG)
    with pytest.raises(RunError, match="cannot write"):
        RunDirectory.create(file / "below", CONFIG)
    with pytest.raises(RunError, match="is not a run directory"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("damage", ["a: [1", "- 1\n- 2\n", "\0"])
def test_a_damaged_config_is_one_line(tmp_path: Path, damage: str) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    run.config_path.write_text(damage)
    with pytest.raises(RunError, match=r"config\.yaml") as caught:
        RunDirectory.create(run.path, CONFIG)
    one_line(caught)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_is_found_before_the_run_starts(tmp_path: Path, monkeypatch, code: int) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG)
    monkeypatch.setattr(Path, "touch", fail_with(code))
    with pytest.raises(RunError, match=r"cannot write .*choose a folder you may write to") as caught:
        RunDirectory.create(tmp_path / "run", CONFIG)
    one_line(caught)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "says"), [(errno.ENOSPC, "disk full"), (errno.EACCES, "cannot write"), (errno.EIO, "check")]
)
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch, call: str, code: int, says: str) -> None:
    path = tmp_path / "cost.json"
    write_json(path, {"old": 1})
    with monkeypatch.context() as broken:
        broken.setattr(directory.os, call, fail_with(code))
        with pytest.raises(RunError, match=says) as caught:
            write_json(path, {"new": 2})
    assert str(path) in one_line(caught)
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["cost.json"]


def test_appending_to_a_full_disk_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("builtins.open", fail_with(errno.ENOSPC))
    with pytest.raises(RunError, match="disk full"):
        append_jsonl(tmp_path / "metrics.jsonl", {"step": 1})


def test_json_has_null_for_what_is_not_finite_and_plain_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(
        path, {"a": math.nan, "b": (1, math.inf), "c": np.float32(0.5), "d": torch.tensor([1.5, math.nan]), 3: path}
    )
    assert read_json(path) == {"a": None, "b": [1, None], "c": 0.5, "d": [1.5, None], "3": str(path)}


def test_any_text_survives_json_and_jsonl(tmp_path: Path) -> None:
    text = 'line\u2028separator \x85 \ud83d lone, emoji 🐕, quote ", newline \n'
    write_json(tmp_path / "x.json", {"text": text})
    assert read_json(tmp_path / "x.json") == {"text": text}
    append_jsonl(tmp_path / "x.jsonl", {"text": text})
    append_jsonl(tmp_path / "x.jsonl", {"text": "next"})
    assert read_jsonl(tmp_path / "x.jsonl") == ([{"text": text}, {"text": "next"}], 0)


def test_a_half_line_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    append_jsonl(path, {"step": 3})
    assert read_jsonl(path) == ([{"step": 1}, {"step": 3}], 1)


def test_missing_and_damaged_json_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        read_json(tmp_path / "x.json")
    for content in (b'{"a": 1', b"\xff\xfe", b""):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(RunError, match="is damaged") as caught:
            read_json(tmp_path / "x.json")
        one_line(caught)
    assert read_jsonl(tmp_path / "none.jsonl") == ([], 0)


def test_killed_while_writing_leaves_one_of_the_versions_whole(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    write_json(path, ["start"])
    code = f"""
from pathlib import Path
from selfsame.run.files import write_json
number = 0
while True:
    number += 1
    write_json(Path({str(path)!r}), [number] * 50_000)
    print("written", flush=True)
"""
    for delay in (0.11, 0.17, 0.23):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None and child.stdout.readline() == "written\n"
            time.sleep(delay)
            child.kill()
        numbers = read_json(path)
        assert len(numbers) == 50_000 and len(set(numbers)) == 1


def test_only_one_process_trains_in_a_directory(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    code = f"""
import sys
from selfsame.run.directory import RunDirectory
with RunDirectory({str(run.path)!r}).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"in use by process {child.pid}") as caught, run.lock():
            pass
        one_line(caught)
        child.kill()
    with run.lock(), pytest.raises(RunError, match=f"in use by process {os.getpid()}"), run.lock():
        pass  # the killed process left no lock behind, and the second lock here was refused
    with run.lock():
        pass


def test_environment_is_written_once_and_holds_no_paths(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    assert run.write_environment("bfloat16") is None
    first = run.environment_path.read_text()
    content = json.loads(first)
    assert content["versions"]["torch"] == torch.__version__ and content["dtype"] == "bfloat16"
    assert run.write_environment("float32") == "bfloat16" and run.environment_path.read_text() == first
    assert content["cores"] >= 1 and content["memory_bytes"] > 1e8 and content["python"].count(".") == 2
    assert len(content["gpus"]) == torch.cuda.device_count()
    assert str(Path.cwd()) not in first and str(Path.home()) + "/" not in first
    run.environment_path.write_text("{}")
    assert run.write_environment("float32") is None  # of an earlier version: not known
    assert run.environment_path.read_text() == "{}"
    run.environment_path.write_text("{")
    assert run.write_environment("float32") is None and run.environment() == {}
    RunDirectory.create(run.path, CONFIG | {"seed": 7})  # nothing was made yet: begun anew, maybe on another machine
    assert not run.environment_path.exists()


def test_git_state_is_that_of_the_code(tmp_path: Path, monkeypatch) -> None:
    from selfsame.run import environment

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    module = tmp_path / "code.py"
    module.write_text("a = 1\n")
    monkeypatch.setattr(environment, "__file__", str(module))
    git("init")
    assert environment._git_state() is None  # not a tracked file: an installed package inside somebody's repository
    git("add", "code.py")
    git("commit", "-m", "first")
    state = environment._git_state()
    assert state is not None and len(state["commit"]) == 40 and state["dirty"] is False
    module.write_text("a = 2\n")
    assert (environment._git_state() or {})["dirty"] is True


def test_paths_and_dotted_keys(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.eval_path("sft") == tmp_path / "eval" / "sft.json"
    assert run.checkpoints("ppo") == tmp_path / "checkpoints" / "ppo"
    assert dotted({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}


def test_write_text_makes_the_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "eval" / "x.txt", "text")
    assert (tmp_path / "eval" / "x.txt").read_text() == "text"


def test_settings_have_ranges_and_import_nothing_heavy() -> None:
    assert RunSettings().stages == ("sft", "reward", "ppo", "evaluate")
    for wrong in ({"keep": 0}, {"save_every": 0}, {"stages": ()}, {"stages": ("fly",)}, {"trackers": ("x",)},
                  {"gpu_hourly_rate": -1}, {"samples_every": 0}, {"unknown": 1}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RunSettings(**wrong)
    assert all(field.description for field in RunSettings.model_fields.values())
    code = "import sys; import selfsame.run.settings; sys.exit('torch' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
