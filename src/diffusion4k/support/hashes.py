"""SHA-256 of files, remembered by path, size and time of change."""

import time
from abc import ABC, abstractmethod
from pathlib import Path

from diffusion4k.support.files import sha256_of

__all__ = ["RememberedHashes", "Stamp"]

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""

_RACY_SECONDS = 2.0


class RememberedHashes(ABC):
    """Hashes of files that did not change since they were read; a subclass keeps them somewhere.

    A file changed in the last two seconds is not remembered: a second change might leave size and
    time as they are.
    """

    def sha256(self, path: Path) -> str:
        """Hexadecimal SHA-256 of the file's bytes. Raises `OSError` if it cannot be read."""
        stat, where = path.stat(), path.resolve()
        stamp = (stat.st_size, stat.st_mtime_ns)
        if known := self._find(where, stamp):
            return known
        digest = sha256_of(path)
        if time.time() - stat.st_mtime > _RACY_SECONDS:
            self._keep(where, stamp, digest)
        return digest

    @abstractmethod
    def _find(self, path: Path, stamp: Stamp) -> str | None:
        """What was kept for the file as it is now."""

    @abstractmethod
    def _keep(self, path: Path, stamp: Stamp, digest: str) -> None:
        """Keep it for the next time."""
