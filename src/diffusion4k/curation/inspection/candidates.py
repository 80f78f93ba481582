"""Candidates to review: those of a dataset's manifest, or of a plain image folder.

Where a candidate's picture is: its `source` if that is a file, otherwise the file of its name in
`train` or `eval` of the dataset. Measures are the manifest's columns of floating point numbers.
Thresholds are shown if the manifest's schema has them as its metadata `thresholds`: a JSON object
`{"MEASURE": [LEAST, MOST]}`, either of them null.
"""

import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from diffusion4k.curation.engine import Row
from diffusion4k.curation.files import MANIFEST, SPLITS
from diffusion4k.data.folder import METADATA, scan_folder
from diffusion4k.errors import Diffusion4kError, UsageError, first_line
from diffusion4k.support.text_files import json_of

__all__ = ["Bounds", "Candidate", "Candidates", "read_candidates"]


Bounds = tuple[float | None, float | None]
"""Least and most that is allowed, None for no limit."""

_NEEDED = ("name", "source")
_OPTIONAL = ("pixel_hash", "text", "split", "kept", "step", "reason")
_ENDS = 1 << 16  # bytes at both ends of a file by which it is known again


@dataclass(frozen=True)
class Candidate:
    """One picture and what is known of it."""

    name: str
    path: Path | None
    """None if the picture is not at hand as a file."""
    pixel_hash: str | None = None
    text: str | None = None
    split: str | None = None
    kept: bool = True
    step: str | None = None
    """The step that dropped it."""
    reason: str | None = None
    """Why, in one line."""
    measures: dict[str, float] = field(default_factory=dict)

    def picture_hash(self) -> str | None:
        """The manifest's hash of the pixels; without one, a hash of the file's two ends."""
        return self.pixel_hash or (_ends_hash(self.path) if self.path else None)


@dataclass(frozen=True)
class Candidates:
    """All candidates of a folder, in its order."""

    rows: list[Candidate]
    measures: dict[str, Bounds]
    """Names of the measured values, and what the build allowed."""


def read_candidates(folder: Path) -> Candidates:
    """The candidates of a folder that `dataset build` wrote, or of an image folder.

    Pictures are not read; in an image folder, unusable files are reported and left out.

    Raises:
        UsageError: no such folder, or neither manifest nor metadata in it.
        Diffusion4kError: a manifest that cannot be read, or no candidate.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: give one that `dataset build` wrote")
    if (folder / MANIFEST).is_file():
        found = _from_manifest(folder)
    elif (folder / METADATA).is_file():
        photos = scan_folder(folder).usable(skip_bad=True)
        rows = [Candidate(photo.file_name, photo.path, text=photo.text) for photo in photos]
        found = Candidates(rows, {})
    else:
        raise UsageError(
            f"{folder}: neither {MANIFEST} nor {METADATA} in it: give the folder that "
            "`diffusion4k dataset build` wrote, or an image folder"
        )
    if not found.rows:
        raise Diffusion4kError(f"{folder / MANIFEST}: no candidate in it: build the dataset again")
    return found


def _from_manifest(folder: Path) -> Candidates:
    path = folder / MANIFEST
    table, measures = _read(path)
    rows, known = [], set[str]()
    for row in table:
        name = row["name"]
        if not isinstance(name, str) or name in known:
            found = "twice" if name in known else f"as {name!r}"
            raise Diffusion4kError(f"{path}: {name}: found {found}, allowed once: build it again")
        known.add(name)
        values = {measure: row.pop(measure) for measure in measures}
        values = {m: v for m, v in values.items() if v is not None and math.isfinite(v)}
        row["kept"] = row.get("kept") is not False
        picture = _picture(folder, str(row.pop("source") or ""), name, row.get("split"))
        rows.append(Candidate(path=picture, measures=values, **row))
    return Candidates(rows, measures)


def _read(path: Path) -> tuple[list[Row], dict[str, Bounds]]:
    """The rows of a manifest, and its measures with what they are allowed to be."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise Diffusion4kError(f"{path}: needs `pip install pyarrow` to be read") from None
    try:
        table = parquet.read_table(path)
        names = table.column_names
        measures = [f.name for f in table.schema if pyarrow.types.is_floating(f.type)]
        wanted = [name for name in (*_NEEDED, *_OPTIONAL) if name in names and name not in measures]
        rows = table.select([*wanted, *measures]).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = first_line(error)[:200]
        raise Diffusion4kError(f"{path}: cannot be read ({reason}): build it again") from None
    for name in _NEEDED:
        if name not in wanted:
            raise Diffusion4kError(
                f"{path}: no column {name} (found: {', '.join(names)}): build it again"
            )
    bounds = _thresholds(path, table.schema.metadata or {})
    return rows, {measure: bounds.get(measure, (None, None)) for measure in measures}


def _picture(folder: Path, source: str, name: str, split: object) -> Path | None:
    if source and "://" not in source and Path(source).is_file():
        return Path(source)
    # A name leads out of the folder only in a manifest that was not written by us.
    if split not in SPLITS or ".." in Path(name).parts or Path(name).is_absolute():
        return None
    return folder / str(split) / name


def _thresholds(path: Path, metadata: dict[bytes, bytes]) -> dict[str, Bounds]:
    try:
        found = json_of(metadata.get(b"thresholds", b"{}"))
        return {str(m): (_bound(least), _bound(most)) for m, (least, most) in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise Diffusion4kError(
            f"{path}: its thresholds are not {{MEASURE: [LEAST, MOST]}}: build it again"
        ) from None


def _bound(value: float | None) -> float | None:
    return None if value is None else float(value)


def _ends_hash(path: Path) -> str | None:
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for start in (0, max(size - _ENDS, 0)):
                handle.seek(start)
                digest.update(handle.read(_ENDS))
    except OSError:
        return None
    return f"ends:{digest.hexdigest()}"
