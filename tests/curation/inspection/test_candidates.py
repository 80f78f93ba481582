"""Candidates of built datasets and plain folders, and manifests that are none."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.curation.inspection.candidates import read_candidates
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.inspection.fake import make_dataset, write_manifest
from tests.data.fake import make_folder, save_picture


def test_a_built_dataset(tmp_path: Path) -> None:
    found = read_candidates(make_dataset(tmp_path / "dataset"))
    assert found.measures == {"sharpness": (0.75, None), "noise": (None, 7.0)}
    first, _, third, _ = found.rows
    assert first.name == "0.png"
    assert first.path == tmp_path / "source" / "0.png"
    assert first.measures == {"sharpness": 0.9}
    assert (first.text, first.split, first.kept) == ("picture number 0", "train", True)
    assert (third.kept, third.step, third.split) == (False, "sharpness", None)
    assert first.picture_hash() == "0" * 64


def test_a_manifest_without_what_may_be_missing(tmp_path: Path) -> None:
    write_manifest(tmp_path, [{"name": "a.jpg", "source": "b.tar/a.jpg"}])
    found = read_candidates(tmp_path)
    assert found.measures == {}
    (only,) = found.rows
    assert (only.path, only.kept, only.text, only.picture_hash()) == (None, True, None, None)


@pytest.mark.parametrize(
    "source", ["photos.tar/a.png", "https://example.org/a.png", "rows.parquet#7", "", None]
)
def test_pictures_that_are_only_in_the_dataset(tmp_path: Path, source: str | None) -> None:
    row = {"name": "sub/a.png", "source": source, "split": "eval"}
    write_manifest(tmp_path, [row, {"name": "b.png", "source": "gone.png", "split": None}])
    first, second = read_candidates(tmp_path).rows
    assert first.path == tmp_path / "eval" / "sub" / "a.png"
    assert second.path is None


@pytest.mark.parametrize(
    ("name", "split"), [("../a.png", "train"), ("/etc/a.png", "train"), ("a.png", "..")]
)
def test_names_that_lead_out_of_the_folder(tmp_path: Path, name: str, split: str) -> None:
    write_manifest(tmp_path / "dataset", [{"name": name, "source": "x.tar/a", "split": split}])
    save_picture(tmp_path / "dataset" / "a.png", (70, 70))
    (only,) = read_candidates(tmp_path / "dataset").rows
    assert only.path is None


def test_a_plain_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path, [(80, 70), (90, 70)])
    save_picture(tmp_path / "forgotten.png", (80, 80))
    first, second = read_candidates(tmp_path).rows
    assert (first.name, first.text) == ("0.png", "photograph 0")
    assert "forgotten.png" in capsys.readouterr().err
    before = first.picture_hash()
    assert before != second.picture_hash()
    save_picture(tmp_path / "0.png", (80, 70), seed=5)
    assert first.picture_hash() != before
    (tmp_path / "0.png").unlink()
    assert first.picture_hash() is None


GOOD = {"name": "a.jpg", "source": "a.jpg"}


@pytest.mark.parametrize(
    ("rows", "thresholds", "reason"),
    [
        ([], None, "no column name"),
        ([{"name": "a"}], None, "no column source (found: name)"),
        ([GOOD, GOOD], None, "a.jpg: found twice, allowed once"),
        ([{"name": None, "source": "a"}], None, "found as None"),
        ([{"name": 3, "source": "a"}], None, "found as 3"),
        ([GOOD], {"sharpness": 3}, "its thresholds are not"),
        ([GOOD], [1, 2], "its thresholds are not"),
        ([GOOD], {"sharpness": ["a", None]}, "its thresholds are not"),
    ],
)
def test_manifests_of_another_kind(
    tmp_path: Path, rows: list[dict[str, Any]], thresholds: Any, reason: str
) -> None:
    write_manifest(tmp_path, rows, thresholds=thresholds)
    with pytest.raises(Diffusion4kError) as refused:
        read_candidates(tmp_path)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_empty_manifest(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"name": [], "source": []}), tmp_path / "manifest.parquet")
    with pytest.raises(Diffusion4kError, match="no candidate in it"):
        read_candidates(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, -20])
def test_a_manifest_that_is_damaged(tmp_path: Path, keep: int) -> None:
    path = make_dataset(tmp_path / "dataset") / "manifest.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Diffusion4kError, match=r"manifest\.parquet: cannot be read"):
        read_candidates(path.parent)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("fuzz") / "dataset") / "manifest.parquet"


@settings(max_examples=150)
@given(data=st.data())
def test_no_manifest_whatever_ends_in_a_traceback(manifest: Path, data: st.DataObject) -> None:
    good = manifest.read_bytes()
    content = bytearray(good)
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    manifest.write_bytes(content)
    try:
        with contextlib.suppress(Diffusion4kError):
            read_candidates(manifest.parent)
    finally:
        manifest.write_bytes(good)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match="no such folder"):
        read_candidates(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"neither manifest\.parquet nor metadata\.jsonl"):
        read_candidates(tmp_path)
