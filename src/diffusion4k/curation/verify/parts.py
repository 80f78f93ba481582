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

from diffusion4k.curation.layout import MANIFEST, SPLITS
from diffusion4k.curation.verify.archives import ARCHIVES, unpack
from diffusion4k.data.folder import FolderScan, look_at, scan_folder
from diffusion4k.data.metadata import METADATA, Row, read_rows
from diffusion4k.data.picture_files import files_below, image_files, unread_files
from diffusion4k.data.problems import Problem
from diffusion4k.data.sidecars import CAPTION_KEYS, Sidecars, caption_of
from diffusion4k.files import leads_out

__all__ = ["Part", "find_parts", "rows_of", "scan"]

_EVALUATION = ("eval", "evaluation", "val", "validation", "test")


@dataclass(frozen=True)
class Part:
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


def find_parts(dataset: Path) -> list[Part]:
    """The dataset's own folder if it holds pictures or metadata, then what lies below it."""
    if (dataset / MANIFEST).is_file():
        # A build keeps pictures that it fetched beside those that it published.
        built = (dataset / split for split in SPLITS)
        return [Part(path, path.name) for path in built if path.is_dir()]
    parts = []
    if (dataset / METADATA).is_file() or next(image_files(dataset), None):
        parts.append(Part(dataset, "."))
    parts += [Part(path, path.relative_to(dataset).as_posix()) for path in _below(dataset)]
    return parts


def rows_of(folder: Path) -> Iterator[Row | Problem]:
    """The lines of the folder's `metadata.jsonl`, or without one its text files beside images."""
    metadata = folder / METADATA
    yield from read_rows(metadata) if metadata.is_file() else _pairs(folder)


def scan(
    folder: Path, min_side: int, *, captioned: bool = True, progress: bool = False
) -> FolderScan:
    """What `rows_of` names, and all that is wrong by name or header; see `scan_folder`."""
    if (folder / METADATA).is_file():
        return scan_folder(folder, min_side=min_side, captioned=captioned, progress=progress)
    photos, problems = look_at(folder, _pairs(folder), min_side=min_side, progress=progress)
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


def _pairs(folder: Path) -> Iterator[Row | Problem]:
    """Pictures with the captions that lie beside them, and captions whose picture is not there."""
    sidecars: dict[Path, Sidecars] = {}
    for path in sorted({folder, *(path.parent for path in files_below(folder))}):
        sidecars[path] = Sidecars(sorted(each.name for each in path.iterdir()))
    for path in image_files(folder):
        yield _pair(
            folder, path, [path.with_name(n) for _, n in sidecars[path.parent].of(path.name)]
        )
    for problem in unread_files(folder):
        sidecars[Path(problem.where).parent].of(Path(problem.where).name)
        yield problem
    for parent, found in sidecars.items():
        for name in found.orphans():
            reason = "no picture of this name is beside it: put it there, or remove the caption"
            yield Problem(str(parent / name), reason, "caption-alone")


def _pair(folder: Path, path: Path, beside: list[Path]) -> Row | Problem:
    file_name = path.relative_to(folder).as_posix()
    if not beside:
        wanted = path.with_suffix(".txt").name
        reason = f"no {METADATA} names it and no {wanted} is beside it: caption it"
        return Problem(str(path), reason, "unnamed")
    for file in beside:
        try:
            if leads_out(file, folder):
                raise ValueError("a link that leads out of the folder: put the caption itself here")
            text = caption_of(file, CAPTION_KEYS, as_written=True)
        except ValueError as error:
            kind = "encoding" if "UTF-8" in str(error) else "caption-missing"
            return Problem(str(file), str(error), kind)
        if text:
            return Row(str(file), file_name, text, {"file_name": file_name, "text": text})
    return Problem(str(beside[0]), "empty: write a caption", "caption-missing")
