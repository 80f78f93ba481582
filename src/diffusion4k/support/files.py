"""Files that are either complete or absent: written under a temporary name, synced, renamed."""

import errno
import hashlib
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from safetensors import SafetensorError

from diffusion4k.errors import DiskError, UsageError
from diffusion4k.support.text_files import check_plain

__all__ = [
    "atomic_path",
    "is_file_name",
    "leads_out",
    "remove_leftovers",
    "sha256_of",
    "write_bytes",
    "write_text",
    "writing",
]

_TEMPORARY = re.compile(r"\.(?P<machine>[0-9a-f]{6})-(?P<process>\d{1,19})\.part(?:\.[^.]*)?$")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it to `path`.

    If the block raises, the temporary file is removed and `path` is left as it was. What the disk
    refuses (no room, a quota, a limit to the size of files) is an `OSError` that names `path`,
    whichever library wrote.

    Raises:
        UsageError: there is something else than a file of that name.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # A device that is replaced by a file would be missed by every other program.
        raise UsageError(f"{path}: is a folder, device or pipe: name a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, as libraries choose the file format by it.
    temporary = path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        # Pillow's encoders lose the system's number.
        code, reason = error.errno or errno.EIO, error.strerror or str(error)
        raise OSError(code, reason, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine that were killed left unfinished in the folder."""
    for path in folder.glob(".*.part*"):
        found = _TEMPORARY.search(path.name)
        if found and found["machine"] == _machine() and not _is_running(int(found["process"])):
            path.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, wholly or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, wholly or not at all.

    Characters that are not text, from file names that are not UTF-8, are written as JSON escapes.
    """
    write_bytes(path, content.encode(errors="backslashreplace"))


@contextmanager
def writing(path: Path, *, instead: str = "another output") -> Iterator[None]:
    """Around the writing of `path`, where a run that is stopped by the disk can continue.

    Raises:
        DiskError: it cannot be written; `instead` is what may be chosen in its place.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written ({error.strerror or error}): make room or choose "
            f"{instead}; finished work is kept, the same command continues"
        ) from error


def is_file_name(name: str) -> bool:
    """Whether a name from outside is that of a file in a folder, and leads nowhere else."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a file of the folder is, links followed, a file outside of it.

    In the hub's cache links lead from `snapshots` to `blobs` by design.
    """
    try:
        real, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError):  # a link in a circle
        return True
    blobs = (each.parent / "blobs" for each in (root, *root.parents) if each.name == "snapshots")
    return not any(real.is_relative_to(each) for each in (root, *blobs))


def sha256_of(path: str | Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hexadecimal SHA-256 of a file's bytes; `on_bytes(n)` is called for each block read.

    Raises:
        UsageError: a folder, device or pipe.
    """
    check_plain(Path(path))
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
            if on_bytes:
                on_bytes(len(block))
    return digest.hexdigest()


@cache
def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _is_running(process: int) -> bool:
    if sys.platform == "win32":  # where this very question would end the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def _sync_directory(folder: Path) -> None:
    # The rename itself must survive a power cut; some file systems refuse to sync a folder.
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
