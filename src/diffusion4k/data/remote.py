"""Where the files of a cache are: in a folder, or at an address and fetched when first needed.

Far away is whatever `fsspec` reads: `s3://`, `gs://`, `https://`, ... The files are kept in a
folder of this machine, which its processes share: `DIFFUSION4K_CACHE`, or `~/.cache/diffusion4k`.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.data.index import INDEX, table_names
from diffusion4k.errors import Diffusion4kError, first_line
from diffusion4k.support.files import atomic_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["SHARDS", "LocalFiles", "RemoteFiles", "is_remote"]

SHARDS = "shards"


def is_remote(cache: str | Path) -> bool:
    """Whether it is an address, not a folder."""
    return "://" in str(cache)


class LocalFiles:
    """A cache in a folder of this machine, or of one that it mounts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def index_folder(self) -> Path:
        """Where the index is."""
        return self._folder

    def shard(self, name: str) -> Path:
        """Path of a shard."""
        return self._folder / SHARDS / name

    def check(self, shards: Sequence[tuple[str, int]]) -> None:
        """Refuse a cache whose shards, given by name and size, are not all there.

        Raises:
            Diffusion4kError: names the first that is missing or cut, and how many are.
        """
        wrong = [(name, size) for name, size in shards if _size(self.shard(name)) != size]
        if wrong:
            name, size = wrong[0]
            found = _size(self.shard(name))
            what = "is missing" if found is None else f"is damaged ({found} of {size} bytes)"
            raise Diffusion4kError(
                f"{self._folder}: {len(wrong)} of {len(shards)} shards are not as they were "
                f"written: {self.shard(name)} {what}: build the cache again, the rest is kept"
            )


class RemoteFiles:
    """A cache at an address; nothing of it is changed there."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._system, self._root = _system(self._address)
        home = os.environ.get("DIFFUSION4K_CACHE") or "~/.cache/diffusion4k"
        digest = hashlib.sha256(self._address.encode()).hexdigest()[:16]
        self._folder = Path(home).expanduser() / "remote" / digest
        self._sizes: dict[str, int] = {}

    def index_folder(self) -> Path:
        """Path of the index, which is fetched again each time."""
        self._fetch(INDEX, anew=True)
        for table in table_names(self._folder):
            self._fetch(table)
        return self._folder

    def shard(self, name: str) -> Path:
        """Path of a shard, which is fetched if it is not there in its right size."""
        return self._fetch(f"{SHARDS}/{name}", size=self._sizes.get(name))

    def check(self, shards: Sequence[tuple[str, int]]) -> None:
        """Note the shards' sizes: what is fetched must have them."""
        self._sizes = dict(shards)

    def _fetch(self, name: str, *, anew: bool = False, size: int | None = None) -> Path:
        path = self._folder / name
        found = _size(path)
        if not anew and found is not None and size in (None, found):
            return path
        try:
            # Processes that ask at once fetch it each for itself; the last to be done stays.
            with atomic_path(path) as temporary:
                self._system.get_file(f"{self._root}/{name}", str(temporary))
                if size is not None and temporary.stat().st_size != size:
                    raise OSError(f"{temporary.stat().st_size} of {size} bytes came")
        except Exception as error:
            cause = error.__cause__ or error  # as it was before the file was named
            raise Diffusion4kError(
                f"{self._address}/{name}: cannot be fetched ({first_line(cause)}): check the "
                "address and your rights, or fetch the cache by other means and give its folder"
            ) from None
        return path


def _system(address: str) -> "tuple[AbstractFileSystem, str]":
    try:
        import fsspec

        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise Diffusion4kError(
            f"{address}: {first_line(error)}: `pip install 'diffusion4k[remote]'` brings "
            "what s3:// and https:// need"
        ) from None
    except ValueError as error:
        raise Diffusion4kError(f"{address}: {error}") from None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
