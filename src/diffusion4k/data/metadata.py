"""`metadata.jsonl`: one JSON object a line that gives a photograph its caption.

    {"file_name": "lake.jpg", "text": "A lake at dawn."}

`file_name` is relative to the folder of the file, with `/` between sub-folders. Other keys are kept
by those who rewrite the file and ignored by all others.
"""

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.data.problems import Problem
from diffusion4k.support.files import write_text
from diffusion4k.support.text_files import json_of

__all__ = ["METADATA", "Row", "read_rows", "row_from", "write_rows"]

METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Row:
    """A line that names a photograph and its caption."""

    where: str
    """`.../metadata.jsonl:LINE`."""
    file_name: str
    text: str
    """The caption without blanks around it; empty if there is none."""
    values: dict[str, object]
    """The whole object."""


def read_rows(metadata: Path) -> Iterator[Row | Problem]:
    """The lines of the file in order; of a bad one what is wrong with it.

    A photograph that is named for the second time is a problem too; one without a caption is not.
    """
    named: dict[str, int] = {}
    for number, line in _lines(metadata):
        where = f"{metadata}:{number}"
        row = _parse(line, where)
        if isinstance(row, Row):
            first = named.setdefault(posixpath.normpath(row.file_name), number)
            if first != number:
                reason = f"{row.file_name} is named in line {first} already: keep one of them"
                row = Problem(where, reason, "named-twice")
        yield row


def write_rows(metadata: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write the file, wholly or not at all."""
    write_text(metadata, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _lines(metadata: Path) -> Iterator[tuple[int, bytes]]:
    with metadata.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line


def _parse(line: bytes, where: str) -> Row | Problem:
    try:
        values = json_of(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Problem(where, "not UTF-8 text: save the file as UTF-8", "encoding")
    except ValueError as error:
        reason = f"not valid JSON ({error}): allowed is one JSON object a line"
        return Problem(where, reason, "metadata")
    if not isinstance(values, dict):
        reason = f"found a JSON {type(values).__name__}, allowed is an object"
        return Problem(where, reason, "metadata")
    return row_from(values, where)


def row_from(values: dict[str, object], where: str) -> Row | Problem:
    """The row that an object of file name and caption stands for, or what is wrong with it."""
    texts = {"text": ""}
    for key, kind in (("file_name", "metadata"), ("text", "caption-missing")):
        value = values.get(key)
        if key == "text" and value is None:
            continue
        if not isinstance(value, str):
            found = type(value).__name__ if key in values else "no such key"
            return Problem(where, f'"{key}": found {found}, allowed is a string', kind)
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            return Problem(where, f'"{key}" holds a character that is not text', "encoding")
        texts[key] = value
    file_name = texts["file_name"]
    if not file_name.strip():
        return Problem(where, '"file_name" is empty: name the photograph', "metadata")
    parts = posixpath.normpath(file_name).split("/")
    if posixpath.isabs(file_name) or ".." in parts:
        reason = f"{file_name} leads out of the folder: give a path inside it"
        return Problem(where, reason, "path")
    return Row(where, file_name, texts["text"].strip(), values)
