"""Tar and zip archives, unpacked without trust: only plain files, never outside of the folder."""

import posixpath
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from diffusion4k.data.problems import Problem

__all__ = ["ARCHIVES", "unpack"]

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
    *(EOFError, ValueError, RuntimeError),
)

Member = tuple[str, IO[bytes] | None]
"""Name and content; None of what is no plain file."""


def unpack(archive: Path, folder: Path) -> list[Problem]:
    """Write the archive's files into `folder`; what cannot be written is left out and named."""
    problems = []
    try:
        with _members(archive) as members:
            for name, content in members:
                reason = _refused(name, folder) if content else "no plain file: left out"
                if reason or not content:
                    problems.append(Problem(f"{archive}/{name}", str(reason), "archive"))
                    continue
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as target:
                    shutil.copyfileobj(content, target, 1 << 20)
    except _DAMAGED as error:
        problems.append(_damaged(archive, error))
    except OSError as error:
        if error.filename or error.errno:
            raise  # The disk is full, or the archive may not be read.
        problems.append(_damaged(archive, error))
    return problems


def _damaged(archive: Path, error: Exception) -> Problem:
    reason = " ".join(str(error).split()) or type(error).__name__
    return Problem(str(archive), f"damaged ({reason}): copy it again", "archive")


def _refused(name: str, folder: Path) -> str | None:
    parts = posixpath.normpath(name).split("/")
    if "\0" in name or "\\" in name or posixpath.isabs(name) or ".." in parts:
        return "leads out of the folder: left out"
    if (folder / name).exists():
        return "is in the archive twice: the first is taken"
    return None


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened)
    else:
        with tarfile.open(archive) as tar:
            yield (
                (member.name, tar.extractfile(member) if member.isfile() else None)
                for member in tar
                if not member.isdir()
            )


def _zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    for member in opened.infolist():
        if not member.is_dir():
            with opened.open(member) as content:
                yield member.filename, content
