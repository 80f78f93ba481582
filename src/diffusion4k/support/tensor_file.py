"""Safetensors files read and written tensor by tensor, whatever their size.

A file is eight bytes with the length of its header, the header (JSON: name, type, shape and place
of each tensor, and texts under `__metadata__`), and the tensors one behind the other. Tensors are
read with plain reads: a file mapped into memory would count as memory as far as it was touched.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.files import atomic_path
from diffusion4k.support.text_files import json_of, shortened

__all__ = ["StoredTensor", "TensorFile", "refuse_pickle", "write_tensors"]

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types by the names that safetensors gives them."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_LONGEST_HEADER = 100_000_000  # safetensors' own limit
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")


@dataclass(frozen=True)
class StoredTensor:
    """Type and shape of a tensor in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """A safetensors file whose header has been read and checked; no tensor has been.

    Attributes:
        tensors: type and shape of each tensor by name.
        metadata: the texts of the header.

    Raises:
        UsageError: no such file, or a pickle.
        Diffusion4kError: a header that is damaged or longer than the file, or a file cut short.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UsageError(f"{self.path}: no such file: give a .safetensors file")
        refuse_pickle(self.path)
        self.tensors: dict[str, StoredTensor] = {}
        self.metadata: dict[str, str] = {}
        self._places: dict[str, int] = {}
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise self._damaged(f"its header says {length} bytes, the file has {size}")
            try:
                header = json_of(file.read(length))
                self._read_header(header, size - 8 - length)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._damaged(f"its header is not understood: {shortened(error)}") from None
        self._start = 8 + length

    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own.

        Raises:
            Diffusion4kError: the file has been cut short meanwhile.
        """
        stored = self.tensors[name]
        content = torch.empty(stored.size, dtype=torch.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._start + self._places[name])
            view, done = content.numpy().data, 0
            while done < stored.size:
                read = file.readinto(view[done:])
                if not read:
                    raise self._damaged(f"{name} is cut short")
                done += read
        return content.view(stored.dtype).reshape(stored.shape)

    def _read_header(self, header: dict[str, Any], size: int) -> None:
        self.metadata = dict(header.pop(_METADATA, {}))
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            stored = StoredTensor(DTYPES[entry["dtype"]], tuple(map(int, entry["shape"])))
            if min(stored.shape, default=0) < 0 or begin < 0 or end - begin != stored.size:
                raise ValueError(f"{name} has {end - begin} bytes for shape {stored.shape}")
            self.tensors[name], self._places[name] = stored, begin
            if end > size:
                raise self._damaged(f"cut short: {name} ends at byte {end} of {size}")

    def _damaged(self, reason: str) -> Diffusion4kError:
        return Diffusion4kError(
            f"{self.path}: damaged safetensors file ({reason}): copy or download it again"
        )


def refuse_pickle(path: Path) -> None:
    """Refuse a file of `torch.save`, by its name or its first bytes.

    Raises:
        UsageError: says how its tensors are got at safely.
    """
    with path.open("rb") as file:
        start = file.read(8)
    # A zip archive, or a bare pickle, whose first bytes would be the length of no header.
    is_bare = start[:1] == b"\x80" and int.from_bytes(start, "little") > _LONGEST_HEADER
    if path.suffix in _PICKLES or start[:4] == b"PK\x03\x04" or is_bare:
        raise UsageError(
            f"{path}: a pickle, which can run any code when it is opened, and is not read: take "
            "the .safetensors file of the same weights, or make one: load it with "
            "torch.load(FILE, weights_only=True) and save it with safetensors.torch.save_file"
        )


def write_tensors(
    path: str | Path,
    entries: Sequence[tuple[str, StoredTensor]],
    tensors: Iterable[Tensor],
    metadata: Mapping[str, str],
) -> Path:
    """Write a safetensors file, wholly or not at all, one tensor in memory at a time; `path`.

    Args:
        entries: name, type and shape of each tensor.
        tensors: the tensors in the same order, as iterator.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for name, stored in entries:
        header[name] = {
            "dtype": _NAMES[stored.dtype],
            "shape": list(stored.shape),
            "data_offsets": [end, end + stored.size],
        }
        end += stored.size
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for (name, stored), tensor in zip(entries, tensors, strict=True):
            assert (tensor.dtype, tuple(tensor.shape)) == (stored.dtype, stored.shape), name
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return Path(path)
