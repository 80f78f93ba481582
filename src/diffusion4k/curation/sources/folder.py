"""A folder of pictures, with all folders below it.

Captions come from a `metadata.jsonl` in any of the folders, or from a file beside the picture
(`data.sidecars`). Links may point to files inside the folder only. What looks like a picture and is
not read, and captions without a picture, are named.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.recipe import FolderSource
from diffusion4k.curation.sources.captions import Named, read_metadata
from diffusion4k.data.folder import METADATA, photo_folder
from diffusion4k.data.picture_files import is_picture, looks_like_picture, why_unread
from diffusion4k.data.sidecars import Sidecars, caption_of
from diffusion4k.errors import UsageError

__all__ = ["folder_entries"]


def folder_entries(source: FolderSource, output: Path | None = None) -> Iterator[CurationEntry]:
    """Pictures in the order of their paths; `output` and what is hidden is left out.

    Raises:
        UsageError: no such folder.
    """
    root = photo_folder(source.path)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder: give one with photographs as a source's path")
    return _Walk(root, source.captions, output).entries()


class _Walk:
    def __init__(self, root: Path, keys: tuple[str, ...], output: Path | None) -> None:
        self._root, self._real, self._keys = root, root.resolve(), keys
        self._output = output.resolve() if output else None
        self._named: dict[Path, Named] = {}

    def entries(self) -> Iterator[CurationEntry]:
        for folder, folders, files in os.walk(self._root, onerror=_refuse):
            here = Path(folder)
            folders[:] = sorted(name for name in folders if self._enters(here / name))
            yield from self._folder(here, sorted(files))
            yield from self._pictures(here, sorted(files))
        for named in self._named.values():
            yield _problem(named.where, f"{named.file_name}: no such picture: remove the line")

    def _enters(self, folder: Path) -> bool:
        return not folder.name.startswith(".") and folder.resolve() != self._output

    def _folder(self, here: Path, files: list[str]) -> Iterator[CurationEntry]:
        if METADATA not in files:
            return
        for named in read_metadata(here, self._keys):
            path = here / named.file_name
            if named.problem:
                yield _problem(named.where, named.problem)
            elif path in self._named:
                first = self._named[path].where
                yield _problem(named.where, f"{named.file_name} is named in {first} already")
            else:
                self._named[path] = named

    def _pictures(self, here: Path, files: list[str]) -> Iterator[CurationEntry]:
        beside = Sidecars(name for name in files if not name.startswith("."))
        for name in files:
            path = here / name
            if path in self._named or is_picture(path) or _is_lost_link(path):
                yield from self._picture(path, [here / text for _, text in beside.of(name)])
            elif reason := why_unread(path):
                beside.of(name)
                yield _problem(str(path), reason)
        lost = [] if METADATA in files else sorted(beside.orphans())
        if lost:
            reason = f"captions without a picture: {len(lost)}, the first is {lost[0]}"
            yield _problem(str(here), f"{reason}: name each as its picture")

    def _picture(self, path: Path, beside: list[Path]) -> Iterator[CurationEntry]:
        named = self._named.pop(path, None)
        text = named.text if named else None
        for file in beside:
            if not text:
                try:
                    self._check_inside(file)
                    text = caption_of(file, self._keys)
                except ValueError as error:
                    yield _problem(str(file), str(error))
        inside = path.relative_to(self._root).as_posix()
        entry = CurationEntry(str(path), inside, path=str(path.absolute()), text=text)
        yield self._looked_at(path, entry)

    def _check_inside(self, file: Path) -> None:
        if file.is_symlink() and not file.resolve().is_relative_to(self._real):
            raise ValueError("a link that leads out of the folder: copy the file")

    def _looked_at(self, path: Path, entry: CurationEntry) -> CurationEntry:
        """The entry with size and time of the file, or with what is wrong with it."""
        try:
            real = path.resolve(strict=True)
            stat = real.stat()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "a circular link"
            return _problem(entry.source, f"cannot be read: {reason}", entry.name)
        if not real.is_file():
            reason = "not a regular file: put the picture itself here, or remove it"
            return _problem(entry.source, reason, entry.name)
        if not real.is_relative_to(self._real):
            return _problem(
                entry.source, "a link that leads out of the folder: copy the file", entry.name
            )
        stamp = (stat.st_size, stat.st_mtime_ns)
        return CurationEntry(
            entry.source, entry.name, path=entry.path, length=stamp[0], stamp=stamp, text=entry.text
        )


def _is_lost_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists() and looks_like_picture(path.name)


def _problem(source: str, reason: str, name: str = "") -> CurationEntry:
    source = os.fsencode(source).decode(errors="backslashreplace")  # which tables can hold
    return CurationEntry(source, name or Path(source).name, problem=reason)


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename}: cannot be read: {error.strerror}")
