"""A LoRA's safetensors file: its header, and its tensors one by one as NumPy's or torch's.

Files are checked by safetensors itself. NumPy's tensors are float32 views or copies of the file
mapped into memory, so that a look at a file needs neither torch nor memory for all of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open

from diffusion4k.errors import Diffusion4kError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StoredFile", "open_file"]

_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_ZIP = b"PK\x03\x04"
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


@dataclass(frozen=True)
class StoredFile:
    """A file whose header has been checked.

    Args:
        shapes: of the tensors by their keys.
        dtypes: safetensors' names of their types.
        metadata: the header's texts.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]
    _starts: Mapping[str, int]

    def as_numpy(self, key: str) -> "Tensor":
        """One tensor in float32, for what `changes` can do with NumPy."""
        dtype = self.dtypes[key]
        if dtype not in _NUMPY:
            raise Diffusion4kError(
                f"{self.path}: {key} has type {dtype}: allowed are float32, float16 and bfloat16"
            )
        shape = self.shapes[key]
        raw: Any = np.memmap(
            self.path, dtype=_NUMPY[dtype], mode="r", offset=self._starts[key], shape=shape or (1,)
        ).reshape(shape)
        if dtype == "BF16":
            # Its bits are the upper half of float32's.
            return cast("Tensor", (raw.astype(np.uint32) << 16).view(np.float32))
        return cast("Tensor", raw.astype(np.float32, copy=False))

    def as_torch(self) -> "dict[str, Tensor]":
        """All tensors, in the file's types.

        Raises:
            Diffusion4kError: the file is damaged.
        """
        from safetensors.torch import load_file

        try:
            return load_file(self.path)
        except (OSError, SafetensorError, ValueError) as error:
            raise _damaged(self.path, error) from None


def open_file(path: Path) -> StoredFile:
    """The header of a safetensors file.

    Raises:
        UsageError: no such file, or a pickle.
        Diffusion4kError: the file is damaged or cut short.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file: give a .safetensors file, or a folder that holds one"
        )
    with path.open("rb") as handle:
        begin = handle.read(8)
    if path.suffix in _PICKLES or begin.startswith(_ZIP):
        raise UsageError(
            f"{path}: is a pickle, which can run any program when it is opened, and is not read: "
            "take the author's .safetensors file, or write one from "
            "torch.load(FILE, weights_only=True) with safetensors.torch.save_file"
        )
    try:
        with safe_open(path, framework="np") as checked:
            metadata = checked.metadata() or {}
        length = int.from_bytes(begin, "little")
        with path.open("rb") as handle:
            handle.seek(8)
            header = json.loads(handle.read(length))
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from None
    header.pop("__metadata__", None)
    return StoredFile(
        path,
        shapes={key: tuple(entry["shape"]) for key, entry in header.items()},
        dtypes={key: entry["dtype"] for key, entry in header.items()},
        metadata=metadata,
        _starts={key: 8 + length + entry["data_offsets"][0] for key, entry in header.items()},
    )


def _damaged(path: Path, error: Exception) -> Diffusion4kError:
    return Diffusion4kError(
        f"{path}: damaged safetensors file ({error}): copy or download it again"
    )
