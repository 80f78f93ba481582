"""The image folder: photographs and a `metadata.jsonl` that gives each its caption.

One JSON object a line: `{"file_name": "lake.jpg", "text": "A lake at dawn."}`. `file_name` is
relative to the folder, with `/` between sub-folders; other keys are ignored.
"""

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.data.images import SUFFIXES, image_size
from diffusion4k.data.problems import Problem, report_skipped
from diffusion4k.errors import Diffusion4kError

__all__ = [
    "MAX_ASPECT",
    "METADATA",
    "MIN_SIDE",
    "FolderScan",
    "Photo",
    "photo_folder",
    "read_folder",
    "scan_folder",
]

METADATA = "metadata.jsonl"
MIN_SIDE = 64
"""Pixels; a smaller picture is no photograph to learn detail from (a thumbnail, an icon)."""
MAX_ASPECT = 4
"""Longer side over shorter side; beyond it, at a shorter side of 4096, memory runs out."""


@dataclass(frozen=True)
class Photo:
    """A photograph with its caption."""

    path: Path
    file_name: str
    """Relative to the folder, as `metadata.jsonl` has it."""
    text: str
    width: int
    """Pixels, upright."""
    height: int


def photo_folder(name: str | Path) -> Path:
    """The folder itself, or for `pocket` the one with the bundled photographs."""
    if str(name) == "pocket":
        return Path(__file__).parents[1] / "pocket" / "photographs"
    return Path(name)


@dataclass(frozen=True)
class FolderScan:
    """What is in an image folder, judged by its metadata and the headers of its images."""

    folder: Path
    photos: list[Photo]
    problems: list[Problem]

    def usable(self, *, skip_bad: bool = False) -> list[Photo]:
        """The photographs; with `skip_bad` problems are reported by name and left out.

        Raises:
            Diffusion4kError: the first problem without `skip_bad`, or no usable photograph.
        """
        if skip_bad:
            report_skipped(self.problems)
        elif self.problems:
            others = len(self.problems) - 1
            more = f" (and {others} more problems)" if others else ""
            raise Diffusion4kError(
                f"{self.problems[0]}{more}; `diffusion4k dataset check {self.folder}` lists all, "
                "--skip-bad leaves them out"
            )
        if not self.photos:
            raise Diffusion4kError(
                f"{self.folder / METADATA}: names no usable photograph: add lines like "
                '{"file_name": "lake.jpg", "text": "A lake at dawn."}'
            )
        return self.photos


def read_folder(folder: str | Path, *, skip_bad: bool = False) -> list[Photo]:
    """The photographs of an image folder, in the order of its `metadata.jsonl`.

    Only headers are read: pixels that cannot be decoded come to light in `check_folder` or when
    the cache is built.

    Raises:
        Diffusion4kError: no folder, no `metadata.jsonl`, no usable photograph, or the first
            problem found, unless `skip_bad`.
    """
    return scan_folder(folder).usable(skip_bad=skip_bad)


def scan_folder(folder: str | Path) -> FolderScan:
    """All usable photographs of a folder, and everything that is wrong in it.

    Raises:
        Diffusion4kError: no folder, or no `metadata.jsonl` in it.
    """
    folder = Path(folder)
    metadata = folder / METADATA
    if not folder.is_dir():
        raise Diffusion4kError(f"{folder}: no such folder: give a folder with {METADATA} in it")
    if not metadata.is_file():
        raise Diffusion4kError(
            f"{folder}: no {METADATA} in it: it gives one line per photograph, "
            '{"file_name": ..., "text": ...}'
        )
    photos: list[Photo] = []
    problems: list[Problem] = []
    named: dict[str, int] = {}
    for number, line in _lines(metadata):
        where = f"{metadata}:{number}"
        try:
            file_name, text = _parse(line)
            first = named.setdefault(posixpath.normpath(file_name), number)
            if first != number:
                raise ValueError(f"{file_name} is named in line {first} already: keep one of them")
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            continue
        photo = _photo(folder / file_name, file_name, text)
        if isinstance(photo, Problem):
            problems.append(photo)
        else:
            photos.append(photo)
    for path in _images(folder):
        if path.relative_to(folder).as_posix() not in named:
            reason = f"no line in {METADATA} names it: add one, or move the file away"
            problems.append(Problem(str(path), reason))
    return FolderScan(folder, photos, problems)


def _lines(metadata: Path) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(metadata.read_bytes().split(b"\n"), 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, line


def _parse(line: bytes) -> tuple[str, str]:
    """`file_name` and `text` of a line; `ValueError` says what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text: save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error}): allowed is one JSON object a line") from None
    if not isinstance(row, dict):
        raise ValueError(f"found a JSON {type(row).__name__}, allowed is an object")
    for key in ("file_name", "text"):
        value = row.get(key)
        if not isinstance(value, str):
            found = type(value).__name__ if key in row else "no such key"
            raise ValueError(f'"{key}": found {found}, allowed is a string')
        if not value.strip():
            what = "write a caption" if key == "text" else "name the photograph"
            raise ValueError(f'"{key}" is empty: {what}')
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f'"{key}" holds a character that is no text')
    file_name = row["file_name"]
    parts = posixpath.normpath(file_name).split("/")
    if posixpath.isabs(file_name) or ".." in parts:
        raise ValueError(f"{file_name} leads out of the folder: give a path inside it")
    return file_name, row["text"].strip()


def _photo(path: Path, file_name: str, text: str) -> Photo | Problem:
    try:
        width, height = image_size(path)
    except Diffusion4kError as error:
        return Problem(str(path), str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return Problem(str(path), f"cannot be read: {error.strerror}")
    size, shorter = f"{width}x{height} pixels", min(width, height)
    if shorter < MIN_SIDE:
        return Problem(str(path), f"{size}, allowed at least {MIN_SIDE} a side: replace or remove")
    if max(width, height) > MAX_ASPECT * shorter:
        return Problem(str(path), f"{size}, allowed at most {MAX_ASPECT} to 1: crop or remove it")
    return Photo(path, file_name, text, width, height)


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
