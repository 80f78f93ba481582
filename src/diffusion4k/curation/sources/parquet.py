"""Parquet files whose rows hold pictures as bytes, as paths, or as URLs.

A column of bytes is not read here, only later row by row. A struct `{bytes, path}`, as Hugging
Face's Image is stored, counts as bytes, or as a path where the bytes are null.
"""

from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.recipe import ParquetSource
from diffusion4k.data.sidecars import caption_in
from diffusion4k.errors import UsageError, one_line
from diffusion4k.support.text_files import check_plain

__all__ = ["parquet_entries"]


def parquet_entries(source: ParquetSource) -> Iterator[CurationEntry]:
    """Rows of all files that the path, which may hold `*`, names, in order.

    Raises:
        UsageError: no such file, or not the columns that the recipe names.
    """
    paths = sorted(glob(source.path, recursive=True))  # noqa: PTH207 (may be absolute)
    if not paths:
        raise UsageError(f"{source.path}: no such file: give one, or several as `data/*.parquet`")
    for path in map(Path, paths):
        check_plain(path)
        yield from _Rows(path, source).entries()


class _Rows:
    def __init__(self, path: Path, source: ParquetSource) -> None:
        self._path, self._source = path, source
        self._stamp = (0, 0)

    def entries(self) -> Iterator[CurationEntry]:
        path = self._path
        try:
            stat = path.stat()
            self._stamp = (stat.st_size, stat.st_mtime_ns)
            with pq.ParquetFile(path) as file:
                columns = self._columns(file.schema_arrow)
                number = 0
                for batch in file.iter_batches(1024, columns=columns):
                    for row in batch.to_pylist():
                        yield self._entry(number, row)
                        number += 1
                # Without a column of paths or captions there is nothing to read.
                for more in range(number, file.metadata.num_rows):
                    yield self._entry(more, {})
        except (OSError, pa.ArrowException) as error:
            problem = f"no readable parquet file: {one_line(error)}"
            yield CurationEntry(str(path), path.stem, problem=problem)

    def _columns(self, schema: pa.Schema) -> list[str]:
        """Columns to read now: captions, and where pictures lie; the first of captions' names."""
        source, names = self._source, schema.names
        wanted = source.bytes or source.file or source.url or ""
        if wanted.split(".")[0] not in names:
            raise UsageError(
                f"{self._path}: no column {wanted!r}: it has {', '.join(names)}; name one of them "
                "as the source's bytes, file or url"
            )
        columns = [name for name in source.captions if name in names]
        for name in (wanted.split(".")[0], *columns):
            if names.count(name) > 1:
                raise UsageError(
                    f"{self._path}: {names.count(name)} columns are called {name!r}: give each a "
                    "different name"
                )
        if source.file or source.url:
            return [wanted, *columns]
        kind = schema.field(wanted.split(".")[0]).type
        self._struct = pa.types.is_struct(kind)
        if self._struct and {"bytes", "path"} <= {field.name for field in kind}:
            return [f"{wanted}.path", *columns]
        return columns

    def _entry(self, number: int, row: dict[str, object]) -> CurationEntry:
        source = self._source
        where = f"{self._path}#{number}"
        name = f"{self._path.stem}/{number:08}"
        try:
            text = caption_in(row, source.captions)
        except ValueError as error:
            return CurationEntry(where, name, problem=str(error))
        if source.url:
            return self._url(where, name, row.get(source.url), text)
        if source.file:
            return self._file(where, name, row.get(source.file), text)
        return CurationEntry(
            where,
            name,
            kind="row",
            path=str(self._path.absolute()),
            start=number,
            column=source.bytes or "",
            stamp=self._stamp,
            text=text,
        )

    def _url(self, where: str, name: str, url: object, text: str | None) -> CurationEntry:
        if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
            return CurationEntry(
                where, name, problem=f"found {str(url)[:200]!r}, allowed is an http(s) URL"
            )
        return CurationEntry(url, name, kind="url", path=url, text=text)

    def _file(self, where: str, name: str, value: object, text: str | None) -> CurationEntry:
        if not isinstance(value, str) or not value or "\0" in value:
            return CurationEntry(
                where, name, problem=f"found {str(value)[:200]!r}, allowed is a path"
            )
        root = Path(self._source.root or self._path.parent)
        path = root / value
        try:
            real = path.resolve(strict=True)
            stat = real.stat()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "a circular link"
            return CurationEntry(str(path), name, problem=f"cannot be read: {reason}")
        if not real.is_file():
            return CurationEntry(
                str(path), name, problem="not a regular file: put the picture itself there"
            )
        if not real.is_relative_to(root.resolve()):
            return CurationEntry(
                str(path), name, problem=f"{value} leads out of {root}: set the root"
            )
        return CurationEntry(
            str(path),
            name,
            path=str(path.absolute()),
            length=stat.st_size,
            stamp=(stat.st_size, stat.st_mtime_ns),
            text=text,
        )
