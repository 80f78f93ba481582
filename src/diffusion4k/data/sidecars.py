"""Captions that lie beside pictures, in a text or JSON file of the picture's name.

    lake.jpg  lake.txt              the name up to its last ending; `.caption` and `.json` alike
    lake.jpg  lake.jpg.txt          the whole name
    photo.1.jpg  photo.txt          in a tar: the name up to its first dot, for all that share it

The ending counts in upper case too. What fits a picture's name better is taken first.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from diffusion4k.support.text_files import json_of, text_of

__all__ = [
    "CAPTION_KEYS",
    "MOST_BYTES",
    "Sidecars",
    "caption_in",
    "caption_of",
    "is_sidecar",
    "object_from",
    "text_from",
]

CAPTION_KEYS = ("text", "caption")
"""Keys of a JSON object that may hold the caption; the first that does, counts."""
MOST_BYTES = 1 << 20
"""Largest caption file: a caption is not a book."""

_ENDINGS = (".txt", ".caption", ".json")
_OTHER_TEXTS = ("readme", "license", "licence", "copying", "notice", "changelog", "requirements")


class Sidecars:
    """The caption files among names, and which pictures they belong to.

    Args:
        names: of all files, in order; a name may be there several times, as in a tar.
        by_key: a file with the name up to the first dot belongs to all that share it.
    """

    def __init__(self, names: Iterable[str], *, by_key: bool = False) -> None:
        self._by_key = by_key
        self._found: dict[str, list[str]] = defaultdict(list)
        self._places: dict[str, list[int]] = defaultdict(list)
        self._used: set[str] = set()
        for place, name in enumerate(names):
            if is_sidecar(name):
                self._places[_folded(name)].append(place)
                self._found[_folded(name)].append(name)

    def of(self, picture: str, occurrence: int = 0) -> list[tuple[int, str]]:
        """Caption files of the picture, the best first: each one's rank among the names, and name.

        Where names are there several times, the picture's first `occurrence` (0) goes with the
        first file of a name, its second with the second.
        """
        bases = [picture, posixpath.splitext(picture)[0]]
        if self._by_key:
            folder, slash, base = picture.rpartition("/")
            bases.append(f"{folder}{slash}{base.partition('.')[0]}")
        files = []
        for name in dict.fromkeys(base + ending for base in bases for ending in _ENDINGS):
            if found := self._found.get(name):
                self._used.add(name)
                number = min(occurrence, len(found) - 1)
                files.append((self._places[name][number], found[number]))
        return files

    def orphans(self) -> Iterator[str]:
        """Caption files to which no requested picture belongs."""
        for name, found in self._found.items():
            base = posixpath.basename(name)
            if name not in self._used and not base.lower().startswith(_OTHER_TEXTS):
                yield from found if not name.endswith(".json") else ()


def is_sidecar(name: str) -> bool:
    """Whether a file may hold the caption of another."""
    return posixpath.splitext(name)[1].lower() in _ENDINGS


def _folded(name: str) -> str:
    base, ending = posixpath.splitext(name)
    return base + ending.lower()


def caption_of(path: Path, keys: Sequence[str], *, as_written: bool = False) -> str | None:
    """The caption in a file beside a picture; arguments and errors as of `text_from`.

    Raises:
        ValueError: also if it cannot be read, or is no plain file.
    """
    if not path.is_file():
        raise ValueError("not a regular file: put the caption itself here")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(
                f"{path.stat().st_size} bytes, allowed {MOST_BYTES}: too large for a caption"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return text_from(content, path.suffix, keys, as_written=as_written)


def text_from(
    content: bytes, ending: str, keys: Sequence[str], *, as_written: bool = False
) -> str | None:
    """The caption that a file with this ending holds; None if it is empty.

    Args:
        keys: of a JSON object, those that may hold it.
        as_written: line ends, repeated blanks and characters that are no text are left in it.

    Raises:
        ValueError: what is wrong with it.
    """
    is_json = ending.lower() == ".json"
    text = (_first(object_from(content), keys) if is_json else text_of(content)) or ""
    return (text.strip() or None) if as_written else _clean(text)


def caption_in(row: dict[str, object], keys: Sequence[str]) -> str | None:
    """The first of `keys` that holds text, in one line.

    Raises:
        ValueError: it holds something else.
    """
    return _clean(_first(row, keys) or "")


def _first(row: dict[str, object], keys: Sequence[str]) -> str | None:
    for key in keys:
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            raise ValueError(f'"{key}": found {type(value).__name__}, allowed is a string')
        if value and value.strip():
            return value
    return None


def _clean(text: str) -> str | None:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("the caption holds a character that is not text")
    return " ".join(text.split()) or None


def object_from(content: bytes) -> dict[str, object]:
    """The JSON object that a file or a line holds.

    Raises:
        ValueError: what it is instead.
    """
    text = text_of(content)
    try:
        row = json_of(text)
    except ValueError as error:
        raise ValueError(f"not valid JSON ({error}): allowed is a JSON object") from None
    if not isinstance(row, dict):
        raise ValueError(f"found a JSON {type(row).__name__}, allowed is an object")
    return row
