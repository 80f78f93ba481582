"""Results kept by key: what a killed build had finished is not done again.

Rows are gathered and written as parquet files, each whole or absent. A file that is damaged counts
as absent. Results that another try may better (a server that did not answer) are kept apart and
forgotten at the next build.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion4k.curation.engine import Row, joined, load_daft, mapped, rows_of
from diffusion4k.errors import Diffusion4kError, DiskError
from diffusion4k.support.files import atomic_path, writing
from diffusion4k.support.progress import track

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["PassingError", "Store", "Work"]

Work: TypeAlias = Callable[[Row], Row]
"""What is done with one row; gives the store's columns.

A `Diffusion4kError` is a result, too: the column `problem`. A `DiskError` ends the build.
"""

SECONDS = 20.0
"""Seconds of work that are lost at most when a build is killed."""
_ROWS_PER_PART = 50_000
_PASSING = "passing"


class PassingError(Diffusion4kError):
    """A failure that another try, at another time, may not have."""


class Store:
    """Results of one costly function, with the columns `columns` and `problem` beside `key`.

    `settings` are all that the results depend on beside the key.
    """

    def __init__(
        self, work: Path, name: str, columns: Mapping[str, pa.DataType], settings: object
    ) -> None:
        self._schema = pa.schema([("key", pa.string()), *columns.items(), ("problem", pa.string())])
        text = json.dumps([str(self._schema), settings], sort_keys=True, default=str)
        self._folder = work / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._name = name
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._folder / _PASSING, ignore_errors=True)
        for part in (*self._folder.glob(".*.parquet"), *self._parts()):
            # Hidden ones are what a killed build was about to write.
            if part.name.startswith(".") or not _is_whole(part):
                part.unlink()

    def complete(
        self,
        table: "DataFrame",
        begin: Callable[[], Work],
        inputs: Sequence[str],
        *,
        wanted: "DataFrame",
        batch: int,
        key: str = "key",
        anew: bool = False,
        without: Sequence[str] = (),
    ) -> "DataFrame":
        """`table` with the results but those `without`, by its column `key`; null without any.

        For the rows of `wanted` that have none yet (with `anew` for all of them), `begin` is called
        in some thread or on some machine for every `batch` rows, and what it gives on each of them.

        Raises:
            Diffusion4kError: what ended the build, after keeping what was finished.
        """
        known = self.table().with_column_renamed("key", key)
        todo = wanted if anew else wanted.join(known.select(key), on=key, how="anti")
        todo = todo.sort("index").select(*dict.fromkeys((key, *inputs))).collect()
        if total := todo.count_rows():
            columns = dict(zip(self._schema.names, self._schema.types, strict=True))
            columns |= {"passing": pa.bool_(), "fatal": pa.string()}
            names = tuple(columns)

            def work(rows: list[Row]) -> list[Row]:
                one = begin()
                return [
                    dict.fromkeys(names) | _result(one, row) | {"key": row[key]} for row in rows
                ]

            results = rows_of(
                mapped(todo, work, todo.column_names, columns, batch=batch), in_tasks=True
            )
            self._keep(track(results, total, self._name))
        found = self.table().exclude(*without).with_column_renamed("key", key)
        return joined(table, found, on=key).collect()

    def table(self) -> "DataFrame":
        """All results, one row a key."""
        daft = load_daft()
        parts = [str(part) for part in self._parts()]
        if not parts:
            return daft.from_arrow(self._schema.empty_table())
        return daft.read_parquet(parts).distinct("key")

    def _keep(self, results: Iterable[Row]) -> None:
        rows: list[Row] = []
        written_at = time.monotonic()
        try:
            for row in results:
                if row["fatal"]:
                    raise Diffusion4kError(row["fatal"])
                rows.append(row)
                late = time.monotonic() - written_at > SECONDS
                if late or len(rows) >= _ROWS_PER_PART:
                    rows, done, written_at = [], rows, time.monotonic()
                    self._write(done)
        finally:
            self._write(rows)

    def _write(self, rows: list[Row]) -> None:
        for folder, passing in ((self._folder, False), (self._folder / _PASSING, True)):
            part = [row for row in rows if bool(row["passing"]) == passing]
            if part:
                digest = hashlib.sha256("".join(row["key"] for row in part).encode()).hexdigest()
                path = folder / f"{digest[:32]}.parquet"
                with writing(path), atomic_path(path) as temporary:
                    pq.write_table(pa.Table.from_pylist(part, self._schema), temporary)

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("**/[!.]*.parquet"))


def _result(work: Work, row: Row) -> Row:
    try:
        return work(row)
    except DiskError as error:
        return {"fatal": str(error)}
    except Diffusion4kError as error:
        return {"problem": str(error), "passing": isinstance(error, PassingError)}
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror or error}", "passing": True}
    except MemoryError:
        reason = "memory: too large for this machine: lower header.max_pixels"
        return {"problem": reason, "passing": True}


def _is_whole(part: Path) -> bool:
    try:
        pq.read_metadata(part)
    except (OSError, pa.ArrowInvalid):
        return False
    return True
