"""Candidates: where each picture lies and what is known of it before it is opened.

An entry's key stands for its content without reading it: where it lies, and size and time of change
of the file. What was measured is found again by it, so a caption or a name may change freely.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion4k.curation.names import UniqueNames

__all__ = ["LOCATION", "CurationEntry", "write_entries"]

_ROWS_PER_PART = 10_000

LOCATION = ("key", "source", "kind", "path", "start", "length", "column")
"""Columns that suffice to read a picture."""

_TEXTS = ("key", "name", "source", "kind", "path", "column", "text", "step", "reason")
_NUMBERS = ("index", "start", "length")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXTS] + [(name, pa.int64()) for name in _NUMBERS]
)


@dataclass(frozen=True)
class CurationEntry:
    """One candidate, or with a `problem` something that could not become one."""

    source: str
    """What people call it: a path, `a.tar/member.jpg`, a URL, `x.parquet#12`."""
    name: str
    """Wanted name in the dataset; made safe and unique when entries are written."""
    kind: str = "file"
    """How it is read: `file`, `member` of a tar, `row` of a parquet file, or `url`."""
    path: str = ""
    """The file it lies in, or the URL."""
    start: int = 0
    """First byte of a member, or number of a row."""
    length: int = -1
    """Bytes, where known."""
    column: str = ""
    stamp: tuple[int, int] = (0, 0)
    """Size and time of change of the file."""
    text: str | None = None
    problem: str | None = None

    @property
    def key(self) -> str:
        """32 hexadecimal digits."""
        place = [self.kind, self.path, self.start, self.length, self.column, *self.stamp]
        place += [self.source] if self.problem else []
        return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:32]


def write_entries(entries: Iterable[CurationEntry], folder: Path) -> int:
    """Write all entries into `folder` as parquet files, in order, in place of those there.

    Returns how many they are.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, count = _rows(entries), 0
    while True:
        part = list(islice(rows, _ROWS_PER_PART))
        if part or count == 0:  # Of no entries, too, there is a file that says so.
            table = pa.Table.from_pylist(part, _SCHEMA)
            pq.write_table(table, folder / f"{count:012}.parquet")
        count += len(part)
        if len(part) < _ROWS_PER_PART:
            return count


def _rows(entries: Iterable[CurationEntry]) -> Iterator[dict[str, object]]:
    names = UniqueNames()
    for index, entry in enumerate(entries):
        row = {field: getattr(entry, field) for field in LOCATION}
        row |= {"index": index, "name": names.name(entry.name, entry.source), "text": entry.text}
        row |= {"step": "source" if entry.problem else None, "reason": entry.problem}
        yield row
