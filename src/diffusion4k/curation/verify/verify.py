"""A check of every picture of a dataset, one part after the other."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from diffusion4k.curation.verify.cross_picture import (
    find_clashing_names,
    find_duplicates,
    find_repeated_captions,
    spelling,
)
from diffusion4k.curation.verify.parts import DatasetPart, find_parts, rows_of, scan
from diffusion4k.curation.verify.pictures import VerifiedPhoto, damage, look
from diffusion4k.curation.verify.report import Report
from diffusion4k.data.folder import MIN_SIDE, FolderScan, Photo, look_at
from diffusion4k.data.metadata import METADATA, Row
from diffusion4k.data.picture_files import image_files
from diffusion4k.data.problems import Problem
from diffusion4k.errors import UsageError
from diffusion4k.support.cores import cores
from diffusion4k.support.prefetch import prefetch
from diffusion4k.support.progress import track

__all__ = ["verify_dataset"]


def verify_dataset(
    dataset: str | Path, *, min_side: int = MIN_SIDE, progress: bool = True
) -> Report:
    """Look through a dataset in any of the layouts of `parts`.

    Raises:
        UsageError: no such folder, or no pictures, metadata or archives in it.
    """
    dataset = Path(dataset)
    if not dataset.is_dir():
        raise UsageError(f"{dataset}: no such folder: give the folder of a dataset")
    parts = find_parts(dataset)
    if not parts:
        raise UsageError(
            f"{dataset}: no {METADATA}, no pictures and no archives in it: give the folder of a "
            "dataset"
        )
    pictures: list[VerifiedPhoto] = []
    others: list[Problem] = []
    for part in parts:
        with part.opened() as (folder, bad):
            found, wrong = _part(part, folder, dataset, min_side, progress)
        pictures += found
        others += bad + wrong
    find_clashing_names(pictures)
    find_repeated_captions(pictures)
    find_duplicates(pictures)
    return Report(dataset, pictures, others)


def _part(
    part: DatasetPart, folder: Path, dataset: Path, min_side: int, progress: bool
) -> tuple[list[VerifiedPhoto], list[Problem]]:
    """Pictures of a part, and what is wrong besides; `folder` is where its files are."""
    found = scan(folder, min_side, progress=progress)
    respelled, problems = _respelled(found, folder, min_side)
    # Of an archive all lies in its folder; there is no link.
    root = folder if folder != part.path else dataset
    photos = [*found.photos, *respelled]
    looked = prefetch(partial(look, part, root=root), photos, workers=min(4, cores()))
    what = "decoding" if part.name == "." else f"decoding {part.name}"
    pictures = list(track(looked, len(photos), what, shown=progress))
    for picture in pictures[len(found.photos) :]:
        named = respelled[picture.photo]
        picture.add("name", f"named {named}: use the file's own name")
    problems = _decoded(folder, photos, problems, what, progress)
    return pictures, [
        replace(p, where=p.where.replace(str(folder), str(part.path), 1)) for p in problems
    ]


def _decoded(
    folder: Path, photos: Sequence[Photo], problems: list[Problem], what: str, progress: bool
) -> list[Problem]:
    """The problems, with `broken` for what has no caption and cannot be decoded, either."""
    unnamed = {p.where for p in problems if p.kind == "unnamed"}
    looked_at = {str(photo.path) for photo in photos} | {p.where for p in problems} - unnamed
    left = [path for path in image_files(folder) if str(path) not in looked_at]
    found = prefetch(damage, left, workers=min(4, cores()))
    reasons = track(found, len(left), f"{what} without captions", shown=progress)
    broken = {
        str(path): Problem(str(path), why, "broken")
        for path, why in zip(left, reasons, strict=True)
        if why
    }
    still_unnamed = [p for p in problems if p.kind != "unnamed" or p.where not in broken]
    return [*still_unnamed, *broken.values()]


def _respelled(
    found: FolderScan, folder: Path, min_side: int
) -> tuple[dict[Photo, str], list[Problem]]:
    """Photographs whose name is spelled otherwise in a line than on the disk, with the line's name.

    The other problems of the scan come with them.
    """
    missing = {p.where for p in found.problems if p.kind == "missing"}
    unnamed = {
        spelling(Path(p.where).relative_to(folder).as_posix()): p.where
        for p in found.problems
        if p.kind == "unnamed"
    }
    if not missing or not unnamed:
        return {}, found.problems
    settled: set[str] = set()
    rows: list[Row] = []
    names: dict[str, str] = {}
    for row in rows_of(folder):
        if isinstance(row, Problem) or str(folder / row.file_name) not in missing:
            continue
        if path := unnamed.pop(spelling(row.file_name), None):
            name = Path(path).relative_to(folder).as_posix()
            rows.append(replace(row, file_name=name))
            names[name] = row.file_name
            settled |= {path, str(folder / row.file_name)}
    photos, bad = look_at(folder, rows, min_side=min_side)
    left = [p for p in found.problems if p.where not in settled]
    return {photo: names[photo.file_name] for photo in photos}, left + bad
