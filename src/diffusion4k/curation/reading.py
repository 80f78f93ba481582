"""From an entry to its file: on the disk, in a tar, in a parquet row, or at a URL."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion4k.curation.engine import Row
from diffusion4k.curation.fetch import FetchError, fetch
from diffusion4k.curation.recipe import FetchRecipe
from diffusion4k.curation.store import PassingError
from diffusion4k.errors import Diffusion4kError, DiskError, one_line

__all__ = ["Opened", "Reader"]

Opened: TypeAlias = Path | BinaryIO

_ROWS = 8  # decoded from a parquet file at a time; each may be a whole photograph


@dataclass
class Reader:
    """Opens entries, best in their order: rows of a parquet file are read on, not from its start.

    For one thread; `again` makes another.
    """

    fetched: Path
    """Folder of what was fetched."""
    settings: FetchRecipe

    def __post_init__(self) -> None:
        self._column: _Column | None = None

    def again(self) -> "Reader":
        """Another of the same kind."""
        return Reader(self.fetched, self.settings)

    @contextmanager
    def open(self, entry: Row) -> Iterator[Opened]:
        """The picture's file: its path, or in memory.

        A `Diffusion4kError` that comes up meanwhile loses the name in front of its message.

        Raises:
            PassingError: a URL did not give it.
            Diffusion4kError: it is not there any more, or no bytes.
        """
        opened: Opened | None = None
        try:
            opened = self._opened(entry)
            yield opened
        except FetchError as error:
            raise PassingError(f"URL: {error}") from None
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise Diffusion4kError(f"cannot be read: {error.strerror}") from None
        except DiskError:
            raise
        except Diffusion4kError as error:
            name = getattr(opened, "name", "") if isinstance(opened, io.BytesIO) else opened
            raise Diffusion4kError(str(error).removeprefix(f"{name}: ")) from None

    def _opened(self, entry: Row) -> Opened:
        path = Path(entry["path"])
        if entry["kind"] == "member":
            with path.open("rb") as tar:
                tar.seek(entry["start"])
                return _InMemory(tar.read(entry["length"]))
        if entry["kind"] == "row":
            return _InMemory(self._cell(entry["path"], entry["column"], entry["start"]))
        if entry["kind"] == "url":
            key = entry["key"]
            return fetch(entry["path"], self.fetched / key[:2] / key, self.settings)
        return path

    def _cell(self, path: str, column: str, row: int) -> bytes:
        values = self._column
        if values is None or (values.path, values.name) != (path, column) or values.next > row:
            values = _Column(path, column, row)
        self._column = None  # Not to be read on from after an error.
        value = values.cell(row)
        self._column = values
        if isinstance(value, dict):
            value = value.get("bytes") or _beside(Path(path).parent, value.get("path"))
        if not isinstance(value, bytes):
            raise Diffusion4kError(f"column {column}: found {type(value).__name__}, allowed bytes")
        return value


class _InMemory(io.BytesIO):
    name = "picture"


class _Column:
    """A column of a parquet file, read forward from the row group that holds a row."""

    def __init__(self, path: str, name: str, row: int) -> None:
        self.path, self.name, self.next = path, name, 0
        with self._told():
            file = pq.ParquetFile(path, pre_buffer=False)
            group, last = 0, file.metadata.num_row_groups - 1
            while group < last and row >= self.next + file.metadata.row_group(group).num_rows:
                self.next += file.metadata.row_group(group).num_rows
                group += 1
            groups = list(range(group, last + 1))
            batches = file.iter_batches(_ROWS, row_groups=groups, columns=[name])
            self._values = (value for batch in batches for value in batch.column(0))

    def cell(self, row: int) -> object:
        """Value of a row; rows before it are skipped."""
        with self._told():
            while self.next < row:
                next(self._values)
                self.next += 1
            self.next += 1
            return next(self._values).as_py()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, StopIteration, ValueError) as error:
            reason = one_line(str(error) or "it has no such row any more")
            raise Diffusion4kError(f"parquet: cannot be read: {reason}") from None


def _beside(folder: Path, path: object) -> bytes | None:
    """The file that a Hugging Face image without bytes refers to, if it lies in the folder."""
    if not isinstance(path, str) or "\0" in path:
        return None
    inside = (folder / path).resolve()
    allowed = inside.is_relative_to(folder.resolve()) and (inside.is_file() or not inside.exists())
    return inside.read_bytes() if allowed else None
