"""WebDataset tars: a sample's members share a name, `0001.jpg`, `0001.txt`, `0001.json`.

They may lie anywhere in the tar. Only headers and captions are read here. A picture is read where
it lies in the tar, so that nothing is unpacked and no member's path can lead anywhere.
"""

import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.recipe import TarSource
from diffusion4k.curation.tar_members import DAMAGED, members
from diffusion4k.data.images import SUFFIXES
from diffusion4k.data.picture_files import looks_like_picture
from diffusion4k.data.sidecars import MOST_BYTES, Sidecars, is_sidecar, text_from
from diffusion4k.errors import UsageError, one_line
from diffusion4k.support.text_files import check_plain

__all__ = ["tar_entries"]

_BLOCK = 512


def tar_entries(source: TarSource) -> Iterator[CurationEntry]:
    """Pictures of all tars that the path, which may hold `*`, names, in order.

    Raises:
        UsageError: there is none.
    """
    paths = sorted(glob(source.path, recursive=True))  # noqa: PTH207 (may be absolute)
    if not paths:
        raise UsageError(f"{source.path}: no such file: give a tar, or several as `shards/*.tar`")
    for path in map(Path, paths):
        check_plain(path)
        yield from _tar(path, source.captions)


def _tar(path: Path, keys: tuple[str, ...]) -> Iterator[CurationEntry]:
    name = path.stem
    found = _Found()
    problem = None
    try:
        stat = path.stat()
        found.stamp = (stat.st_size, stat.st_mtime_ns)
        # Uncompressed: in others a member has no offset of its own.
        with tarfile.open(path, "r:") as tar:
            for member in members(tar):
                try:
                    found.add(tar, member, keys)
                except ValueError as error:
                    yield _entry(path, member.name, problem=str(error))
            end = tar.offset
        if not _ends(path, end):
            place = f"{path}@{end}"
            problem = CurationEntry(place, name, problem=f"the tar is damaged or cut at byte {end}")
    except (*DAMAGED, OSError) as error:
        reason = f"the tar is damaged, cut or compressed ({one_line(error)}): give a plain tar"
        problem = CurationEntry(str(path), name, problem=reason)
    yield from found.entries(path)
    if problem:
        yield problem


@dataclass(frozen=True)
class _Member:
    name: str
    start: int
    """First byte of its content."""
    size: int
    is_file: bool


class _Found:
    """What a tar holds: where its pictures lie, and the captions, which are read at once."""

    def __init__(self) -> None:
        self.stamp = (0, 0)
        self._pictures: list[_Member] = []
        self._names: list[str] = []
        self._texts: list[str | None] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, keys: tuple[str, ...]) -> None:
        """Note a member.

        Raises:
            ValueError: a caption that cannot be read.
        """
        if posixpath.basename(member.name).startswith("._"):
            return  # What macOS' tar puts beside each file; it has the file's ending.
        if looks_like_picture(member.name):
            place = (member.name, member.offset_data, member.size, member.isreg())
            self._pictures.append(_Member(*place))
        elif is_sidecar(member.name) and member.isreg():
            self._names.append(member.name)
            self._texts.append(None)
            if member.size > MOST_BYTES:
                raise ValueError(f"{member.size} bytes: too large for a caption")
            content = tar.extractfile(member)
            ending = posixpath.splitext(member.name)[1]
            self._texts[-1] = text_from(content.read() if content else b"", ending, keys)

    def entries(self, path: Path) -> Iterator[CurationEntry]:
        """The pictures, each with its caption, wherever in the tar that is; lost ones are named."""
        beside = Sidecars(self._names, by_key=True)
        occurrences: Counter[str] = Counter()
        for member in self._pictures:
            files = beside.of(member.name, occurrences[member.name])
            occurrences[member.name] += 1
            texts = (self._texts[place] for place, _ in files)
            yield self._picture(path, member, next(filter(None, texts), None))
        if lost := list(beside.orphans()):
            reason = f"captions without a picture: {len(lost)}, the first is {lost[0]}"
            yield _entry(path, lost[0], problem=f"{reason}: name each as its picture")

    def _picture(self, path: Path, member: _Member, text: str | None) -> CurationEntry:
        ending = posixpath.splitext(member.name)[1].lower()
        if ending not in SUFFIXES:
            reason = f"not read: {ending} files: save it as PNG, TIFF or JPEG"
            return _entry(path, member.name, problem=reason)
        if not member.is_file:
            return _entry(path, member.name, problem="a link or device in the tar, not a file")
        if member.size < 0 or member.start + member.size > self.stamp[0]:
            return _entry(path, member.name, problem="cut: the tar ends before it")
        return replace(
            _entry(path, member.name),
            start=member.start,
            length=member.size,
            stamp=self.stamp,
            text=text,
        )


def _entry(path: Path, member: str, *, problem: str | None = None) -> CurationEntry:
    inside = member.encode(errors="backslashreplace").decode()
    return CurationEntry(
        source=f"{path}/{inside}",
        name=f"{path.stem}/{inside}",
        kind="member",
        path=str(path.absolute()),
        problem=problem,
    )


def _ends(path: Path, end: int) -> bool:
    """Whether the tar is over at `end`, as `tarfile` takes damage for its end."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(_BLOCK)
    return path.stat().st_size >= end and not block.strip(b"\0")
