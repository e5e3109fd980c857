"""What is finished of a long measurement is not done again, and not mixed with another one."""

from __future__ import annotations

import pytest

from selfsame.errors import RunError
from selfsame.run.partial import Partial, partial_path


def test_items_are_kept_until_the_result_is_written(tmp_path):
    out = tmp_path / "out.json"
    kept = Partial(out, {"model": "a", "limit": None})
    kept.add([{"line": 1, "nats": 0.1}, {"line": 2, "nats": float("nan")}])
    again = Partial(out, {"model": "a", "limit": None})
    assert again.items == [{"line": 1, "nats": 0.1}, {"line": 2, "nats": None}]
    with open(again.path, "a") as file:
        file.write('{"line": 3, "na')  # killed here
    third = Partial(out, {"model": "a", "limit": None})
    third.add([{"line": 3}])
    assert [item["line"] for item in Partial(out, {"model": "a", "limit": None}).items] == [1, 2, 3]
    assert list(tmp_path.iterdir()) == [third.path] == [partial_path(out)]


def test_another_measurement_is_told(tmp_path):
    Partial(tmp_path / "out.json", {"model": "a", "limit": 3}).add([{"line": 1}])
    with pytest.raises(RunError, match=r"model: 'a', now 'b'; limit: 3, now None.*choose another --json"):
        Partial(tmp_path / "out.json", {"model": "b"})
    (tmp_path / "x.partial.jsonl").write_text('{"line": 1}\n')
    with pytest.raises(RunError, match="another measurement"):
        Partial(tmp_path / "x", {"model": "b"})


def test_nothing_is_kept_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = Partial(None, {"model": "a"})
    kept.add([{"line": 1}])
    assert kept.items == [{"line": 1}] and list(tmp_path.iterdir()) == []
