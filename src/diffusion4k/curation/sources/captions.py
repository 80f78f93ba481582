"""The lines of a `metadata.jsonl` in a raw folder, in which anything may be wrong."""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.data.metadata import METADATA
from diffusion4k.data.sidecars import caption_in, object_from

__all__ = ["Named", "read_metadata"]


@dataclass(frozen=True)
class Named:
    """A line of `metadata.jsonl`: the picture it names, or a `problem`."""

    where: str
    file_name: str = ""
    text: str | None = None
    problem: str | None = None


def read_metadata(folder: Path, keys: Sequence[str]) -> Iterator[Named]:
    """The lines of the folder's `metadata.jsonl`; a line without caption is no problem here."""
    with (folder / METADATA).open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                yield _line(line, f"{folder / METADATA}:{number}", keys)


def _line(line: bytes, where: str, keys: Sequence[str]) -> Named:
    try:
        row = object_from(line)
        file_name = row.get("file_name")
        if not isinstance(file_name, str) or not file_name or "\0" in file_name:
            raise ValueError('no "file_name", which names the picture')
        if posixpath.isabs(file_name) or ".." in file_name.split("/"):
            raise ValueError(f"{file_name} leads out of the folder: give a path inside it")
        return Named(where, posixpath.normpath(file_name), caption_in(row, keys))
    except ValueError as error:
        return Named(where, problem=str(error))
