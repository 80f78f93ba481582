"""What was finished is not done again, whatever happened to the rest."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import diffusion4k.curation.store as stores
from diffusion4k.curation.engine import as_frame
from diffusion4k.curation.store import PassingError, Store
from diffusion4k.errors import Diffusion4kError, DiskError


class Squares:
    """Squares numbers, counts how often, and fails on those in `bad`."""

    def __init__(self, folder: Path, settings: object = 1) -> None:
        self.store = Store(folder, "squares", {"square": pa.int64()}, settings)
        self.done: Counter[int] = Counter()
        self.bad: dict[int, Exception] = {}

    def __call__(self, numbers: range, batch: int = 3) -> dict[int, dict[str, Any]]:
        keys = pa.array([f"key {n}" for n in numbers], pa.string())
        table = as_frame(pa.table({"index": pa.array(numbers, pa.int64()), "key": keys}))
        found = self.store.complete(
            table, lambda: self._square, ("index",), wanted=table, batch=batch
        )
        return {row["index"]: row for row in found.to_pylist()}

    def _square(self, row: dict[str, Any]) -> dict[str, Any]:
        number = row["index"]
        self.done[number] += 1
        if number in self.bad:
            raise self.bad[number]
        return {"square": number**2}


def test_each_row_is_computed_once(tmp_path: Path) -> None:
    squares = Squares(tmp_path)
    assert {n: row["square"] for n, row in squares(range(20)).items()} == {
        n: n**2 for n in range(20)
    }
    again = Squares(tmp_path)
    assert again(range(10, 30))[29]["square"] == 841
    assert again.done == Counter(range(20, 30))
    other = Squares(tmp_path, settings=2)
    other(range(3))
    assert other.done == Counter(range(3))


def test_a_failure_is_a_result_unless_it_passes(tmp_path: Path) -> None:
    squares = Squares(tmp_path)
    squares.bad = {1: Diffusion4kError("broken"), 2: PassingError("away"), 3: MemoryError()}
    squares.bad[4] = OSError(5, "Input/output error")
    found = squares(range(5))
    assert [found[n]["problem"] for n in (0, 1, 2)] == [None, "broken", "away"]
    assert "too large for this machine" in found[3]["problem"]
    again = Squares(tmp_path)
    found = again(range(5))
    assert again.done == Counter((2, 3, 4))
    assert [found[n]["square"] for n in range(5)] == [0, None, 4, 9, 16]
    assert found[1]["problem"] == "broken"


def test_the_disk_ends_the_build_and_what_was_done_is_kept(tmp_path: Path) -> None:
    squares = Squares(tmp_path)
    squares.bad = {40: DiskError("/data/x: no space")}
    with pytest.raises(Diffusion4kError, match="/data/x: no space"):
        squares(range(60), batch=1)
    again = Squares(tmp_path)
    assert len(again(range(60))) == 60
    assert again.done.keys() >= set(range(40, 60)) and len(again.done) <= 60 - 30


def test_kept_parts_are_written_while_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SECONDS", 0.0)
    Squares(tmp_path)(range(10), batch=1)
    parts = [path for path in tmp_path.rglob("*.parquet") if path.is_file()]
    assert len(parts) == 10
    parts[3].write_bytes(parts[3].read_bytes()[:50])
    parts[4].unlink()
    left = parts[4].with_name(".left.1234.part.parquet")
    left.write_bytes(b"PAR1")
    again = Squares(tmp_path)
    assert not left.exists()
    assert {n: row["square"] for n, row in again(range(10)).items()} == {n: n**2 for n in range(10)}
    assert sum(again.done.values()) == 2


def test_nothing_to_do(tmp_path: Path) -> None:
    assert Squares(tmp_path)(range(0)) == {}
