"""A corrected copy of a dataset: what can be mended is, the rest is left out and listed.

The copy is made under a hidden name beside its destination and renamed when it is whole, so that it
is complete or absent. Pictures are hard links where the file system allows, which takes no
room; they are never written to.
"""

import json
import os
import posixpath
import shutil
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from diffusion4k.curation.verify.captions import corrected
from diffusion4k.curation.verify.cross_picture import spelling
from diffusion4k.curation.verify.kinds import KINDS
from diffusion4k.curation.verify.parts import DatasetPart, rows_of
from diffusion4k.curation.verify.pictures import VerifiedPhoto
from diffusion4k.curation.verify.report import Report
from diffusion4k.data.metadata import METADATA, Row, write_rows
from diffusion4k.errors import UsageError
from diffusion4k.support.files import leads_out, write_text
from diffusion4k.support.lock import locked
from diffusion4k.support.progress import track

__all__ = ["LIST", "Copy", "check_target", "write_copy"]

LIST = "corrections.jsonl"
"""What was corrected and what was left out, one problem a line."""

_KEPT = ("README*", "LICENSE*", "LICENCE*", "NOTICE*")


@dataclass
class Copy:
    """What came of a copy."""

    folder: Path
    pictures: int = 0
    corrected: int = 0
    left_out: int = 0


@dataclass
class _Folder:
    """A folder of the copy while it fills."""

    rows: list[dict[str, object]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def free_name(self, picture: VerifiedPhoto) -> str:
        """The picture's name with the right ending, in composed Unicode, unlike all others."""
        name = unicodedata.normalize("NFC", posixpath.normpath(picture.photo.file_name))
        path = PurePosixPath(name)
        stem = path.stem if path.suffix else path.name
        number, free = 1, path.with_name(stem + picture.ending)
        while spelling(str(free)) in self.names:
            number += 1
            free = path.with_name(f"{stem}-{number}{picture.ending}")
        self.names.add(spelling(str(free)))
        return str(free)


def check_target(dataset: Path, out: Path) -> None:
    """Refuse a destination for the copy before anything is read.

    Raises:
        UsageError: there is something already, or it lies inside of the dataset.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: already exists: choose another folder, or remove it")
    if out.resolve().is_relative_to(dataset.resolve()):
        raise UsageError(f"{out}: lies in {dataset}, the dataset itself: choose another folder")


def write_copy(report: Report, out: Path, *, progress: bool = True) -> Copy:
    """Write the corrected copy of the dataset that `report` is about.

    Raises:
        UsageError: `check_target`.
        Diffusion4kError: another process is writing the same copy.
    """
    check_target(report.folder, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    copy = Copy(out)
    unfinished = out.with_name(f".{out.name}.part")
    with locked(unfinished):
        _empty(unfinished)
        _write_pictures(report, unfinished, copy, progress)
        for pattern in _KEPT:
            for path in sorted(report.folder.glob(pattern)):
                if path.is_file() and not leads_out(path, report.folder):
                    shutil.copyfile(path, unfinished / path.name)
        _write_list(report, unfinished / LIST, copy)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
        (out / ".lock").unlink()
    return copy


def _empty(folder: Path) -> None:
    """Take away what a killed run has left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _write_pictures(report: Report, root: Path, copy: Copy, progress: bool) -> None:
    by_part: dict[DatasetPart, list[VerifiedPhoto]] = defaultdict(list)
    for picture in report.pictures:
        if picture.is_correctable:
            by_part[picture.part].append(picture)
    folders: dict[str, _Folder] = defaultdict(_Folder)
    for part, pictures in by_part.items():
        name = part.folder_name
        with part.opened() as (source, _):
            rows = [row for row in rows_of(source) if isinstance(row, Row)]
            exact = {row.file_name: row.values for row in rows}
            spelled = {spelling(row.file_name): row.values for row in rows}
            for picture in track(pictures, len(pictures), f"copying {name}", shown=progress):
                text = corrected(picture.photo.text)
                if text is None:
                    continue  # Listed as left out: its problems say why.
                file_name = folders[name].free_name(picture)
                # The line's other keys are kept; only their author knows what they are for.
                old = picture.photo.file_name
                values = exact.get(old) or spelled[spelling(old)]
                folders[name].rows.append(values | {"file_name": file_name, "text": text})
                _link(source / picture.photo.file_name, root / name / file_name)
                copy.pictures += 1
    for name, folder in folders.items():
        write_rows(root / name / METADATA, folder.rows)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, target)


def _write_list(report: Report, path: Path, copy: Copy) -> None:
    lines = []
    for picture in report.pictures:
        kept = picture.is_correctable and corrected(picture.photo.text) is not None
        if picture.problems:
            copy.corrected += kept
            copy.left_out += not kept
        lines += [(p, KINDS[p.kind].correction if kept else None) for p in picture.problems]
    copy.left_out += len(report.others)
    lines += [(problem, None) for problem in report.others]
    content = (
        {"kind": p.kind, "where": p.where, "reason": p.reason, "done": done or "left out"}
        for p, done in lines
    )
    write_text(path, "".join(json.dumps(line) + "\n" for line in content))
