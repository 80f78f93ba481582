"""Parquet with bytes, paths or URLs, and Hugging Face dataset folders."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.reading import Reader
from diffusion4k.curation.recipe import FetchRecipe, HuggingFaceSource, ParquetSource
from diffusion4k.curation.sources.huggingface import huggingface_entries
from diffusion4k.curation.sources.parquet import parquet_entries
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.conftest import Build, picture, save


def png(seed: int) -> bytes:
    content = io.BytesIO()
    picture(seed).save(content, "PNG")
    return content.getvalue()


def make(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def entries(path: Path, **keys: Any) -> list[CurationEntry]:
    return list(parquet_entries(ParquetSource(kind="parquet", path=str(path), **keys)))


def read(reader: Reader, entry: CurationEntry) -> bytes:
    with reader.open({**vars(entry), "key": entry.key}) as file:
        return file.read_bytes() if isinstance(file, Path) else file.read()


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    rows = [{"jpg": f"bytes of {i}".encode(), "caption": f"text {i}"} for i in range(100)]
    path = make(tmp_path / "a.parquet", rows, row_group_size=13)
    found = entries(path, bytes="jpg")
    assert [entry.text for entry in found] == [row["caption"] for row in rows]
    for order in (range(100), range(99, -1, -1), (5, 5, 12, 13, 14, 90, 2)):
        reader = Reader(tmp_path, FetchRecipe())
        for number in order:
            assert read(reader, found[number]) == rows[number]["jpg"]


def test_cells_that_are_no_bytes_are_reasons(tmp_path: Path) -> None:
    path = make(tmp_path / "a.parquet", [{"jpg": b"x"}, {"jpg": None}, {"jpg": b"y"}])
    good, bad, after = entries(path, bytes="jpg")
    reader = Reader(tmp_path, FetchRecipe())
    assert read(reader, good) == b"x"
    with pytest.raises(Diffusion4kError, match="found NoneType, allowed bytes"):
        read(reader, bad)
    assert read(reader, after) == b"y"
    make(path, [{"jpg": b"x"}])
    with pytest.raises(Diffusion4kError, match="no such row"):
        read(Reader(tmp_path, FetchRecipe()), after)


def test_paths_stay_inside_the_root(tmp_path: Path) -> None:
    save(tmp_path / "data/in/a.jpg", 0)
    save(tmp_path / "secret.jpg", 1)
    values = ["in/a.jpg", "../secret.jpg", str(tmp_path / "secret.jpg"), "none.jpg", None, ""]
    path = make(tmp_path / "data/a.parquet", [{"file": value} for value in values])
    problems = [str(entry.problem) for entry in entries(path, file="file")]
    assert problems[0] == "None"
    assert "leads out of" in problems[1] and "leads out of" in problems[2]
    assert "cannot be read" in problems[3]
    assert "allowed is a path" in problems[4] and "allowed is a path" in problems[5]
    wider = entries(path, file="file", root=str(tmp_path))
    assert wider[2].problem is None and wider[0].problem is not None


def test_only_web_addresses_are_urls(tmp_path: Path) -> None:
    values = ["https://a.b/c.jpg", "file:///etc/passwd", "ftp://a.b/c", "/etc/passwd", None]
    path = make(tmp_path / "a.parquet", [{"url": value} for value in values])
    good, *bad = entries(path, url="url")
    assert good.problem is None and good.kind == "url" and good.source == values[0]
    assert all("allowed is an http(s) URL" in str(entry.problem) for entry in bad)


def test_a_missing_column_is_one_clear_error(tmp_path: Path) -> None:
    path = make(tmp_path / "a.parquet", [{"jpg": b"x", "n": 1}])
    with pytest.raises(UsageError, match=r"no column 'image': it has jpg, n"):
        entries(path, bytes="image")
    with pytest.raises(UsageError, match="no such file"):
        entries(tmp_path / "none.parquet", bytes="jpg")


def test_damaged_files_and_captions_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no parquet PAR1")
    make(tmp_path / "b.parquet", [{"jpg": b"x", "text": 7}])
    broken, number = entries(tmp_path / "*.parquet", bytes="jpg")
    assert "no readable parquet file" in str(broken.problem)
    assert "found int" in str(number.problem)


def test_huggingface_shards(tmp_path: Path, build: Build) -> None:
    save(tmp_path / "hub/data/beside.png", 9)
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(3)]
    images.append({"bytes": None, "path": "beside.png"})
    images.append({"bytes": None, "path": "../../secret.png"})
    rows = [{"image": image, "text": f"text {i}"} for i, image in enumerate(images)]
    make(tmp_path / "hub/data/train-00000-of-00002.parquet", rows[:2])
    make(tmp_path / "hub/data/train-00001-of-00002.parquet", rows[2:])
    make(tmp_path / "hub/data/test-00000-of-00001.parquet", rows[:1])
    source = {"kind": "huggingface", "path": str(tmp_path / "hub"), "split": "train"}
    built = build(source)
    files = built.files()
    assert files["train/train-00000-of-00002/00000001.png"] == png(1)
    assert files["train/train-00001-of-00002/00000001.png"] == (
        (tmp_path / "hub/data/beside.png").read_bytes()
    )
    assert [row["text"] for row in built.rows] == [f"text {i}" for i in range(5)]
    assert built.reason("train-00001-of-00002.parquet#2").startswith("header: column image: found")
    with pytest.raises(UsageError, match="no file validation"):
        build(source | {"split": "validation"})


def test_huggingface_image_folder(photos: Path) -> None:
    wanted = HuggingFaceSource(kind="huggingface", path=str(photos))
    found = {entry.name: entry.text for entry in huggingface_entries(wanted)}
    assert found["deep/c.webp"] == "picture 2" and len(found) == 4
    deep = HuggingFaceSource(kind="huggingface", path=str(photos), split="deep")
    assert [entry.name for entry in huggingface_entries(deep)] == ["c.webp", "d.jpg"]


def test_a_row_that_names_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    path = make(tmp_path / "a.parquet", [{"file": "photo.jpg"}])
    [entry] = entries(path, file="file")
    assert entry.problem and "not a regular file" in entry.problem
    path = make(tmp_path / "b.parquet", [{"image": {"bytes": None, "path": "photo.jpg"}}])
    [entry] = entries(path, bytes="image")
    with pytest.raises(Diffusion4kError, match="found NoneType, allowed bytes"):
        read(Reader(tmp_path, FetchRecipe()), entry)
    os.mkfifo(tmp_path / "c.parquet")
    with pytest.raises(UsageError, match=r"c\.parquet: cannot be read: not a regular file"):
        entries(tmp_path / "c.parquet", bytes="image")


@pytest.mark.parametrize("name", ["jpg", "text"])
def test_two_columns_of_one_name_are_told(tmp_path: Path, name: str) -> None:
    table = pa.table([[b"x"], ["a"], ["b"]], names=["jpg", "text", name])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=f"2 columns are called '{name}'"):
        entries(tmp_path / "a.parquet", bytes="jpg")
