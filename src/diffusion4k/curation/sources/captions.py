"""Captions that lie beside pictures: `metadata.jsonl`, or a text or JSON file of the same name."""

import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion4k.data.folder import METADATA

__all__ = ["SIDECARS", "Named", "caption_in", "caption_of", "read_metadata", "text_from"]

SIDECARS = (".txt", ".json")
_MOST_BYTES = 1 << 20  # a caption is no book


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
        row = _object(line)
        file_name = row.get("file_name")
        if not isinstance(file_name, str) or not file_name or "\0" in file_name:
            raise ValueError('no "file_name", which names the picture')
        if posixpath.isabs(file_name) or ".." in file_name.split("/"):
            raise ValueError(f"{file_name} leads out of the folder: give a path inside it")
        return Named(where, posixpath.normpath(file_name), caption_in(row, keys))
    except ValueError as error:
        return Named(where, problem=str(error))


def caption_of(path: Path, keys: Sequence[str]) -> str | None:
    """The caption in a text or JSON file beside a picture.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, allowed {_MOST_BYTES}: no caption")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return text_from(content, path.suffix.lower(), keys)


def text_from(content: bytes, suffix: str, keys: Sequence[str]) -> str | None:
    """As `caption_of`, of what a file with this ending holds."""
    if suffix == ".json":
        return caption_in(_object(content), keys)
    return _clean(_text(content))


def caption_in(row: dict[str, Any], keys: Sequence[str]) -> str | None:
    """The first of `keys` that holds text.

    Raises:
        ValueError: it holds something else.
    """
    for key in keys:
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            raise ValueError(f'"{key}": found {type(value).__name__}, allowed is a string')
        if value and value.strip():
            return _clean(value)
    return None


def _clean(text: str) -> str | None:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("the caption holds a character that is no text")
    return " ".join(text.split()) or None


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text: save the file as UTF-8") from None


def _object(content: bytes) -> dict[str, Any]:
    text = _text(content)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error}): allowed is a JSON object") from None
    if not isinstance(row, dict):
        raise ValueError(f"found a JSON {type(row).__name__}, allowed is an object")
    return row
