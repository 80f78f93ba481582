"""Captions of a folder: which of its pictures have none, and the `metadata.jsonl` that gets them.

Lines that are there stay in their order with all their keys; pictures without a line get one at
the end. A build folder (one with `manifest.parquet`) only gets the ledger: the build publishes.
"""

from dataclasses import dataclass
from pathlib import Path

from diffusion4k.curation.captions.jobs import estimate, make_plan
from diffusion4k.curation.captions.ledger import CaptionLedger
from diffusion4k.curation.captions.run import CaptioningStopped, CaptionReport, caption
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.curation.files import LEDGER, MANIFEST, SPLITS
from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import SUFFIXES
from diffusion4k.data.metadata import METADATA, read_rows, write_rows
from diffusion4k.data.picture_files import is_picture, why_unread
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.ledger import scratch_copy
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.bundled import PHOTOGRAPHS
from diffusion4k.support.files import leads_out

__all__ = ["FolderPictures", "caption_folder", "estimate_folder", "find_pictures"]


Line = dict[str, object]


@dataclass(frozen=True)
class FolderPictures:
    """Pictures to caption, and what keeps others out."""

    pictures: list[Path]
    problems: list[Problem]
    rows: dict[str, Line]
    """Lines of `metadata.jsonl` by file name, in their order; empty for a build folder."""
    is_build: bool


def find_pictures(folder: Path, *, overwrite: bool = False) -> FolderPictures:
    """The folder's pictures without a caption; all of them with `overwrite`.

    Raises:
        UsageError: no folder, or no picture in it.
        Diffusion4kError: a line of `metadata.jsonl` is wrong.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: give a folder of pictures")
    is_build = (folder / MANIFEST).is_file()
    parts = [folder / split for split in SPLITS] if is_build else [folder]
    pictures: list[Path] = []
    problems: list[Problem] = []
    rows: dict[str, Line] = {}
    found = 0
    for part in (part for part in parts if part.is_dir()):
        rows = _rows(part / METADATA)
        files, bad = _pictures(part)
        found += len(files) + len(bad)
        problems += bad
        for name, path in files.items():
            text = rows.get(name, {}).get("text")
            if overwrite or not (isinstance(text, str) and text.strip()):
                pictures.append(path)
        for name in rows.keys() - files.keys():
            if not (part / name).is_file():
                problems.append(Problem(str(part / name), f"no such file, but {METADATA} names it"))
    if not found:
        endings = ", ".join(sorted(SUFFIXES))
        raise UsageError(f"{folder}: no picture in it: give one with files {endings}")
    return FolderPictures(pictures, problems, {} if is_build else rows, is_build)


def caption_folder(
    folder: Path,
    settings: CaptionSettings,
    *,
    overwrite: bool = False,
    prefix: str = "",
    progress: bool = True,
) -> CaptionReport:
    """Caption the pictures of a folder that have no caption; the ledger lies in the folder.

    `prefix` stands before each new caption, such as a trigger word, and not in the ledger; a build
    folder has none. What is finished is written into `metadata.jsonl` even if the run has to stop.

    Raises:
        UsageError: the bundled photographs.
        Stopped: see `caption`; Diffusion4kError: see `find_pictures` and `caption`.
    """
    if photo_folder(folder) == PHOTOGRAPHS:
        raise UsageError(
            f"{folder}: comes with the package, where nothing is written: copy {PHOTOGRAPHS} and "
            "caption the copy; --estimate reports the cost"
        )
    found = find_pictures(folder, overwrite=overwrite)
    try:
        report = caption(found.pictures, settings, folder / LEDGER, progress=progress)
    except CaptioningStopped as stopped:
        _publish(folder, found, stopped.report, prefix)
        stopped.report.problems += found.problems
        raise
    _publish(folder, found, report, prefix)
    report.problems += found.problems
    return report


def estimate_folder(folder: Path, settings: CaptionSettings, *, overwrite: bool = False) -> str:
    """What `caption_folder` would cost, in one line; nothing is sent or written.

    Raises:
        Diffusion4kError: see `find_pictures`.
    """
    folder = photo_folder(folder)
    found = find_pictures(folder, overwrite=overwrite)
    with scratch_copy(folder / LEDGER) as copy, CaptionLedger(copy) as ledger:
        plan = make_plan(found.pictures, settings, ledger, progress=True)
    return estimate(plan.jobs, settings)


def _publish(folder: Path, found: FolderPictures, report: CaptionReport, prefix: str) -> None:
    if found.is_build or not report.captions:
        return
    rows = {name: dict(row) for name, row in found.rows.items()}
    for path in sorted(report.captions):
        name = path.relative_to(folder).as_posix()
        rows.setdefault(name, {"file_name": name})["text"] = f"{prefix}{report.captions[path]}"
    if rows != found.rows:
        write_rows(folder / METADATA, rows.values())


def _rows(metadata: Path) -> dict[str, Line]:
    rows: dict[str, Line] = {}
    for row in read_rows(metadata) if metadata.is_file() else ():
        if isinstance(row, Problem):
            raise Diffusion4kError(f"{row}; the captions are written into this file")
        rows[row.file_name] = row.values
    return rows


def _pictures(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Image files by their name in the folder, and those that may not be sent or named."""
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if reason := why_unread(path):
            problems.append(Problem(str(path), reason))
        elif not is_picture(path):
            continue
        elif leads_out(path, folder):
            reason = "a link that leads out of the folder: put the picture itself here"
            problems.append(Problem(str(path), reason))
        else:
            files[name] = path
    return files, problems
