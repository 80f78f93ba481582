"""The engine: each picture once per measure, in order, problems in one line, features on disk."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Found
from diffusion4k.metrics.measuring import measure_all
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.store import MeasureStore, StoreError


class MeanColour:
    """The mean colour, and how often that was looked for."""

    columns = ()
    needs_prompt = needs_original = False

    def __init__(self, name: str = "colour", least: int = 0) -> None:
        self.name, self.protocol, self._least = name, f"at least {least}", least
        self.seen: list[str] = []

    def __call__(self, picture: MeasuredImage) -> Found:
        self.seen.append(picture.path.name)
        if len(picture.pixels) < self._least:
            raise Diffusion4kError(f"{picture.path}: lower than {self._least} pixels")
        mean = picture.pixels.mean((0, 1), dtype=np.float64)
        return Found({f"{self.name}_red": mean[0]}, {self.name: mean[None].astype(np.float32)})


def pictures(folder: Path, count: int) -> list[MeasuredImage]:
    for n in range(count):
        Image.new("RGB", (8, 8 + n), (n, 0, 0)).save(folder / f"{n}.png")
    return [MeasuredImage(folder / f"{n}.png") for n in range(count)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 5), max_size=12), workers=st.integers(1, 4))
def test_in_order_whatever_is_kept(tmp_path: Path, order: list[int], workers: int) -> None:
    given_ = pictures(tmp_path, 6)
    found = list(
        measure_all(
            [given_[n] for n in order],
            [MeanColour()],
            MeasureStore(tmp_path / "kept"),
            workers=workers,
        )
    )
    assert [each.numbers["colour_red"] for each in found] == order
    assert [each.features("colour")[0, 0] for each in found] == order
    assert [each.path.name for each in found] == [f"{n}.png" for n in order]


def test_a_new_measure_is_made_alone(tmp_path: Path) -> None:
    given_, store = pictures(tmp_path, 3), MeasureStore(tmp_path / "kept")
    old, new = MeanColour(), MeanColour("again")
    list(measure_all(given_, [old], store))
    (found, *_) = measure_all(given_, [old, new], store)
    assert sorted(old.seen) == sorted(new.seen) == ["0.png", "1.png", "2.png"]
    assert found.numbers == {"colour_red": 0.0, "again_red": 0.0}
    assert set(found.kept) == {"colour", "again"}


def test_damaged_file_is_measured_again(tmp_path: Path) -> None:
    given_, store, measure = pictures(tmp_path, 2), MeasureStore(tmp_path / "kept"), MeanColour()
    first = [each.numbers for each in measure_all(given_, [measure], store)]
    for file in (tmp_path / "kept").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:30])
    again = list(measure_all(given_, [measure], store))
    assert [each.numbers for each in again] == first and len(measure.seen) == 4
    assert again[1].features("colour").tolist() == [[1, 0, 0]]


def test_problems_are_one_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    given_ = pictures(tmp_path, 3)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    given_[1:1] = [MeasuredImage(tmp_path / "broken.png"), MeasuredImage(tmp_path / "nowhere.png")]
    store, easy, hard = MeasureStore(tmp_path / "kept"), MeanColour(), MeanColour("tall", least=9)
    found = list(measure_all(given_, [easy, hard], store))
    assert [bool(each.problem) for each in found] == [True, True, True, False, False]
    assert found[0].problem == "lower than 9 pixels" and found[0].numbers == {}
    assert all("\n" not in each.problem for each in found)
    assert "not an image" in found[1].problem and "cannot be read" in found[2].problem


def test_what_a_killed_run_had_found_is_not_measured_again(tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def until(count: int) -> Iterator[MeasuredImage]:
        yield from given_[:count]
        raise Stop

    given_, store, measure = pictures(tmp_path, 6), MeasureStore(tmp_path / "kept"), MeanColour()
    with pytest.raises(Stop):
        list(measure_all(until(4), [measure], store, workers=1))
    done = len(list((tmp_path / "kept").rglob("*.safetensors")))
    assert 3 <= done <= 4
    assert len(list(measure_all(given_, [measure], store))) == 6
    assert len(measure.seen) == 6 + (4 - done)


def test_only_few_pictures_are_read_ahead(tmp_path: Path) -> None:
    asked = []

    def endless() -> Iterator[MeasuredImage]:
        for picture in pictures(tmp_path, 1) * 1000:
            asked.append(picture)
            yield picture

    found = measure_all(endless(), [MeanColour()], MeasureStore(tmp_path / "kept"), workers=2)
    for _ in range(3):
        next(found)
    found.close()
    assert len(asked) <= 3 + 2


def test_several_at_a_time_and_alone_in_torch(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)
    threads = []

    class Waits(MeanColour):
        def __call__(self, picture: MeasuredImage) -> Found:
            both.wait()
            threads.append(torch.get_num_threads())
            return super().__call__(picture)

    before = torch.get_num_threads()
    list(measure_all(pictures(tmp_path, 4), [Waits()], MeasureStore(tmp_path / "kept"), workers=2))
    assert threads == [1] * 4 and torch.get_num_threads() == before


def test_a_full_disk_is_no_fault_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        list(measure_all(pictures(tmp_path, 2), [MeanColour()], MeasureStore(tmp_path / "kept")))
