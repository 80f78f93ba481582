"""Kept findings: found again by content and protocol, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Found
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.store import MeasureStore, StoreError, read_features
from tests.disk import largest_file


class Named:
    """A measure of a name and a protocol, never called."""

    columns = ()

    def __init__(
        self, name: str = "a", protocol: str = "p", *, prompt: bool = False, original: bool = False
    ) -> None:
        self.name, self.protocol = name, protocol
        self.needs_prompt, self.needs_original = prompt, original

    def __call__(self, picture: MeasuredImage) -> Found:
        raise NotImplementedError


def place(store: MeasureStore, measure: Named, picture: MeasuredImage) -> Path:
    (found,) = store.places(picture, [measure])
    return found


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=4),
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=0)),
)
def test_what_is_kept_is_found(
    tmp_path: Path, numbers: dict[str, float], features: np.ndarray
) -> None:
    store, file = MeasureStore(tmp_path), tmp_path / "x" / "y.safetensors"
    # Not contiguous, as a slice of a network's output is not.
    store.keep(file, Found(numbers, {"f": features.T}))
    found = store.find(file)
    assert found is not None and found.numbers == numbers
    np.testing.assert_array_equal(found.features["f"], features.T)
    np.testing.assert_array_equal(read_features(file, "f"), features.T)


def test_place_depends_on_all_that_the_findings_do(tmp_path: Path) -> None:
    store = MeasureStore(tmp_path)
    one = written(tmp_path / "one.png", b"1")
    two, same = written(tmp_path / "two.png", b"2"), written(tmp_path / "same.png", b"1")
    plain = place(store, Named(), MeasuredImage(one))
    assert place(store, Named(), MeasuredImage(same, "a prompt", two)) == plain
    asked = Named(prompt=True)
    against = Named(original=True)
    others = {
        place(store, Named(), MeasuredImage(two)),
        place(store, Named("b"), MeasuredImage(one)),
        place(store, Named(protocol="q"), MeasuredImage(one)),
        place(store, asked, MeasuredImage(one, "a prompt")),
        place(store, asked, MeasuredImage(one, "another")),
        place(store, against, MeasuredImage(one, None, two)),
        place(store, against, MeasuredImage(one, None, same)),
    }
    assert len(others) == 7 and plain not in others


def test_what_a_picture_lacks(tmp_path: Path) -> None:
    store, one = MeasureStore(tmp_path), written(tmp_path / "one.png", b"1")
    for lacking, message in (
        (Named(prompt=True), "one.png: has no prompt, which is needed for a"),
        (Named(original=True), "one.png: has no original"),
    ):
        with pytest.raises(Diffusion4kError, match=message):
            store.places(MeasuredImage(one), [lacking])
    with pytest.raises(Diffusion4kError, match=r"nowhere\.png: cannot be read"):
        store.places(MeasuredImage(tmp_path / "nowhere.png"), [Named()])


@pytest.mark.parametrize("keep", [0, 3, 8, 40, -1])
def test_damaged_file_counts_as_absent(tmp_path: Path, keep: int) -> None:
    store, file = MeasureStore(tmp_path), tmp_path / "a.safetensors"
    assert store.find(file) is None
    store.keep(file, Found({"n": 1.0}, {"f": np.ones((3, 4), np.float32)}))
    file.write_bytes(file.read_bytes()[:keep])
    assert store.find(file) is None
    with pytest.raises(Diffusion4kError, match="missing or damaged"):
        read_features(file, "f")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = written(tmp_path / "file", b"")
    with pytest.raises(StoreError, match="file/a: cannot be written"):
        MeasureStore(file).keep(file / "a" / "b.safetensors", Found())


def test_no_room_is_told_in_one_line(tmp_path: Path) -> None:
    found = Found({}, {"f": np.ones((300, 1000), np.float32)})
    with largest_file(100_000), pytest.raises(StoreError, match="cannot be written"):
        MeasureStore(tmp_path).keep(tmp_path / "a.safetensors", found)
    assert list(tmp_path.iterdir()) == []
