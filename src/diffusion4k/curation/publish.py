"""From the table to the folders: pictures in `train` and `eval`, each with `metadata.jsonl`.

Both folders are the build's own: what the table does not name is removed. A picture that is there
with the bytes it should have is not written again.
"""

import hashlib
import io
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from PIL import Image

from diffusion4k.curation.engine import Row, load_daft, mapped
from diffusion4k.curation.entries import LOCATION
from diffusion4k.curation.reading import Opened, Reader
from diffusion4k.curation.recipe import PublishRecipe
from diffusion4k.curation.steps.base import drop, kept
from diffusion4k.curation.store import Store, Work
from diffusion4k.data.images import ENDINGS, open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import atomic_path, sha256_of, write_bytes, writing

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["PublishStep", "ending_of", "remove_others"]

_COLUMNS = {"sha256": pa.string(), "source_hash": pa.string()}
_BATCH = 4


class PublishStep:
    """Writes pictures to `OUTPUT/SPLIT/NAME`; drops what cannot be read any more."""

    name = "publish"

    def __init__(self, wanted: PublishRecipe, reader: Reader, output: Path, work: Path) -> None:
        self._wanted, self._reader, self._output = wanted, reader, output.absolute()
        self._store = Store(work, "published", _COLUMNS, wanted.model_dump())

    def published(self) -> "DataFrame":
        """Hashes of files as they came (source_hash) and as they were written (sha256)."""
        return self._store.table().select("sha256", "source_hash")

    def run(self, table: "DataFrame") -> "DataFrame":
        """No new column."""
        daft = load_daft()
        inputs = [*LOCATION, "name", "split", "file_hash"]
        table = mapped(table, _with_place, inputs, {"place": pa.string()})
        known = self._store.table().with_column_renamed("key", "place").exclude("problem")
        wanted = kept(table).join(known, on="place", how="left")
        is_there = partial(_with_presence, self._output)
        wanted = mapped(wanted, is_there, ["name", "split", "sha256"], {"there": pa.bool_()})
        wanted = wanted.where(~daft.col("there"))
        begin = partial(_begin, self._reader, self._wanted, self._output)
        table = self._store.complete(
            table, begin, inputs, wanted=wanted, batch=_BATCH, key="place", anew=True
        )
        table = drop(table, self.name, lambda row: row["problem"], ["problem"])
        return table.exclude("problem", "place", *_COLUMNS)


def ending_of(wanted: PublishRecipe) -> str | None:
    """The ending that written names have; None if pictures are copied."""
    return None if wanted.format == "copy" else ENDINGS[wanted.format.upper()][0]


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove all files of a split's folder but those of these names, and empty folders."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _with_place(rows: list[Row]) -> list[Row]:
    """A key for what is written where."""
    return [{"place": _place(row) if row["split"] else None} for row in rows]


def _place(row: Row) -> str:
    text = "\n".join((row["key"], row["file_hash"], row["split"], row["name"]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _with_presence(output: Path, rows: list[Row]) -> list[Row]:
    return [{"there": _is_there(output / row["split"] / row["name"], row)} for row in rows]


def _is_there(path: Path, row: Row) -> bool:
    return bool(row["sha256"]) and path.is_file() and sha256_of(path) == row["sha256"]


def _begin(reader: Reader, wanted: PublishRecipe, output: Path) -> Work:
    return partial(_publish, reader.again(), wanted, output)


def _publish(reader: Reader, wanted: PublishRecipe, output: Path, row: Row) -> Row:
    path = output / row["split"] / row["name"]
    with reader.open(row) as file:
        content = None if wanted.format == "copy" else _encoded(open_rgb(file), wanted)
        with writing(path):
            if content is None:
                _copy(file, path)
            else:
                write_bytes(path, content)
    digest = sha256_of(path)
    if wanted.format == "copy" and digest != row["file_hash"]:
        path.unlink()
        raise Diffusion4kError("changed while it was read: run the same command again")
    return {"sha256": digest, "source_hash": row["file_hash"]}


def _copy(file: Opened, path: Path) -> None:
    with atomic_path(path) as temporary:
        if isinstance(file, Path):
            shutil.copyfile(file, temporary)
        else:
            with temporary.open("wb") as copy:
                shutil.copyfileobj(file, copy)


def _encoded(picture: Image.Image, wanted: PublishRecipe) -> bytes:
    shorter, most = min(picture.size), wanted.max_shorter_side
    if most and shorter > most:
        width, height = (round(side * most / shorter) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    options = {} if wanted.format == "png" else {"quality": wanted.quality}
    picture.save(content, wanted.format, **options)
    return content.getvalue()
