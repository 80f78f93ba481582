"""A part of a model in one file or several, in its makers' layout or in diffusers'.

Tensors are read, changed and written one after the other, so that a part of any size takes the
memory of its largest layer. Rearranging is exact: in the source's own type, what is written and
read back has the same bits.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.file_model import RECORD
from diffusion4k.interchange.source import Part, Source, source_of
from diffusion4k.models.folder import PARTS_FROM, SETTINGS
from diffusion4k.models.layout import Fused, Layout
from diffusion4k.support.files import write_text
from diffusion4k.support.folders import atomic_folder
from diffusion4k.support.tensor_file import StoredTensor, write_tensors
from diffusion4k.support.versions import versions

__all__ = ["DTYPES", "LayoutName", "export_part"]

LayoutName = Literal["original", "diffusers"]
DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}
_STEM = "diffusion_pytorch_model"
_FILE = ".safetensors"
_HEADER = 1 << 20  # at most, of a thousand tensors

_Entry = tuple[Fused, StoredTensor]


def export_part(
    model: str | Path,
    out: str | Path,
    *,
    part: Part = "transformer",
    layout: LayoutName | None = None,
    dtype: str | None = None,
    prefix: bool | None = None,
    shard_size: int | None = 5 << 30,
    base: str | Path | None = None,
) -> Path:
    """Write a part of a model to a file `NAME.safetensors` or to a new folder; `out`.

    Args:
        model: `pocket`, a model folder, a hub id, or a .safetensors file.
        layout: by default the original one in a file, diffusers' in a folder.
        dtype: a key of `DTYPES`; in fp8 are the weights of layers, biases and norms are in bf16.
            None: that of each tensor as it is.
        prefix: whether names in the original layout have that of a whole checkpoint before them;
            by default a transformer's have.
        shard_size: bytes of the tensors of each file in a folder; None: one file.
        base: for a file as `model`, another model of the same sizes, for its configuration.

    Raises:
        UsageError: `out` is there already, or a layout that the model does not have.
        Diffusion4kError: a damaged source, weights that are not finite or too large for `dtype`,
            or no room.
    """
    path = Path(out)
    if path.exists():
        raise UsageError(f"{path}: already exists: choose another name")
    as_file = path.suffix == _FILE
    layout = layout or ("original" if as_file else "diffusers")
    source = source_of(model, part, base)
    table, before = _table(source, layout, prefix)
    entries = [
        (fused, StoredTensor(_dtype(source, fused, dtype), fused.shape))
        for fused in table.fused({name: each.shape for name, each in source.tensors.stored.items()})
    ]
    _require_space(path, sum(stored.size for _, stored in entries))
    if as_file:
        return _write(path, source, entries, before)
    with atomic_folder(path) as folder:
        inner = folder
        if layout == "diffusers":
            if part == "transformer":
                inner = folder / "transformer"
                if source.parts_from:
                    settings = {PARTS_FROM: source.parts_from}
                    write_text(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
            write_text(inner / "config.json", json.dumps(source.config, indent=2) + "\n")
        _write_shards(inner, source, entries, before, shard_size)
    return path


def _table(source: Source, layout: LayoutName, prefix: bool | None) -> tuple[Layout, str]:
    if layout == "diffusers":
        return Layout({}, keeps=True), ""
    if source.layout is None:
        raise UsageError(
            f"{source.place}: no original layout of {source.family} models' {source.part} is known "
            "here: choose --layout diffusers"
        )
    wanted = source.part == "transformer" if prefix is None else prefix
    return source.layout, source.layout.prefix if wanted else ""


def _dtype(source: Source, fused: Fused, wanted: str | None) -> torch.dtype:
    stored = [source.tensors.stored[part].dtype for part in fused.parts]
    if wanted is None or not all(each.is_floating_point for each in stored):
        whole = stored[0]
        for each in stored[1:]:
            whole = whole if whole == each else torch.promote_types(whole, each)
        return whole
    is_layer = fused.name.endswith(".weight") and len(fused.shape) > 1
    return DTYPES["bf16"] if wanted == "fp8" and not is_layer else DTYPES[wanted]


def _joined(source: Source, entries: Sequence[_Entry]) -> Iterator[Tensor]:
    """The tensors of a file one after the other, checked and in their new type."""
    for fused, stored in entries:
        parts = [source.tensors.read(name) for name in fused.parts]
        whole = fused.join([part.to(stored.dtype) for part in parts])
        if stored.dtype.is_floating_point:
            _check(source, fused, parts, stored.dtype)
        yield whole


def _check(source: Source, fused: Fused, parts: Sequence[Tensor], dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    for name, part in zip(fused.parts, parts, strict=True):
        # Types of 8 bits have no comparisons of their own.
        wide = part.to(torch.float32) if part.dtype.itemsize == 1 else part
        if not wide.isfinite().all():
            raise Diffusion4kError(
                f"{source.place}: {name} holds numbers that are not finite: take the model from "
                "before its training went wrong"
            )
        if dtype.itemsize < part.dtype.itemsize and (top := float(wide.abs().max())) > largest:
            raise Diffusion4kError(
                f"{source.place}: {name} holds {top:g}, more than {largest:g}, the most of "
                f"{str(dtype).removeprefix('torch.')}: choose bf16"
            )


def _write(path: Path, source: Source, entries: Sequence[_Entry], prefix: str) -> Path:
    named = [(prefix + fused.name, stored) for fused, stored in entries]
    return write_tensors(path, named, _joined(source, entries), _metadata(source))


def _metadata(source: Source) -> dict[str, str]:
    record = {
        "part": source.part,
        "family": source.family,
        PARTS_FROM: source.parts_from,
        "config": source.config,
        "versions": versions(),
    }
    return {"format": "pt", RECORD: json.dumps({k: v for k, v in record.items() if v is not None})}


def _write_shards(
    folder: Path, source: Source, entries: Sequence[_Entry], prefix: str, shard_size: int | None
) -> None:
    """The files of a folder and, of more than one, the index that diffusers reads."""
    shards: list[list[_Entry]] = [[]]
    size = 0
    for entry in entries:
        if shards[-1] and shard_size and size + entry[1].size > shard_size:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry[1].size
    if len(shards) == 1:
        _write(folder / f"{_STEM}{_FILE}", source, entries, prefix)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"{_STEM}-{number:05}-of-{len(shards):05}{_FILE}"
        _write(folder / name, source, shard, prefix)
        weight_map |= {prefix + fused.name: name for fused, _ in shard}
    total = sum(stored.size for _, stored in entries)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_text(folder / f"{_STEM}{_FILE}.index.json", json.dumps(index, indent=2) + "\n")


def _require_space(path: Path, needed: int) -> None:
    there = next(each for each in path.absolute().parents if each.exists())
    free = shutil.disk_usage(there).free
    if needed + _HEADER > free:
        raise Diffusion4kError(
            f"{path}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free: make room, "
            "choose another place, or a --dtype of fewer bits"
        )
