"""The image folder: photographs and a `metadata.jsonl` that gives each its caption.

A sub-folder with a `metadata.jsonl` of its own is another image folder.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffusion4k.data.beside import TABLE, has_captions_beside, rows_beside, rows_of_table
from diffusion4k.data.images import image_size
from diffusion4k.data.metadata import METADATA, Row, read_rows
from diffusion4k.data.picture_files import image_files, unread_files
from diffusion4k.data.problems import Problem, report_skipped
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.bundled import POCKET, photo_folder
from diffusion4k.support.cores import cores
from diffusion4k.support.prefetch import prefetch
from diffusion4k.support.progress import track
from diffusion4k.support.wording import counted

__all__ = [
    "MAX_ASPECT",
    "METADATA",
    "MIN_SIDE",
    "FolderScan",
    "Photo",
    "look_at",
    "metadata_of",
    "photo_folder",
    "read_folder",
    "rows_of",
    "scan_folder",
    "where_from",
]

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


def where_from(name: str | Path) -> str:
    """What to say of a missing folder that is called as the recipes call the paper's dataset."""
    if not str(name).replace("_", "-").rpartition("/")[2].lower().startswith("aesthetic-"):
        return ""
    return (
        "; Aesthetic-4K is zhang0jhon/Aesthetic-4K on the Hugging Face hub: docs/paper.md says how "
        "to lay it out"
    )


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
            more = f" (and {counted(others, 'more problem')})" if others else ""
            raise Diffusion4kError(
                f"{self.problems[0]}{more}; `diffusion4k dataset verify {self.folder}` lists all, "
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

    Only headers are read: pixels that cannot be decoded come to light in `diffusion4k dataset
    verify` or when the cache is built.

    Raises:
        Diffusion4kError: no folder, no `metadata.jsonl`, no usable photograph, or the first
            problem found, unless `skip_bad`.
    """
    return scan_folder(folder).usable(skip_bad=skip_bad)


def scan_folder(
    folder: str | Path,
    *,
    min_side: int = MIN_SIDE,
    captioned: bool = True,
    progress: bool = False,
) -> FolderScan:
    """All usable photographs of a folder, and everything that is wrong in it.

    Args:
        min_side: pixels; photographs with a shorter side are a problem.
        captioned: photographs without a caption are a problem.

    Raises:
        UsageError: no folder, or no caption in it.
    """
    folder = Path(folder)
    metadata = metadata_of(folder)
    if metadata is None:
        rows = _rows(folder, None)
        return FolderScan(folder, *look_at(folder, rows, min_side=min_side, progress=progress))
    named: set[str] = set()

    def named_rows() -> Iterator[Row | Problem]:
        for row in _rows(folder, metadata):
            if isinstance(row, Row):
                named.add(posixpath.normpath(row.file_name))
                if captioned and not row.text:
                    row = Problem(row.where, _without_caption(row), "caption-missing")
            yield row

    photos, problems = look_at(folder, named_rows(), min_side=min_side, progress=progress)
    for path in image_files(folder):
        if path.relative_to(folder).as_posix() not in named:
            reason = f"no line in {metadata.name} names it: add one, or move the file away"
            problems.append(Problem(str(path), reason, "unnamed"))
    problems += unread_files(folder, named)
    return FolderScan(folder, photos, problems)


def rows_of(folder: Path) -> Iterator[Row | Problem]:
    """Photographs and captions of an image folder, as its metadata or its texts have them.

    Raises:
        UsageError: no folder, or no caption in it.
    """
    return _rows(folder, metadata_of(folder))


def _rows(folder: Path, metadata: Path | None) -> Iterator[Row | Problem]:
    if metadata is None:
        return rows_beside(folder)
    return read_rows(metadata) if metadata.name == METADATA else rows_of_table(metadata)


def metadata_of(folder: Path) -> Path | None:
    """`metadata.jsonl`, else `metadata.csv`; None: the captions lie beside the pictures.

    Raises:
        UsageError: no folder, or no caption in it.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "no such folder"
        raise UsageError(
            f"{folder}: {what}: give a folder with {METADATA} in it, or {POCKET} for the bundled "
            f"photographs{where_from(folder)}"
        )
    for name in (METADATA, TABLE):
        if (folder / name).is_file():
            return folder / name
    if has_captions_beside(folder):
        return None
    raise UsageError(
        f"{folder}: no captions in it: neither {METADATA}, one line per photograph as "
        f'{{"file_name": ..., "text": ...}}, nor {TABLE}, nor a.txt beside a.jpg: `diffusion4k '
        "dataset caption` writes them, by GPT-4o or a model on this machine"
    )


def _without_caption(row: Row) -> str:
    if row.values.get("text") is None:
        found = "null" if "text" in row.values else "no such key"
        return f'"text": found {found}, allowed is a string'
    return '"text" is empty: write a caption'


def look_at(
    folder: Path,
    rows: Iterable[Row | Problem],
    *,
    min_side: int = MIN_SIDE,
    progress: bool = False,
) -> tuple[list[Photo], list[Problem]]:
    """The photographs that `rows` name, by their headers, and the problems among them, in order."""
    photos: list[Photo] = []
    problems: list[Problem] = []
    look = partial(_photo, folder, min_side)
    # Headers cost waiting for the disk more than computing.
    rows = list(rows)
    looked = prefetch(look, rows, workers=2 * cores())
    for found in track(looked, len(rows), "reading headers", shown=progress):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            photos.append(found)
    return photos, problems


def _photo(folder: Path, min_side: int, row: Row | Problem) -> Photo | Problem:
    if isinstance(row, Problem):
        return row
    path = folder / row.file_name
    try:
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            return Problem(str(path), f"{what}: give an image file", "missing")
        width, height = image_size(path)
    except Diffusion4kError as error:
        return Problem(str(path), str(error).removeprefix(f"{path}: "), "broken")
    except OSError as error:
        return Problem(str(path), f"cannot be read: {error.strerror}", "broken")
    size, shorter = f"{width}x{height} pixels", min(width, height)
    if shorter < min_side:
        reason = f"{size}, allowed at least {min_side} a side: replace or remove"
        return Problem(str(path), reason, "too-small")
    if max(width, height) > MAX_ASPECT * shorter:
        reason = f"{size}, allowed at most {MAX_ASPECT} to 1: crop or remove it"
        return Problem(str(path), reason, "aspect")
    return Photo(path, row.file_name, row.text, width, height)
