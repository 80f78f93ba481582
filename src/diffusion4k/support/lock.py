"""One process at a time: locks that end with the process that holds them, however that ends."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import remove_leftovers

__all__ = ["acquire", "locked", "refuse_file", "try_lock", "wait_for"]

_SECONDS = 1.0  # between two looks at a lock


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
    refuse_file(folder, other)
    with try_lock(folder) as is_ours:
        if not is_ours:
            raise Diffusion4kError(f"{folder}: {busy}")
        remove_leftovers(folder)
        yield


def refuse_file(folder: Path, other: str = "output") -> None:
    """Refuse a file where a folder is to be written.

    Raises:
        Diffusion4kError: says to choose another `other`.
    """
    if folder.exists() and not folder.is_dir():
        raise Diffusion4kError(f"{folder}: is a file, not a folder: choose another {other}")


@contextmanager
def wait_for(folder: Path, busy: str) -> Iterator[None]:
    """Hold the folder, as soon as no other process does; `busy` is said once."""
    said = False
    while True:
        with try_lock(folder) as is_ours:
            if is_ours:
                yield
                return
        if not said:
            print(f"{folder.parent}: {busy}: waiting", file=sys.stderr, flush=True)
        said = True
        time.sleep(_SECONDS)


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Hold the folder (made if absent) if no other process does; whether it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = acquire(folder / ".lock")
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def acquire(path: Path) -> BaseFileLock | None:
    """The lock on a file of its own, to be released; None if another process holds it.

    The file is made if absent, and nothing is written to it.

    Raises:
        Diffusion4kError: a link, whose target is none of ours, or not a regular file.
    """
    if path.is_symlink() or not (path.is_file() or not path.exists()):
        raise Diffusion4kError(f"{path}: not a regular file, as a lock must be: remove it")
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock
