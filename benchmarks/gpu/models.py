"""Models of the published configurations whose weights are random and never anywhere but here.

A network is built on the meta device and drawn tensor by tensor where it computes, in its final
type: so twelve billion parameters in 4 bits take a GPU no more memory than they need. With a `seed`
they are drawn on the CPU and brought there, the same ones on every device.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.tiny import shrink
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.families import Family, unchecked_family_of
from diffusion4k.families.quantization import cast_layers, check_weights_option
from diffusion4k.models.hub import INDEX
from diffusion4k.models.published import known_id, write_configurations
from diffusion4k.sampling import Sampler
from diffusion4k.sampling.memory import can_stream
from diffusion4k.support.devices import has_own_memory

__all__ = ["RandomModel", "RandomSampler", "drawn", "drawn_like"]

PROMPT = "a picture"
_EULER = "FlowMatchEulerDiscreteScheduler"


class RandomModel:
    """A published model in `with`: within the block its parts come from here and not from files."""

    def __init__(
        self, name: str, setting: Setting, factor: int | None = None, seed: int | None = None
    ) -> None:
        self.setting, self._seed = setting, seed
        self.folder = _configurations(name, setting)
        self.blueprint = Blueprint(self.folder, factor)
        self.family: Family = unchecked_family_of(self.folder)
        self._patches = ExitStack()

    def __enter__(self) -> "RandomModel":
        def load(family: Family, _: Path, *, dtype: torch.dtype) -> nn.Module:
            autoencoder = self.blueprint.at_factor(family.factor).build("vae", dtype)
            return self._drawn(autoencoder)

        for patch in (
            mock.patch.object(type(self.family), "load_autoencoder", load),
            # There are no weights to be complete.
            mock.patch("diffusion4k.sampling.sampler.family_of", unchecked_family_of),
        ):
            self._patches.enter_context(patch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patches.close()

    def transformer(
        self, dtype: torch.dtype, weights: str | None = None, *, streamed: bool = False
    ) -> nn.Module:
        """The transformer on the device, its weights as `generate --weights` has them.

        `streamed`: its blocks in the CPU's memory, to which each went when it was drawn.
        """
        check_weights_option(weights, self.setting.device)
        transformer: Any = self.blueprint.build("transformer", dtype)
        if weights == "fp8":
            cast_layers(transformer, dtype=dtype)
        elif weights in ("int8", "nf4"):
            for block in _blocks(transformer):
                drawn(block, self.setting.device)
                (_to_int8 if weights == "int8" else _to_nf4)(block, dtype)
        if streamed and self._seed is None:
            for block in _blocks(transformer):
                drawn(block, self.setting.device).to("cpu")
            return drawn(transformer, self.setting.device)
        return self._drawn(transformer)

    def text_encoders(self, dtype: torch.dtype) -> list[nn.Module]:
        """The text encoders on the device."""
        names = self.blueprint.text_encoders
        return [self._drawn(self.blueprint.build(name, dtype)) for name in names]

    def conditioning(self, captions: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Text embeddings of captions of full length."""
        empty = self.family.empty_conditioning(self.folder, captions)
        device = self._drawn_on
        found = {name: drawn_like(t, device, torch.float32) for name, t in empty.items()}
        return {
            name: t.to(self.setting.device, dtype if t.is_floating_point() else None)
            for name, t in found.items()
        }

    def _drawn(self, module: nn.Module) -> nn.Module:
        return drawn(module, self._drawn_on).to(self.setting.device)

    @property
    def _drawn_on(self) -> torch.device:
        if self._seed is None:
            return self.setting.device
        torch.manual_seed(self._seed)
        return torch.device("cpu")


class RandomSampler(Sampler):
    """`Sampler` with the parts and the conditioning of a `RandomModel`."""

    def __init__(self, model: RandomModel, dtype: str = "bfloat16", **options: Any) -> None:
        self._random = model
        super().__init__(model.folder, device=model.setting.device, dtype=dtype, **options)
        for key in ((PROMPT, False), ("", True)):
            self._conditioning[key] = model.conditioning(1, self.torch_dtype)

    def _load_transformer(self, folder: Path, adapters: Any = ()) -> Any:
        low = self.placement.level == "low" and has_own_memory(self.device)
        streamed = low and can_stream(self.weights)
        return self._random.transformer(self.torch_dtype, self.weights, streamed=streamed)

    def _fingerprint(self, model: str) -> str:
        return "random"

    def encode_for(self, all_settings: Any) -> None:
        """All that is asked for is known."""


def drawn(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every tensor that is on the meta device drawn on `device`."""
    for part in module.modules():
        for kind in (part._parameters, part._buffers):
            for name, tensor in kind.items():
                if tensor is not None and tensor.is_meta:
                    kind[name] = _filled(tensor, device)
        # Tables of positions that a network keeps as neither.
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and value.is_meta:
                setattr(part, name, _filled(value, device))
    return module.eval()


def drawn_like(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of that shape: normal numbers of `dtype`, or ones where it holds none or truths."""
    if not tensor.is_floating_point():
        return torch.ones(tensor.shape, dtype=tensor.dtype, device=device)
    return torch.randn(tensor.shape, dtype=dtype, device=device)


def _filled(tensor: Tensor, device: torch.device) -> Any:
    values = torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    if tensor.is_complex():
        values.normal_()
    elif tensor.is_floating_point():
        # Matrices keep the size of what they multiply; the others are scales, or shifts.
        mean, deviation = (0, tensor[0].numel() ** -0.5) if tensor.dim() > 1 else (1, 0.1)
        if tensor.dtype.itemsize == 1:  # cannot be drawn themselves
            few = torch.empty(tensor.shape, dtype=torch.bfloat16, device=device)
            values.copy_(few.normal_(mean, deviation))
        else:
            values.normal_(mean, deviation)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, requires_grad=tensor.requires_grad)
    return values


def _to_int8(block: nn.Module, _: torch.dtype) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(block, Int8WeightOnlyConfig())


def _to_nf4(block: nn.Module, dtype: torch.dtype) -> None:
    import bitsandbytes as bnb

    for name, layer in [(n, m) for n, m in block.named_modules() if type(m) is nn.Linear]:
        few = bnb.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=dtype,
            quant_type="nf4",
            device="meta",
        )
        weight = layer.weight
        few.weight = bnb.nn.Params4bit(weight.data, requires_grad=False, quant_type="nf4").to(
            weight.device
        )
        few.bias = layer.bias
        block.set_submodule(name, few)


def _blocks(transformer: nn.Module) -> Iterator[nn.Module]:
    lists = (part for part in transformer.children() if isinstance(part, nn.ModuleList))
    return (block for blocks in lists for block in blocks)


def _configurations(name: str, setting: Setting) -> Path:
    """A model folder without weights."""
    folder = setting.folder / name
    write_configurations(known_id(name), folder)
    index = json.loads((folder / INDEX).read_text())
    schedulers = unchecked_family_of(folder).schedulers
    index["scheduler"] = ["diffusers", _EULER if _EULER in schedulers else schedulers[0]]
    (folder / INDEX).write_text(json.dumps(index))
    if setting.tiny:
        shrink(folder)
    return folder
