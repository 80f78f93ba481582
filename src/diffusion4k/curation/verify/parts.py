"""The parts of a dataset: its image folders, loose pictures with text files, and archives.

Known layouts:

    a folder with metadata.jsonl                      the image folder that `train` reads
    train/, eval/                                     what `diffusion4k dataset build` writes
    train/, eval/size_2048/, eval/size_4096/          Aesthetic-4K as published
    a.jpg + a.txt                                     a picture and its caption (`data.sidecars`)
    *.tar, *.tar.gz, *.tgz, *.zip                     any of these, packed

Archives are unpacked into a temporary folder, one at a time.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.curation.files import MANIFEST, SPLITS
from diffusion4k.curation.verify.archives import ARCHIVES, unpack
from diffusion4k.data.beside import rows_beside
from diffusion4k.data.folder import FolderScan, look_at, scan_folder
from diffusion4k.data.metadata import METADATA, Row, read_rows
from diffusion4k.data.picture_files import image_files
from diffusion4k.data.problems import Problem

__all__ = ["DatasetPart", "find_parts", "rows_of", "scan"]

_EVALUATION = ("eval", "evaluation", "val", "validation", "test")


@dataclass(frozen=True)
class DatasetPart:
    """A folder or archive of a dataset."""

    path: Path
    name: str
    """Relative to the dataset, `/` between folders; `.` for the dataset's own folder."""

    @property
    def is_evaluation(self) -> bool:
        """Whether its first folder is for evaluation: eval, eval_2048, eval/size_4096, test."""
        return self.name.split("/")[0].split(".")[0].split("_")[0].lower() in _EVALUATION

    @property
    def folder_name(self) -> str:
        """The name it has as a folder: that of an archive without its ending."""
        if self.path.is_dir():
            return self.name
        folder, slash, name = self.name.rpartition("/")
        for ending in ARCHIVES:
            if name.lower().endswith(ending):
                name = name[: -len(ending)]
                if self.path.with_name(name).exists():
                    name += "-unpacked"
                break
        return folder + slash + name

    @contextmanager
    def opened(self) -> Iterator[tuple[Path, list[Problem]]]:
        """The folder with its files, and what could not be unpacked."""
        if self.path.is_dir():
            yield self.path, []
            return
        folder = Path(tempfile.mkdtemp(prefix="diffusion4k-"))
        try:
            yield folder, unpack(self.path, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def find_parts(dataset: Path) -> list[DatasetPart]:
    """The dataset's own folder if it holds pictures or metadata, then what lies below it."""
    if (dataset / MANIFEST).is_file():
        # A build keeps pictures that it fetched beside those that it published.
        built = (dataset / split for split in SPLITS)
        return [DatasetPart(path, path.name) for path in built if path.is_dir()]
    parts = []
    if (dataset / METADATA).is_file() or next(image_files(dataset), None):
        parts.append(DatasetPart(dataset, "."))
    parts += [DatasetPart(path, path.relative_to(dataset).as_posix()) for path in _below(dataset)]
    return parts


def rows_of(folder: Path) -> Iterator[Row | Problem]:
    """The lines of the folder's `metadata.jsonl`, or without one its text files beside images."""
    metadata = folder / METADATA
    yield from read_rows(metadata) if metadata.is_file() else rows_beside(folder)


def scan(
    folder: Path, min_side: int, *, captioned: bool = True, progress: bool = False
) -> FolderScan:
    """What `rows_of` names, and all that is wrong by name or header; see `scan_folder`."""
    if (folder / METADATA).is_file():
        return scan_folder(folder, min_side=min_side, captioned=captioned, progress=progress)
    photos, problems = look_at(
        folder, rows_beside(folder, as_written=True), min_side=min_side, progress=progress
    )
    return FolderScan(folder, photos, problems)


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            if (path / METADATA).is_file():
                yield path
            yield from _below(path)
        elif path.name.lower().endswith(ARCHIVES) and path.is_file():
            yield path
