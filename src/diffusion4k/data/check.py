"""Looking through an image folder before anything is built on it.

The statistics are those by which Diffusion-4K describes Aesthetic-4K (supplement, Table 9).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from diffusion4k.data.folder import Photo, scan_folder
from diffusion4k.data.images import open_rgb
from diffusion4k.data.problems import Problem
from diffusion4k.data.progress import prefetch, track
from diffusion4k.errors import Diffusion4kError

__all__ = ["FolderReport", "check_folder"]

_SHORT_SIDES = (1024, 2048, 4096)


@dataclass(frozen=True)
class FolderReport:
    """What is in an image folder, and what is wrong with it."""

    folder: Path
    photos: list[Photo]
    """Those that are usable: named with a caption, and decoded to the last pixel."""
    problems: list[Problem]

    def lines(self) -> list[str]:
        """The report as text, problems last."""
        lines = [f"{self.folder}: {len(self.photos)} photographs, {len(self.problems)} problems"]
        if self.photos:
            widths = [photo.width for photo in self.photos]
            heights = [photo.height for photo in self.photos]
            megapixels = [photo.width * photo.height / 1e6 for photo in self.photos]
            words = [len(photo.text.split()) for photo in self.photos]
            gigabytes = sum(photo.path.stat().st_size for photo in self.photos) / 1e9
            lines += [
                f"{'':12}{'median':>8}{'mean':>8}{'least':>8}{'most':>8}",
                _row("height", heights),
                _row("width", widths),
                _row("megapixels", megapixels, 1),
                _row("words", words),
                f"on disk: {gigabytes:.2f} GB",
            ]
            shorter = [min(size) for size in zip(widths, heights, strict=True)]
            counts = (f">= {s}: {sum(side >= s for side in shorter)}" for s in _SHORT_SIDES)
            lines.append(f"shorter side {', '.join(counts)}")
        return lines + [f"bad: {problem}" for problem in self.problems]


def check_folder(folder: str | Path, *, progress: bool = True) -> FolderReport:
    """Read the folder and decode every photograph in it fully.

    Raises:
        Diffusion4kError: no folder, or no `metadata.jsonl` in it.
    """
    scan = scan_folder(folder)
    found, problems = scan.photos, list(scan.problems)
    photos = []
    looked_at = prefetch(_problem, found, workers=min(4, os.cpu_count() or 1))
    for photo, problem in zip(
        found, track(looked_at, len(found), "decoding", shown=progress), strict=True
    ):
        if problem:
            problems.append(problem)
        else:
            photos.append(photo)
    return FolderReport(Path(folder), photos, problems)


def _problem(photo: Photo) -> Problem | None:
    try:
        open_rgb(photo.path)
    except Diffusion4kError as error:
        return Problem(str(photo.path), str(error).removeprefix(f"{photo.path}: "))
    return None


def _row(name: str, values: list[int] | list[float], digits: int = 0) -> str:
    figures = (median(values), mean(values), min(values), max(values))
    return f"{name:12}" + "".join(f"{figure:8.{digits}f}" for figure in figures)
