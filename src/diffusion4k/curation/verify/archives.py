"""Tar and zip archives, unpacked without trust: only plain files, never outside of the folder.

A member that cannot be unpacked is named and left out, and the others are unpacked. No archive
unpacks to more than `_RATIO` times its size: pictures hardly compress, bombs do.
"""

import errno
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from diffusion4k.curation.tar_members import DAMAGED, members
from diffusion4k.data.problems import Problem
from diffusion4k.errors import one_line
from diffusion4k.support.text_files import shortened

__all__ = ["ARCHIVES", "unpack"]

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")

_DAMAGED = (*DAMAGED, zipfile.BadZipFile, zlib.error, RuntimeError)
_BAD_NAMES = (
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.EILSEQ, errno.EINVAL),
)
"""What the system says of names that cannot be, as opposed to a full disk."""
_LEAST_ROOM, _RATIO = 1 << 30, 20
_BLOCK = 1 << 20
_SHOWN = 200  # characters of a name

Opened = Callable[[], IO[bytes] | None]
"""Opens the content of a member; None if it is no plain file."""
Member = tuple[str, Opened]


class _RefusedError(Exception):
    """A member is not unpacked; the message says why."""


class _BombError(_RefusedError):
    """An archive would unpack to more than pictures do."""


def unpack(archive: Path, folder: Path) -> list[Problem]:
    """Write the archive's files into `folder`; what cannot be written is left out and named."""
    problems = []
    room = max(_LEAST_ROOM, _RATIO * archive.stat().st_size)
    is_zip = archive.name.lower().endswith(".zip")
    try:
        with (_zip_members if is_zip else _tar_members)(archive) as found:
            for name, opened in found:
                try:
                    room -= _write(name, opened, folder, room)
                except (_RefusedError, *_DAMAGED) as error:
                    # In a tar the next member stands where this one ends, in a zip anywhere.
                    if not (is_zip or isinstance(error, _RefusedError)):
                        raise
                    shown = name if len(name) <= _SHOWN else shortened(name, _SHOWN)
                    problems.append(Problem(f"{archive}/{shown}", one_line(error), "archive"))
                    if isinstance(error, _BombError) and not is_zip:
                        break
    except _DAMAGED as error:
        problems.append(_damaged(archive, error))
    except OSError as error:
        if error.filename or error.errno:
            raise  # The disk is full, or the archive may not be read.
        problems.append(_damaged(archive, error))
    return problems


def _damaged(archive: Path, error: Exception) -> Problem:
    return Problem(str(archive), f"damaged ({one_line(error)}): copy it again", "archive")


def _write(name: str, opened: Opened, folder: Path, room: int) -> int:
    """Write a member of at most `room` bytes; its size."""
    content = opened()
    if content is None:
        raise _RefusedError("not a regular file: left out")
    parts = posixpath.normpath(name).split("/")
    if "\0" in name or "\\" in name or posixpath.isabs(name) or ".." in parts:
        raise _RefusedError("leads out of the folder: left out")
    path = folder / name
    with content, _created(path) as target:
        try:
            size = 0
            while block := content.read(_BLOCK):
                size += len(block)
                if size > room:
                    raise _BombError(
                        f"unpacks to more than {_RATIO} times the archive: left out, as is "
                        "everything after it in a tar"
                    )
                target.write(block)
        except BaseException:
            path.unlink()
            raise
    return size


def _created(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except OSError as error:
        if error.errno == errno.EEXIST and path.is_file():
            reason = "is in the archive twice: the first is used"
        elif error.errno in _BAD_NAMES:
            reason = f"cannot be unpacked under this name ({error.strerror}): left out"
        else:
            raise
        raise _RefusedError(reason) from None


@contextmanager
def _tar_members(archive: Path) -> Iterator[Iterator[Member]]:
    with tarfile.open(archive) as tar:
        yield (
            (member.name, partial(tar.extractfile, member) if member.isfile() else _nothing)
            for member in members(tar)
            if not member.isdir()
        )


@contextmanager
def _zip_members(archive: Path) -> Iterator[Iterator[Member]]:
    with zipfile.ZipFile(archive) as opened:
        yield (
            (member.filename, partial(opened.open, member))
            for member in opened.infolist()
            if not member.is_dir()
        )


def _nothing() -> None:
    return None
