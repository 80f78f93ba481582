"""Size and shape by what the file says of itself: what is too small is never decoded."""

import posixpath
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k.curation.engine import Row, mapped
from diffusion4k.curation.entries import LOCATION
from diffusion4k.curation.reading import Reader
from diffusion4k.curation.recipe import HeaderRecipe
from diffusion4k.curation.steps.base import drop, kept
from diffusion4k.curation.store import Store, Work
from diffusion4k.data.images import ENDINGS, SUFFIXES, image_header

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["HeaderStep"]

_COLUMNS = {
    "width": pa.int32(),
    "height": pa.int32(),
    "bytes": pa.int64(),
    "format": pa.string(),
}
_BATCH = 32


class HeaderStep:
    """Reads headers, fetching what is at a URL, and checks them against the recipe."""

    name = "header"

    def __init__(
        self, limits: HeaderRecipe, reader: Reader, work: Path, ending: str | None = None
    ) -> None:
        self._wanted, self._reader, self._to = limits, reader, ending
        self._store = Store(work, "headers", _COLUMNS, settings=1)

    def run(self, table: "DataFrame") -> "DataFrame":
        """Add the columns width, height, bytes, format; names get an ending.

        It is `ending` if pictures are to be re-encoded, else that of the format where none is.
        """
        begin = partial(_begin, self._reader)
        table = self._store.complete(table, begin, LOCATION, wanted=kept(table), batch=_BATCH)
        limits = self._wanted
        table = drop(
            table,
            self.name,
            lambda row: row["problem"] or next(_violations(row, limits), None),
            [*_COLUMNS, "problem"],
        )
        named = partial(_with_ending, self._to)
        table = mapped(table, named, ["name", "format"], {"name": pa.string()})
        return table.exclude("problem")


def _begin(reader: Reader) -> Work:
    return partial(_header, reader.again())


def _header(reader: Reader, row: Row) -> Row:
    with reader.open(row) as file:
        header = image_header(file)
        size = file.stat().st_size if isinstance(file, Path) else file.seek(0, 2)
    return {**vars(header), "bytes": size}


def _violations(row: Row, limits: HeaderRecipe) -> Iterator[str]:
    width, height, size = row["width"], row["height"], row["bytes"]
    shorter, longer = min(width, height), max(width, height)
    if shorter < limits.min_shorter_side:
        yield f"shorter side: {shorter} pixels, allowed at least {limits.min_shorter_side}"
    if longer > limits.max_aspect * shorter:
        aspect = longer / shorter
        yield f"aspect: {aspect:.3g} to 1, allowed at most {limits.max_aspect:g}"
    if width * height > limits.max_pixels:
        yield f"pixels: {width * height}, allowed at most {limits.max_pixels}"
    if not limits.min_bytes <= size <= limits.max_bytes:
        yield f"file size: {size} bytes, allowed {limits.min_bytes} to {limits.max_bytes}"
    if limits.formats is not None and row["format"] not in limits.formats:
        yield f"format: {row['format']}, allowed {', '.join(limits.formats)}"


def _with_ending(ending: str | None, rows: list[Row]) -> list[Row]:
    return [{"name": _ending(row["name"], row["format"], ending)} for row in rows]


def _ending(name: str, kind: str | None, ending: str | None) -> str:
    """Endings are only ever added, so that names that differ still do."""
    has = posixpath.splitext(name)[1].lower()
    if ending:
        return name if has == ending else name + ending
    if kind is None or has in SUFFIXES:
        return name
    return name + ENDINGS[kind][0]
