"""One process at a time: locks that end with the process that holds them, however that ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import remove_leftovers

__all__ = ["hold", "locked", "opened_lock"]


@contextmanager
def locked(
    folder: Path,
    *,
    other: str = "output",
    busy: str = "another run is using it: wait for it, or choose another output",
) -> Iterator[None]:
    """Hold the folder (made if absent).

    Raises:
        Diffusion4kError: it is a file (choose another `other`), or another process holds it
            (`busy` says what that does, and what to do).
    """
    if folder.exists() and not folder.is_dir():
        raise Diffusion4kError(f"{folder}: is a file, not a folder: choose another {other}")
    folder.mkdir(parents=True, exist_ok=True)
    with opened_lock(folder / ".lock") as handle:
        hold(handle, f"{folder}: {busy}")
        remove_leftovers(folder)
        yield


def opened_lock(path: Path) -> IO[str]:
    """The file to be locked, made if absent; nothing is written to it.

    Raises:
        Diffusion4kError: a link, whose target is none of ours, or no plain file.
    """
    # Without O_NONBLOCK a FIFO of this name would be waited for.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        return os.fdopen(os.open(path, flags, 0o666), "r+")
    raise Diffusion4kError(f"{path}: not a regular file, as a lock must be: remove it")


def hold(handle: IO[str], busy: str) -> None:
    """Lock an open file until it is closed.

    Raises:
        Diffusion4kError: another process has it locked; `busy` is the message.
    """
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Diffusion4kError(busy) from None
