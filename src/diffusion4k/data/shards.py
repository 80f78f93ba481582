"""Tensors by key in safetensors files that are complete or absent.

An entry is a dictionary of tensors under a key; its tensors stand in one file under the names
`<key>/<name>`, and the file's header holds the CRC-32 of each. The headers are the directory:
a file that was written before its writer was killed is found again.
"""

import contextlib
import math
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import write_bytes, writing
from diffusion4k.support.text_files import json_of

__all__ = [
    "SHARD_BYTES",
    "Dtype",
    "Location",
    "ShardReader",
    "ShardWriter",
    "Shards",
    "remove_leftovers",
    "remove_unused",
]

SHARD_BYTES = 256 << 20
_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
    "BOOL": "bool",
}
Dtype: TypeAlias = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]
"""Names of torch's types that a shard may hold."""
_SECONDS = 120.0
"""A shard is closed after this time, however small: no more work than this is lost by a kill."""


@dataclass(frozen=True)
class Location:
    """Where a tensor stands."""

    shard: str
    """File name."""
    offset: int
    """Bytes from the beginning of the file."""
    dtype: str
    """torch's name, for example `float16`."""
    shape: tuple[int, ...]
    checksum: int
    """CRC-32 of its bytes."""


class Shards:
    """What is in the shards of a folder, by their headers.

    Attributes:
        files: name and size of each that is whole.
        damaged: those that are truncated or no safetensors; what was in them counts as absent.
    """

    def __init__(self, folder: Path) -> None:
        self.files: list[tuple[str, int]] = []
        self.damaged: list[Path] = []
        self._entries: dict[str, dict[str, Location]] = {}
        for path in _shards(folder):
            try:
                entries = _entries(path)
            except (ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError):
                self.damaged.append(path)
                continue
            self.files.append((path.name, path.stat().st_size))
            self._entries |= entries

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def locate(self, key: str) -> dict[str, Location]:
        """The tensors of an entry."""
        return self._entries[key]


class ShardReader:
    """Reads tensors from mapped shards.

    The bytes of a tensor are compared with their checksum when it is first read.
    """

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        """`path_of` gives the local path of a shard by its name."""
        self._path_of = path_of
        self._verified: set[tuple[str, int]] = set()
        # A map holds a file open, and there may be more shards than open files are allowed.
        self._mapped = lru_cache(maxsize=128)(self._map)

    def read(self, location: Location) -> Tensor:
        """A tensor in mapped memory: it is read as it is used, and writing changes no file.

        Raises:
            Diffusion4kError: the shard is gone or cut, or its bytes are not those written.
        """
        dtype = getattr(torch, location.dtype)
        count = math.prod(location.shape)
        size = count * dtype.itemsize
        content = self._mapped(location.shard)
        place = location.shard, location.offset
        if place not in self._verified:
            part = content[location.offset : location.offset + size]
            if len(part) != size or zlib.crc32(part.data) != location.checksum:
                raise Diffusion4kError(
                    f"{self._path_of(location.shard)}: damaged: delete this file and build the "
                    "cache again (the other files are kept)"
                )
            self._verified.add(place)
        if not count:
            return torch.empty(location.shape, dtype=dtype)
        flat = torch.frombuffer(content, dtype=dtype, count=count, offset=location.offset)
        return flat.view(location.shape)

    def _map(self, name: str) -> np.memmap:
        path = self._path_of(name)
        try:
            return np.memmap(path, mode="c")
        except (OSError, ValueError) as error:
            raise Diffusion4kError(
                f"{path}: cannot be read ({error}): build the cache again, the rest is kept"
            ) from None


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
            with writing(path, instead="another cache folder"):
                write_bytes(path, content)
        self._entries = {}
        self._opened = time.monotonic()


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left unfinished; no writer may be at work."""
    for path in folder.glob(".*.part.*"):
        path.unlink(missing_ok=True)


def remove_unused(folder: Path, keys: Iterable[str]) -> None:
    """Remove the shards that hold none of `keys`."""
    requested = set(keys)
    for path in _shards(folder):
        if requested.isdisjoint(_entries(path)):
            path.unlink()


def _shards(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("."))


def _entries(path: Path) -> dict[str, dict[str, Location]]:
    """Entries of a safetensors file: https://huggingface.co/docs/safetensors, "Format"."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start, size = 8 + length, path.stat().st_size
        if start > size:
            raise ValueError("cut")
        header = json_of(file.read(length))
    checksums = header.pop("__metadata__", {})
    entries: dict[str, dict[str, Location]] = {}
    for name, about in header.items():
        begin, end = about["data_offsets"]
        if start + end > size:
            raise ValueError("cut")
        key, _, part = name.partition("/")
        entries.setdefault(key, {})[part] = Location(
            path.name,
            start + begin,
            _DTYPES[about["dtype"]],
            tuple(about["shape"]),
            int(checksums[name], 16),
        )
    return entries


def _checksum(tensor: Tensor) -> str:
    content = tensor.contiguous().view(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(content.data):08x}"
