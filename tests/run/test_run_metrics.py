"""Time, cost and memory: measured, added up over a resume, and unknown where they are unknown."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from selfsame.run import metrics
from selfsame.run.metrics import MetricsTracker, estimate_gpus, savings_between


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(seconds: float, gpus: int, clock: Clock | None = None) -> MetricsTracker:
    clock = clock or Clock()
    tracker = MetricsTracker(gpu_hourly_rate=0.35, storage_cost_per_gb=0.10, clock=clock, gpus=gpus)
    with tracker.timing("sft"):
        clock.now += seconds
    return tracker


def test_timings_of_a_name_add_up_and_parts_do_not_count_twice() -> None:
    clock = Clock()
    tracker = MetricsTracker(clock=clock, gpus=2)
    for seconds in (2.0, 3.0):
        tracker.start_timing("ppo")
        with tracker.timing("ppo/rollout"):
            clock.now += seconds
        assert tracker.stop_timing("ppo") == seconds
    bill = tracker.track_cost()
    assert bill["seconds"] == {"ppo/rollout": 5.0, "ppo": 5.0} and bill["total_seconds"] == 5.0
    assert bill["gpu_seconds"] == 10.0


def test_a_block_that_fails_is_timed_all_the_same() -> None:
    clock = Clock()
    tracker = MetricsTracker(clock=clock, gpus=0)
    with pytest.raises(KeyError), tracker.timing("sft"):
        clock.now += 4
        raise KeyError
    assert tracker.seconds == {"sft": 4.0}


def test_wrong_use_is_named() -> None:
    tracker = MetricsTracker(gpus=0)
    with pytest.raises(ValueError, match="'sft' was not started"):
        tracker.stop_timing("sft")
    tracker.start_timing("sft")
    with pytest.raises(ValueError, match="'sft' runs already"):
        tracker.start_timing("sft")


def test_cost_on_gpus_by_hand(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").write_bytes(b"x" * 3_000_000)
    bill = measured(7200, gpus=2).track_cost(tmp_path)
    assert bill["gpu_cost"] == pytest.approx(2 * 2 * 0.35)  # two hours on two GPUs
    assert bill["storage_bytes"] == 3_000_000 and bill["storage_cost"] == pytest.approx(0.0003)
    assert bill["total_cost"] == pytest.approx(1.4003) and bill["notes"] == []


def test_cost_on_a_cpu_is_unknown_not_zero(tmp_path: Path) -> None:
    bill = measured(3600, gpus=0).track_cost(tmp_path)
    assert bill["gpu_cost"] is None and bill["total_cost"] is None and bill["storage_cost"] == 0
    assert "CPU" in bill["notes"][0]
    json.dumps(bill, allow_nan=False)


def test_unmeasured_storage_is_unknown_not_zero() -> None:
    bill = measured(3600, gpus=1).track_cost()
    assert bill["gpu_cost"] == pytest.approx(0.35) and bill["storage_cost"] is None and bill["total_cost"] is None


def test_peak_memory_is_that_of_the_process() -> None:
    peak = MetricsTracker(gpus=0).track_cost()["peak_memory_bytes"]
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 50_000_000 < peak <= 1.05 * now  # Linux keeps the two counts apart, and neither to the byte


def test_peak_memory_is_not_that_of_the_parent() -> None:
    ballast = b"x" * 400_000_000  # what ru_maxrss of the child would show
    code = "from selfsame.run.metrics import MetricsTracker as T; print(T(gpus=0).track_cost()['peak_memory_bytes'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5_000_000 < int(done.stdout) < len(ballast)


@pytest.mark.parametrize(
    ("peak", "gpus"), [(None, None), (float("nan"), None), (0, None), (1, 1), (16e9, 1), (16e9 + 1, 2), (65e9, 5)]
)
def test_gpus_that_would_hold_a_peak(peak: float | None, gpus: int | None) -> None:
    assert estimate_gpus(peak) == gpus
    assert estimate_gpus(65e9, gpu_memory_gb=80) == 1


def test_savings_in_gpus_are_of_the_same_kind_of_memory() -> None:
    adapters, full = ({"peak_gpu_memory_bytes": peak, "peak_memory_bytes": 1e12} for peak in (15e9, 50e9))
    assert savings_between(adapters, full)["estimated_gpus_saved_percent"] == 75
    assert savings_between(adapters, full, 80)["estimated_gpus_saved_percent"] == 0
    assert savings_between(adapters, {"peak_memory_bytes": 1e12})["estimated_gpus_saved_percent"] is None


def test_a_resumed_run_adds_to_the_first_part(tmp_path: Path) -> None:
    clock = Clock()
    first = measured(3600, gpus=2, clock=clock)
    first.start_timing("ppo")
    clock.now += 1800
    state = json.loads(json.dumps(first.to_dict()))  # saved in a checkpoint while the stage still runs
    second = MetricsTracker(clock=clock, gpus=1).from_dict(state)
    with second.timing("ppo"):
        clock.now += 200
    bill = second.track_cost(tmp_path)
    assert bill["seconds"] == {"sft": 3600, "ppo": 2000}
    assert bill["gpu_seconds"] == 2 * 5400 + 200  # each part with the GPUs that it had
    assert first.stop_timing("ppo") == 2000  # to_dict stopped nothing


def test_a_part_on_a_cpu_makes_the_cost_unknown(tmp_path: Path) -> None:
    resumed = MetricsTracker(clock=(clock := Clock()), gpus=1).from_dict(measured(10, gpus=0).to_dict())
    with resumed.timing("ppo"):
        clock.now += 10
    assert resumed.track_cost(tmp_path)["gpu_cost"] is None


def test_peaks_of_an_earlier_part_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "_peak_rss", lambda: 5_000)
    first = measured(1, gpus=0)
    state = first.to_dict()
    monkeypatch.setattr(metrics, "_peak_rss", lambda: 3_000)
    assert MetricsTracker(gpus=0).from_dict(state).track_cost()["peak_memory_bytes"] == 5_000


def test_savings_compare_two_measured_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(metrics, "_peak_rss", lambda: None)
    monkeypatch.setattr(metrics, "_peak_cuda", lambda: 6_000)
    ours = measured(1800, gpus=1)
    ours.track_cost(tmp_path)
    theirs = {"total_seconds": 7200, "total_cost": 0.70, "peak_gpu_memory_bytes": 8_000, "peak_memory_bytes": 1}
    saved = ours.calculate_savings(theirs)
    assert saved == {
        "time_saved_percent": 75.0,
        "cost_saved_percent": pytest.approx(75.0),
        "memory_saved_percent": 25.0,
        "estimated_gpus_saved_percent": 0.0,
    }
    slower = measured(2700, gpus=1)
    assert slower.calculate_savings(ours)["time_saved_percent"] == pytest.approx(-50)


@pytest.mark.parametrize("unknown", [None, float("nan"), 0.0])
def test_savings_are_unknown_where_a_side_was_not_measured(unknown: float | None) -> None:
    other = {"total_seconds": unknown, "total_cost": unknown, "peak_memory_bytes": unknown}
    assert set(measured(10, gpus=0).calculate_savings(other).values()) == {None}
    assert set(measured(10, gpus=0).calculate_savings({}).values()) == {None}


def test_memory_of_a_gpu_is_not_compared_with_that_of_a_process(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "_peak_cuda", lambda: 1_000)
    ours = measured(10, gpus=1)
    assert ours.calculate_savings({"peak_memory_bytes": 10**12})["memory_saved_percent"] is None


def test_gpus_are_found_out_when_not_given(monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert MetricsTracker().gpus == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert MetricsTracker().gpus == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert MetricsTracker().gpus == 4
