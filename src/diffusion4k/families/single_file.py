"""A network in one safetensors file, by its makers' names of layers or by diffusers'."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.component import loading
from diffusion4k.models.folder import read_json
from diffusion4k.models.layout import Fused, Layout, LayoutError
from diffusion4k.support.tensor_file import StoredTensor, TensorFile

__all__ = ["Reading", "load_single_file", "names_in", "reading_of", "shapes_of"]

_NONE = Layout({}, keeps=True)


@dataclass
class Reading:
    """How a network is read from a file: each tensor there, and what of the network it holds."""

    file: TensorFile
    tensors: list[tuple[str, Fused]]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """The network's tensors by name, one tensor of the file after the other."""
        for name, fused in self.tensors:
            yield from zip(fused.parts, fused.split(self.file.read(name)), strict=True)

    @property
    def stored(self) -> dict[str, StoredTensor]:
        """Type in the file and shape of each of the network's tensors."""
        return {
            part: StoredTensor(self.file.tensors[name].dtype, shape)
            for name, fused in self.tensors
            for part, shape in zip(fused.parts, fused.part_shapes, strict=True)
        }


def names_in(file: TensorFile, layout: Layout) -> dict[str, str]:
    """Names in the file by the network's part of it, without a prefix.

    What else a whole checkpoint holds, beside what has the prefix, is left out.
    """
    prefixes = (layout.prefix, "transformer.", "vae.")
    prefix = next((p for p in prefixes if any(n.startswith(p) for n in file.tensors)), "")
    return {n.removeprefix(prefix): n for n in file.tensors if n.startswith(prefix)}


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor that a network keeps in files."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def reading_of(
    file: TensorFile,
    layout: Layout | None,
    shapes: Mapping[str, tuple[int, ...]],
    whose: str,
) -> Reading:
    """How a network with tensors of these shapes is read from the file.

    `whose` names the network in errors: "the transformer of MODEL".

    Raises:
        Diffusion4kError: names of two layouts in it, absent or unknown ones, or other shapes.
    """
    layout = layout or _NONE
    names = names_in(file, layout)
    kinds = {name: (layout.is_original(name), layout.is_ours(name)) for name in names}
    theirs = [name for name, kind in kinds.items() if kind == (True, False)]
    ours = [name for name, kind in kinds.items() if kind == (False, True)]
    if theirs and ours:
        raise Diffusion4kError(
            f"{file.path}: names of two layouts in it ({theirs[0]}, {ours[0]}): take the file "
            "again from where it came from, or export it again"
        )
    try:
        found = (layout if theirs else _NONE).fused(shapes)
    except LayoutError as error:
        raise _other(file, whose, str(error)) from None
    wanted = {fused.name: fused for fused in found}
    if absent := [name for name in wanted if name not in names]:
        raise _other(file, whose, f"{_and_others(absent)} is not in it")
    if unknown := [n for n in names if n not in wanted and n not in layout.extra]:
        raise _other(file, whose, f"{_and_others(unknown)} has no place there")
    for name, fused in wanted.items():
        shape = file.tensors[names[name]].shape
        if shape != fused.shape and not _is_squeezed(shape, fused.shape):
            raise _other(file, whose, f"{name} is of shape {shape}, there it is {fused.shape}")
    return Reading(file, [(names[name], fused) for name, fused in wanted.items()])


def load_single_file(
    model_class: Any,
    file: Path,
    component: Path,
    *,
    layout: Layout | None,
    dtype: torch.dtype,
    quantization: Any,
) -> nn.Module:
    """A diffusers model from one file (safetensors, GGUF), configured as the folder `component`.

    diffusers' own reading is taken for GGUF files and for weights of fewer bits.

    Raises:
        Diffusion4kError: the file cannot be read, or is of another model.
    """
    if file.suffix == ".safetensors" and quantization is None:
        return _load(model_class, TensorFile(file), component, layout, dtype)
    if not hasattr(model_class, "from_single_file"):
        raise Diffusion4kError(
            f"{file}: diffusers reads no single files of a {model_class.__name__}: give a model "
            "folder"
        )
    with loading(file):
        return model_class.from_single_file(
            str(file),
            config=str(component.parent),
            subfolder=component.name,
            quantization_config=quantization,
            torch_dtype=dtype,
            local_files_only=True,
        ).eval()


def _load(
    model_class: Any, file: TensorFile, component: Path, layout: Layout | None, dtype: torch.dtype
) -> nn.Module:
    from accelerate import init_empty_weights

    config = read_json(component / "config.json")
    with loading(component), init_empty_weights(include_buffers=False):
        network: nn.Module = model_class.from_config(config)
    whose = f"the {component.name} of {component.parent}"
    reading = reading_of(file, layout, shapes_of(network), whose)
    state = {name: _as(value, dtype) for name, value in reading}
    network.load_state_dict(state, assign=True)
    return network.eval()


def _as(value: Tensor, dtype: torch.dtype) -> Tensor:
    # A piece of a fused tensor would keep the whole of it in memory.
    return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()


def _is_squeezed(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a 1x1 convolution is stored without its last axes, as some programs do."""
    return shape == wanted[: len(shape)] and prod(shape) == prod(wanted)


def _and_others(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _other(file: TensorFile, whose: str, reason: str) -> Diffusion4kError:
    return Diffusion4kError(
        f"{file.path}: does not hold {whose}: {reason}: give a file that was made for it, or the "
        "model that this file is of"
    )
