"""What is exported: a transformer or an autoencoder, of a model folder or of one file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import resolve, unchecked_family_of
from diffusion4k.families.autoencoder_kl import AUTOENCODER_KL
from diffusion4k.families.autoencoder_kl_layout import LDM
from diffusion4k.families.component import check_class, check_config, check_weights, weight_files
from diffusion4k.families.file_model import identified, record_of
from diffusion4k.families.single_file import Reading, reading_of, shapes_of
from diffusion4k.families.text_components import stock_class
from diffusion4k.models.folder import (
    PARTS_FROM,
    bundled_models,
    component_folder,
    model_settings,
    read_json,
)
from diffusion4k.models.hub import is_hub_id
from diffusion4k.models.layout import Fused, Layout, original_layout
from diffusion4k.support.tensor_file import StoredTensor, TensorFile
from diffusion4k.support.text_files import shortened
from diffusion4k.vae import PartitionedAutoencoderKL, ScaleConsistentAutoencoderKL

__all__ = ["Part", "Source", "source_of"]

Part = Literal["transformer", "vae"]

_AUTOENCODERS = tuple(name.rpartition(".")[2] for name in AUTOENCODER_KL)
_OWN = {each.__name__: each for each in (PartitionedAutoencoderKL, ScaleConsistentAutoencoderKL)}


class _Tensors:
    """Tensors of a network by name, wherever they stand; one fused tensor is kept in memory."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self.stored: dict[str, StoredTensor] = {}
        self._places: dict[str, tuple[TensorFile, str, Fused]] = {}
        for reading in readings:
            self.stored |= reading.stored
            for name, fused in reading.tensors:
                self._places |= dict.fromkeys(fused.parts, (reading.file, name, fused))
        self._last: tuple[str, dict[str, Tensor]] = "", {}

    def read(self, name: str) -> Tensor:
        """One tensor of the network."""
        file, stored_as, fused = self._places[name]
        if len(fused.parts) == 1:
            return fused.split(file.read(stored_as))[0]
        if self._last[0] != stored_as:
            self._last = (
                stored_as,
                dict(zip(fused.parts, fused.split(file.read(stored_as)), strict=True)),
            )
        return self._last[1][name]


@dataclass(frozen=True)
class Source:
    """A part of a model, ready to be read tensor by tensor.

    Attributes:
        config: its configuration with the name of its class, as diffusers' `config.json` has it.
        family: name of the model's family; None of an autoencoder in one file.
        layout: its original layout; None where none is known.
        parts_from: a bundled model or hub id that has the other parts, as far as it is known.
        place: where it was read from, for messages.
    """

    part: Part
    config: dict[str, Any]
    family: str | None
    layout: Layout | None
    parts_from: str | None
    place: Path
    tensors: _Tensors


def source_of(source: str | Path, part: Part, base: str | Path | None = None) -> Source:
    """The part of a model, or of a file with it alone or among others.

    Args:
        base: for a file, a model of the same sizes in place of what its header says.

    Raises:
        UsageError: no such model or file, a pickle, or `base` beside a whole model.
        Diffusion4kError: damaged or incomplete, or of another model than `base`.
    """
    path = Path(source)
    if path.is_file():
        file = TensorFile(path)
        if part == "vae":
            return _autoencoder_file(file, base)
        return _transformer_file(file, base)
    if base is not None:
        raise UsageError(f"base {base}: only for a source that is one file; {source} is a model")
    folder = resolve(source, [part])
    family = unchecked_family_of(folder)  # of a hub id, only the part is there
    component = component_folder(folder, part)
    name = family.class_named(folder, part).__name__
    check_weights(component)
    check_class(component, [name])
    config = read_json(component / "config.json")
    config = {k: v for k, v in config.items() if k != "_name_or_path"}
    layout = original_layout(family.name)
    if part == "vae":
        layout = LDM if name in _AUTOENCODERS else None
    config = {**config, "_class_name": name}
    shapes = shapes_of(_skeleton(config, component))
    readings = [
        Reading(file, [(n, _same(n, file.tensors[n].shape)) for n in file.tensors])
        for file in map(TensorFile, weight_files(component))
    ]
    tensors = _Tensors(readings)
    _check_whole(component, shapes, tensors.stored)
    others = str(source) if _is_name(str(source)) else model_settings(folder).get(PARTS_FROM)
    parts_from = others if isinstance(others, str) and _is_name(others) else None
    return Source(part, config, family.name, layout, parts_from, component, tensors)


def _transformer_file(file: TensorFile, base: str | Path | None) -> Source:
    if base is None:
        found = identified(file)
        family, config, reading = found.family, found.config, found.reading
        name, parts_from = family.name, found.parts_from
    else:
        folder = resolve(base, ["transformer"])
        of_base = unchecked_family_of(folder)
        config = read_json(folder / "transformer" / "config.json")
        skeleton = of_base.transformer_skeleton(folder)
        name, parts_from, family = of_base.name, str(base), type(of_base)
        shapes, whose = shapes_of(skeleton), f"the transformer of {base}"
        reading = reading_of(file, original_layout(name), shapes, whose)
    kind = family.components["transformer"][0].rpartition(".")[2]
    config = {**{k: v for k, v in config.items() if k != "_name_or_path"}, "_class_name": kind}
    tensors = _Tensors([reading])
    layout = original_layout(name)
    return Source("transformer", config, name, layout, parts_from, file.path, tensors)


def _autoencoder_file(file: TensorFile, base: str | Path | None) -> Source:
    config: Any
    if base is not None:
        config = read_json(component_folder(resolve(base, ["vae"]), "vae") / "config.json")
        whose = f"the autoencoder of {base}"
    else:
        config, whose = record_of(file).get("config"), "the autoencoder that its header names"
        if not isinstance(config, dict) or "block_out_channels" not in config:
            raise UsageError(
                f"{file.path}: its header does not say which autoencoder it is, and Flux' and "
                "Stable Diffusion 3's differ in nothing but the scale of latents: name a model "
                "that has the same with --base"
            )
    config = {k: v for k, v in config.items() if k != "_name_or_path"}
    if config.get("_class_name") not in _AUTOENCODERS:
        raise Diffusion4kError(
            f"{file.path}: its header names a {shortened(config.get('_class_name'))}, allowed is "
            f"{' or '.join(_AUTOENCODERS)}: name a model that has the same with --base"
        )
    shapes = shapes_of(_skeleton(config, file.path))
    reading = reading_of(file, LDM, shapes, whose)
    return Source("vae", config, None, LDM, None, file.path, _Tensors([reading]))


def _skeleton(config: dict[str, Any], place: Path) -> nn.Module:
    """The network of a configuration on the meta device."""
    name = str(config.get("_class_name"))
    check_config(place, config)
    try:
        kind = _OWN.get(name) or stock_class(f"diffusers.{name}")
        with torch.device("meta"):
            network: nn.Module = kind.from_config(config)
    except Exception as error:
        raise Diffusion4kError(
            f"{place}: its configuration is none of a {name}: {error}: take it again from its "
            "source"
        ) from None
    return network


def _same(name: str, shape: tuple[int, ...]) -> Fused:
    return Fused(name, (name,), (shape,), False, shape)


def _check_whole(
    component: Path, shapes: dict[str, tuple[int, ...]], stored: dict[str, StoredTensor]
) -> None:
    for name in sorted(shapes.keys() | stored.keys()):
        found = stored[name].shape if name in stored else "none"
        if found != shapes.get(name, "none"):
            raise Diffusion4kError(
                f"{component}: {name}: found {found}, its config.json says "
                f"{shapes.get(name, 'none')}: download the model again from its source"
            )


def _is_name(model: str) -> bool:
    """Whether it is a name that means the same on another machine."""
    return model in bundled_models() or (is_hub_id(model) and not Path(model).exists())
