"""Tensors by key in safetensors files that are complete or absent.

An entry is a dictionary of tensors under a key; its tensors stand in one file under the names
`<key>/<name>`, and the file's header holds the CRC-32 of each. The headers are the directory:
a file that was written before its writer was killed is found again.
"""

import contextlib
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffusion4k.data.problems import writing
from diffusion4k.errors import Diffusion4kError
from diffusion4k.files import write_bytes

__all__ = ["SHARD_BYTES", "ShardWriter", "Shards", "remove_leftovers", "remove_unused"]

SHARD_BYTES = 256 << 20
_SECONDS = 120.0
"""A shard is closed after this time, however small: no more work than this is lost by a kill."""


class Shards:
    """Reads the entries of all shards in a folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Any] = {}
        self._names: dict[str, list[str]] = {}
        self.damaged: list[Path] = []
        """Files that are truncated or no safetensors; what was in them counts as absent."""
        for path in _shards(folder):
            try:
                file = safe_open(path, framework="pt")
            except (SafetensorError, OSError):
                self.damaged.append(path)
                continue
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                key, _, part = name.partition("/")
                self._names.setdefault(key, []).append(part)
                self._files[key] = (path, file)

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def shape(self, key: str, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header alone."""
        return tuple(self._files[key][1].get_slice(f"{key}/{name}").get_shape())

    def read(self, key: str) -> dict[str, Tensor]:
        """The tensors of an entry.

        Raises:
            Diffusion4kError: their bytes are not those that were written.
        """
        path, file = self._files[key]
        checksums = file.metadata() or {}
        tensors = {}
        for name in self._names[key]:
            tensor = file.get_tensor(f"{key}/{name}")
            if checksums.get(f"{key}/{name}") != _checksum(tensor):
                raise Diffusion4kError(
                    f"{path}: damaged: delete this file and build the cache again "
                    "(the other files are kept)"
                )
            tensors[name] = tensor
        return tensors


class ShardWriter:
    """Collects entries and writes a shard whenever there is enough; use as a context manager.

    When the block ends, and also when it is left by an error, what is finished is written.
    """

    def __init__(self, folder: Path, kind: str, *, shard_bytes: int = SHARD_BYTES) -> None:
        """Names begin with `kind`; a shard is at least `shard_bytes` or two minutes of work."""
        self._folder, self._kind, self._shard_bytes = folder, kind, shard_bytes
        self._entries: dict[str, Tensor] = {}
        self._opened = time.monotonic()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The error that stopped the work is the one to tell about, not that of a last attempt.
        with contextlib.suppress(Diffusion4kError) if error else contextlib.nullcontext():
            self._write()

    def add(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Take over an entry.

        Raises:
            Diffusion4kError: the disk is full, or the folder cannot be written.
        """
        self._entries |= {f"{key}/{name}": tensor for name, tensor in tensors.items()}
        size = sum(tensor.nbytes for tensor in self._entries.values())
        if size >= self._shard_bytes or time.monotonic() - self._opened >= _SECONDS:
            self._write()

    def _write(self) -> None:
        if self._entries:
            first = next(iter(self._entries)).partition("/")[0]
            path = self._folder / f"{self._kind}-{first[:16]}.safetensors"
            checksums = {name: _checksum(tensor) for name, tensor in self._entries.items()}
            content = save(self._entries, metadata=checksums)
            with writing(path):
                write_bytes(path, content)
        self._entries = {}
        self._opened = time.monotonic()


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left unfinished; no writer may be at work."""
    for path in folder.glob(".*.part.safetensors"):
        path.unlink(missing_ok=True)


def remove_unused(folder: Path, keys: Iterable[str]) -> None:
    """Remove the shards that hold none of `keys`."""
    wanted = set(keys)
    for path in _shards(folder):
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        if not any(name.partition("/")[0] in wanted for name in names):
            path.unlink()


def _shards(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("."))


def _checksum(tensor: Tensor) -> str:
    content = tensor.contiguous().view(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(content.data):08x}"
