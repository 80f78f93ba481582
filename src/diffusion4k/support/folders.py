"""Folders that are either complete or absent: written under a temporary name, synced, renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from diffusion4k.errors import Diffusion4kError

__all__ = ["atomic_folder", "discard_folder", "temporary_place"]


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder; on success sync it and put it in the place of `path`."""
    temporary = temporary_place(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            _sync(file)
        discard_folder(path)
        temporary.rename(path)
        _sync(path.parent)
    except SafetensorError as error:
        raise Diffusion4kError(
            f"{path}: cannot be written ({error}): free some space and run the same command again"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_place(path: Path) -> Path:
    """Where `atomic_folder` has a folder written."""
    return path.with_name(f".{path.name}.part")


def discard_folder(folder: Path) -> None:
    """Delete a folder, if there is one, so that no half of it can be found under its name."""
    # Renamed first: deleting takes a while, and a half-deleted checkpoint must not look like one.
    if folder.exists():
        shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.old")))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
