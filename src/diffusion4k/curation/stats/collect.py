"""The pictures of a dataset by their headers, part by part, and their sizes as in Table 9."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.verify.parts import find_parts, scan
from diffusion4k.data.folder import MIN_SIDE, Photo
from diffusion4k.data.metadata import METADATA
from diffusion4k.data.problems import Problem
from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = ["PAPER", "SizeRow", "StatsPart", "collect"]


@dataclass(frozen=True)
class SizeRow:
    """A row of Table 9, in pixels, and how many pictures it is about."""

    name: str
    median_height: float
    median_width: float
    mean_height: float
    mean_width: float
    pictures: int


PAPER = (
    SizeRow("PixArt-30k", 1615, 1801, 2531, 2656, 30_000),
    SizeRow("Aesthetic-Train", 4128, 4640, 4578, 4838, 12_015),
    SizeRow("Aesthetic-Eval@2048", 2983, 3613, 3143, 3746, 2_781),
    SizeRow("Aesthetic-Eval@4096", 4912, 6449, 5269, 6420, 195),
)
"""Table 9 of the supplement."""


@dataclass(frozen=True)
class StatsPart:
    """Pictures of one image folder of the dataset."""

    name: str
    folder: str
    """Relative to the dataset, `.` for its own."""
    photos: list[Photo]
    is_evaluation: bool

    @property
    def heights(self) -> NDArray[np.int64]:
        """Pixels, upright, `(N,)`."""
        return np.array([photo.height for photo in self.photos])

    @property
    def widths(self) -> NDArray[np.int64]:
        """Pixels, upright, `(N,)`."""
        return np.array([photo.width for photo in self.photos])

    @property
    def words(self) -> NDArray[np.int64]:
        """Number of words of each caption, `(N,)`."""
        return np.array([len(photo.text.split()) for photo in self.photos])

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""
        return sum(photo.path.stat().st_size for photo in self.photos)

    def size_row(self) -> SizeRow:
        """This part's row of Table 9."""
        heights, widths = self.heights, self.widths
        medians = float(np.median(heights)), float(np.median(widths))
        means = float(heights.mean()), float(widths.mean())
        return SizeRow(self.name, *medians, *means, pictures=len(self.photos))

    def to_json(self) -> dict[str, object]:
        """Counts and sizes."""
        row, words = self.size_row(), self.words
        return {
            "pictures": len(self.photos),
            "bytes": self.bytes,
            "height": {"median": row.median_height, "mean": row.mean_height},
            "width": {"median": row.median_width, "mean": row.mean_width},
            "words": {"median": float(np.median(words)), "mean": float(words.mean())},
        }


def collect(dataset: Path, *, progress: bool = False) -> tuple[list[StatsPart], list[Problem]]:
    """The parts that have pictures, and what is wrong in them; nothing is decoded.

    Parts to train on come before those to evaluate on.

    Raises:
        UsageError: no such folder, or nothing in it.
        Diffusion4kError: no usable picture.
    """
    if not dataset.is_dir():
        raise UsageError(f"{dataset}: no such folder: give the folder of a dataset")
    parts: list[StatsPart] = []
    problems: list[Problem] = []
    packed = 0
    for part in find_parts(dataset):
        if not part.path.is_dir():
            packed += 1
            continue
        found = scan(part.path, MIN_SIDE, captioned=False, progress=progress)
        problems += found.problems
        if found.photos:
            name = dataset.resolve().name if part.name == "." else part.name
            parts.append(StatsPart(name, part.name, found.photos, part.is_evaluation))
    if not parts:
        if problems:
            raise Diffusion4kError(f"{problems[0]} (and no usable picture in {dataset})")
        what = "only archives in it: unpack them" if packed else f"no pictures and no {METADATA}"
        raise UsageError(f"{dataset}: {what}: give the folder of a dataset")
    return sorted(parts, key=lambda part: part.is_evaluation), problems
