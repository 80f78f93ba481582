"""WebDataset tars: a sample's members lie together, `0001.jpg`, `0001.txt`, `0001.json`.

Only headers and captions are read here. A picture is read where it lies in the tar, so that nothing
is unpacked and no member's path can lead anywhere.
"""

import posixpath
import tarfile
from collections.abc import Iterator
from glob import glob
from itertools import groupby
from pathlib import Path

from diffusion4k.curation.entries import Entry
from diffusion4k.curation.recipe import TarSource
from diffusion4k.curation.sources.captions import SIDECARS, text_from
from diffusion4k.data.images import SUFFIXES
from diffusion4k.errors import UsageError

__all__ = ["tar_entries"]

_BLOCK = 512
_LONGEST_CAPTION = 1 << 20  # bytes


def tar_entries(source: TarSource) -> Iterator[Entry]:
    """Pictures of all tars that the path, which may hold `*`, names, in order.

    Raises:
        UsageError: there is none.
    """
    paths = sorted(glob(source.path, recursive=True))  # noqa: PTH207 (may be absolute)
    if not paths:
        raise UsageError(f"{source.path}: no such file: give a tar, or several as `shards/*.tar`")
    for path in paths:
        yield from _tar(Path(path), source.captions)


def _tar(path: Path, keys: tuple[str, ...]) -> Iterator[Entry]:
    name = path.stem
    try:
        stat = path.stat()
        stamp = (stat.st_size, stat.st_mtime_ns)
        # Uncompressed: in others a member has no place of its own.
        with tarfile.open(path, "r:") as tar:
            for _, members in groupby(tar, key=lambda member: _key(member.name)):
                yield from _sample(tar, path, stamp, list(members), keys)
                # tarfile keeps every member; a tar may hold millions.
                tar.members.clear()  # type: ignore[attr-defined]
            end = tar.offset
        if not _ends(path, end):
            yield Entry(f"{path}@{end}", name, problem=f"the tar is damaged or cut at byte {end}")
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        problem = f"the tar is damaged, cut or compressed ({reason[:200]}): give a plain tar"
        yield Entry(str(path), name, problem=problem)


def _sample(
    tar: tarfile.TarFile,
    path: Path,
    stamp: tuple[int, int],
    members: list[tarfile.TarInfo],
    keys: tuple[str, ...],
) -> Iterator[Entry]:
    """The pictures among members of one key, each with the key's caption."""
    text = None
    for member in members:
        suffix = posixpath.splitext(member.name)[1].lower()
        if suffix in SIDECARS and member.isreg() and text is None:
            try:
                if member.size > _LONGEST_CAPTION:
                    raise ValueError(f"{member.size} bytes: no caption")
                content = tar.extractfile(member)
                text = text_from(content.read() if content else b"", suffix, keys)
            except ValueError as error:
                yield _entry(path, member, problem=str(error))
    for member in members:
        if posixpath.splitext(member.name)[1].lower() not in SUFFIXES:
            continue
        if not member.isreg():
            yield _entry(path, member, problem="a link or device in the tar, no file")
        elif member.offset_data + member.size > stamp[0]:
            yield _entry(path, member, problem="cut: the tar ends before it")
        else:
            yield _entry(path, member, stamp=stamp, text=text)


def _entry(
    path: Path,
    member: tarfile.TarInfo,
    *,
    stamp: tuple[int, int] = (0, 0),
    text: str | None = None,
    problem: str | None = None,
) -> Entry:
    inside = member.name.encode(errors="backslashreplace").decode()
    return Entry(
        source=f"{path}/{inside}",
        name=f"{path.stem}/{inside}",
        kind="member",
        path=str(path.absolute()),
        start=member.offset_data,
        length=member.size,
        stamp=stamp,
        text=text,
        problem=problem,
    )


def _key(name: str) -> str:
    """What WebDataset groups by: the path up to the first dot of the file name."""
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _ends(path: Path, end: int) -> bool:
    """Whether the tar is over at `end`, as `tarfile` takes damage for its end."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(_BLOCK)
    return path.stat().st_size >= end and not block.strip(b"\0")
