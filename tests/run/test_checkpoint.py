"""Checkpoints are there completely or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from selfsame.errors import ConfigError, RunError
from selfsame.run import checkpoint
from selfsame.run.checkpoint import CheckpointManager, is_complete


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(8, 4, generator=generator)
    return {
        "policy": {"a": weight, "transposed": weight.T, "half": weight.to(torch.bfloat16), "count": torch.tensor(step)},
        "rng": {"cpu": generator.get_state()},
    }


def same(one: dict[str, dict[str, torch.Tensor]], other: dict[str, dict[str, torch.Tensor]]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].keys() == other[name].keys()
        and all(
            torch.equal(one[name][key], other[name][key]) and one[name][key].dtype == other[name][key].dtype
            for key in one[name]
        )
        for name in one
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_is_exact(tmp_path: Path) -> None:
    state = {
        "lr": 0.1 + 0.2,
        "big": 2**80,
        "worst": math.inf,
        "loss": math.nan,
        "text": "ü\u2028",
        "nested": {"a": [1]},
    }
    path = CheckpointManager(tmp_path / "sft").save(50, tensors(50), state)
    assert path == tmp_path / "sft" / "step-000050"
    loaded = CheckpointManager(tmp_path / "sft").load()
    assert loaded.step == 50 and loaded.path == path and same(loaded.tensors, tensors(50))
    assert math.isnan(loaded.state.pop("loss")) and math.isnan(state.pop("loss")) and loaded.state == state


def test_writers_add_files_and_folders_that_are_checked_too(tmp_path: Path) -> None:
    def write_adapter(folder: Path) -> None:
        (folder / "policy").mkdir()
        (folder / "policy" / "adapter_config.json").write_text("{}")

    manager = CheckpointManager(tmp_path)
    path = manager.save(1, tensors(1), {}, writers=[write_adapter])
    assert same(manager.load().tensors, tensors(1))  # the writer's files are not taken for tensors
    (path / "policy" / "adapter_config.json").write_text("[]")
    with pytest.raises(RunError, match=r"adapter_config\.json is damaged"):
        manager.load()


def test_no_pickle_is_written(tmp_path: Path) -> None:
    path = CheckpointManager(tmp_path).save(1, tensors(1), {})
    assert names(path) == ["complete.json", "policy.safetensors", "rng.safetensors", "state.json"]


def test_old_ones_are_pruned_and_the_newest_never(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, keep=2)
    (tmp_path / ".tmp-step-000009-1").mkdir(parents=True)
    for step in (10, 20, 30):
        manager.save(step, tensors(step), {})
    assert names(tmp_path) == ["step-000020", "step-000030"]
    CheckpointManager(tmp_path, keep=1).save(40, tensors(40), {})
    assert names(tmp_path) == ["step-000040"]
    with pytest.raises(ConfigError, match="at least 1"):
        CheckpointManager(tmp_path, keep=0)


def test_the_order_is_that_of_the_steps_not_of_the_names(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, keep=5)
    for step in (999_999, 1_000_000, 5):
        manager.save(step, {}, {})
    assert manager.load().step == 1_000_000


@pytest.mark.parametrize("harm", ["no marker", "damaged marker", "cut file", "missing file", "empty folder"])
def test_an_incomplete_one_is_passed_over(tmp_path: Path, harm: str) -> None:
    manager = CheckpointManager(tmp_path, keep=3)
    manager.save(10, tensors(10), {})
    newest = manager.save(20, tensors(20), {})
    if harm == "no marker":
        (newest / "complete.json").unlink()
    elif harm == "damaged marker":
        (newest / "complete.json").write_text('{"step": 20, "fil')
    elif harm == "cut file":
        with (newest / "policy.safetensors").open("rb+") as file:
            file.truncate(40)
    elif harm == "missing file":
        (newest / "rng.safetensors").unlink()
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    assert manager.load().step == 10
    with pytest.raises(RunError, match="not a complete checkpoint"):
        manager.load(newest)
    manager.save(20, tensors(21), {})  # writing it again puts it right
    assert same(manager.load().tensors, tensors(21))


def test_one_changed_bit_is_found_and_the_remedy_works(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(10, tensors(10), {})
    newest = manager.save(20, tensors(20), {})
    content = bytearray((newest / "policy.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "policy.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"step-000020.policy\.safetensors is damaged.*delete the folder") as caught:
        manager.load()
    assert "\n" not in str(caught.value)
    shutil.rmtree(newest)
    assert manager.load().step == 10


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "none")
    assert manager.latest() is None and manager.complete() == []
    with pytest.raises(RunError, match="no complete checkpoint"):
        manager.load()


def failing_after(count: int, code: int, original):
    """`original`, which fails at call number `count`."""
    calls = [0]

    def call(*args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == count:
            raise OSError(code, os.strerror(code))
        return original(*args, **options)

    return call


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("where", ["fsync", "save_file", "write_text", "replace", "mkdir"])
def test_a_full_disk_at_any_moment_keeps_the_older_one(tmp_path: Path, monkeypatch, where: str, count: int) -> None:
    manager = CheckpointManager(tmp_path, keep=1)
    manager.save(10, tensors(10), {"step": 10})
    owners = {"fsync": checkpoint.os, "replace": checkpoint.os, "save_file": checkpoint.safetensors.torch}
    owner = owners.get(where, Path)
    with monkeypatch.context() as broken:
        broken.setattr(owner, where, failing_after(count, errno.ENOSPC, getattr(owner, where)))
        try:
            manager.save(20, tensors(20), {"step": 20})
            failed = False
        except RunError as error:
            failed = True
            assert "disk full" in str(error) and "\n" not in str(error)
    assert failed or count > 1
    loaded = manager.load()
    assert loaded.step in ((10, 20) if failed else (20,)) and same(loaded.tensors, tensors(loaded.step))
    assert not list(tmp_path.glob(".tmp-*"))  # the half one does not keep the disk full
    manager.save(30, tensors(30), {})
    assert manager.load().step == 30


def test_a_full_disk_in_a_writer_of_safetensors_is_understood(tmp_path: Path) -> None:
    def write(_folder: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(RunError, match="disk full"):
        CheckpointManager(tmp_path).save(1, {}, {}, writers=[write])
    with pytest.raises(ZeroDivisionError):  # a bug stays a bug
        CheckpointManager(tmp_path).save(1, {}, {}, writers=[lambda folder: 1 / 0])
    assert names(tmp_path) == []


@pytest.mark.parametrize("count", [1, 2])
def test_replacing_a_step_never_loses_it(tmp_path: Path, monkeypatch, count: int) -> None:
    manager = CheckpointManager(tmp_path, keep=1)
    manager.save(10, tensors(1), {})
    with monkeypatch.context() as broken:
        broken.setattr(checkpoint.os, "replace", failing_after(count, errno.EIO, os.replace))
        with pytest.raises(RunError):
            manager.save(10, tensors(2), {})
    assert manager.load().step == 10 and same(manager.load().tensors, tensors(1))
    manager.save(10, tensors(2), {})
    assert same(manager.load().tensors, tensors(2)) and names(tmp_path) == ["step-000010"]


def test_every_file_is_synced_before_the_folder_gets_its_name(tmp_path: Path, monkeypatch) -> None:
    events: list[str] = []

    def fsync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def replace(source: Path, target: Path) -> None:
        events.append(f"rename {target.name}")
        source.rename(target)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    monkeypatch.setattr(checkpoint.os, "replace", replace)
    CheckpointManager(tmp_path).save(7, tensors(7), {})
    named = events.index("rename step-000007")
    assert set(events[: named - 2]) == {"policy.safetensors", "rng.safetensors", "state.json"}
    assert events[named - 2] == "complete.json" and events[named - 1].startswith(".tmp-")
    assert events[named + 1 :] == [tmp_path.name]


def test_killed_in_the_middle_of_saving(tmp_path: Path) -> None:
    code = f"""
import torch
from selfsame.run.checkpoint import CheckpointManager
manager = CheckpointManager({str(tmp_path)!r}, keep=1)
step = (manager.load().step if manager.latest() else 0)
while True:
    step += 1
    manager.save(step, {{"policy": {{"w": torch.full((300_000,), float(step))}}}}, {{"step": step}})
    print("saved", flush=True)
"""
    manager, reached = CheckpointManager(tmp_path, keep=1), 0
    for delay in (0.23, 0.31, 0.37):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None and child.stdout.readline() == "saved\n"
            time.sleep(delay)
            child.kill()
        loaded = manager.load()
        assert loaded.step > reached and loaded.state == {"step": loaded.step}
        assert torch.equal(loaded.tensors["policy"]["w"], torch.full((300_000,), float(loaded.step)))
        reached = loaded.step
    manager.save(reached + 1, {}, {})
    assert names(tmp_path) == [f"step-{reached + 1:06d}"]  # whatever the killed ones left is gone


def test_marker_says_what_it_promises(tmp_path: Path) -> None:
    path = CheckpointManager(tmp_path).save(3, tensors(3), {})
    marker = json.loads((path / "complete.json").read_text())
    assert marker["step"] == 3 and set(marker["files"]) == {"policy.safetensors", "rng.safetensors", "state.json"}
    assert all(entry["bytes"] == (path / name).stat().st_size for name, entry in marker["files"].items())
    assert is_complete(path) and not is_complete(tmp_path)


def test_no_changed_bit_of_the_marker_changes_what_is_loaded(tmp_path: Path) -> None:
    """It has no hash of its own; found by `make chaos`, as are the next three."""
    path = CheckpointManager(tmp_path).save(4, {"a": {"w": torch.ones(1)}}, {"done": True})
    whole, refused = (path / "complete.json").read_bytes(), 0
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        (path / "complete.json").write_bytes(content)
        try:
            loaded = CheckpointManager(tmp_path).load()
        except RunError:
            refused += 1
            continue
        assert (
            loaded.step == 4 and loaded.state == {"done": True} and torch.equal(loaded.tensors["a"]["w"], torch.ones(1))
        )
    assert refused > 6 * len(whole)


def test_a_full_disk_in_a_writer_of_tokenizers_is_understood(tmp_path: Path) -> None:
    def write(_folder: Path) -> None:
        raise Exception("No space left on device (os error 28)")

    with pytest.raises(RunError, match="disk full"):
        CheckpointManager(tmp_path).save(1, {}, {}, writers=[write])


def test_an_old_one_that_is_half_deleted_has_no_name(tmp_path: Path, monkeypatch) -> None:
    manager = CheckpointManager(tmp_path, keep=1)
    manager.save(10, tensors(10), {})
    with monkeypatch.context() as killed:
        killed.setattr(
            checkpoint.shutil, "rmtree", lambda path, **_: (Path(path) / "state.json").unlink(missing_ok=True)
        )
        manager.save(20, tensors(20), {})
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000020"]
    manager.tidy()
    assert names(tmp_path) == ["step-000020"]


def test_what_killed_saves_left_is_removed_and_the_only_copy_of_a_step_is_not(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    newest = manager.save(10, tensors(10), {})
    for left in (".tmp-step-000020-1", ".old-step-000005", ".replaced-step-000010"):
        shutil.copytree(newest, tmp_path / left)
    manager.tidy()
    assert names(tmp_path) == ["step-000010"]
    newest.rename(tmp_path / ".replaced-step-000010")
    manager.tidy()
    assert names(tmp_path) == [".replaced-step-000010"] and manager.load().step == 10
