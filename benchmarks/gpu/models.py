"""Models of the published configurations whose weights are random and never anywhere but here.

A network is built on the meta device and drawn tensor by tensor where it computes, in its final
type: so twelve billion parameters in 4 bits take a GPU no more memory than they need.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.gpu.setting import Setting
from benchmarks.tiny import tiny_sd3
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.families import Family, unchecked_family_of
from diffusion4k.families.quantization import cast_layers, check_weights_option
from diffusion4k.models.published import known_id, write_configurations
from diffusion4k.sampling import Sampler

__all__ = ["RandomModel", "RandomSampler", "drawn", "drawn_like"]

_DEVIATION = 0.02
PROMPT = "a picture"


class RandomModel:
    """A published model in `with`: within the block its parts come from here and not from files."""

    def __init__(self, name: str, setting: Setting, factor: int | None = None) -> None:
        self.setting = setting
        self.folder = _configurations(name, setting)
        self.blueprint = Blueprint(self.folder, factor)
        self.family: Family = unchecked_family_of(self.folder)
        self._patches = ExitStack()

    def __enter__(self) -> "RandomModel":
        def load(family: Family, _: Path, *, dtype: torch.dtype) -> nn.Module:
            autoencoder = self.blueprint.at_factor(family.factor).build("vae", dtype)
            return drawn(autoencoder, self.setting.device)

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

    def transformer(self, dtype: torch.dtype, weights: str | None = None) -> nn.Module:
        """The transformer on the device, its weights as `generate --weights` has them."""
        check_weights_option(weights, self.setting.device)
        transformer: Any = self.blueprint.build("transformer", dtype)
        device = self.setting.device
        if weights == "fp8":
            cast_layers(transformer, dtype=dtype)
        elif weights in ("int8", "nf4"):
            for block in _blocks(transformer):
                drawn(block, device)
                (_to_int8 if weights == "int8" else _to_nf4)(block, dtype)
        return drawn(transformer, device)

    def text_encoders(self, dtype: torch.dtype) -> list[nn.Module]:
        """The text encoders on the device."""
        names = self.blueprint.text_encoders
        return [drawn(self.blueprint.build(n, dtype), self.setting.device) for n in names]

    def conditioning(self, captions: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Text embeddings of captions of full length."""
        empty = self.family.empty_conditioning(self.folder, captions)
        return {name: drawn_like(t, self.setting.device, dtype) for name, t in empty.items()}


class RandomSampler(Sampler):
    """`Sampler` with the parts and the conditioning of a `RandomModel`."""

    def __init__(self, model: RandomModel, **options: Any) -> None:
        self._random = model
        options.setdefault("dtype", "bfloat16")
        super().__init__(model.folder, device=model.setting.device, **options)
        for key in ((PROMPT, False), ("", True)):
            self._conditioning[key] = model.conditioning(1, self.torch_dtype)

    def _load_transformer(self, folder: Path, adapter: Any = None) -> Any:
        return self._random.transformer(self.torch_dtype, self.weights)

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
    return module.eval()


def drawn_like(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of that shape: normal numbers of `dtype`, or ones where it holds none or truths."""
    if not tensor.is_floating_point():
        return torch.ones(tensor.shape, dtype=tensor.dtype, device=device)
    return torch.randn(tensor.shape, dtype=dtype, device=device)


def _filled(tensor: Tensor, device: torch.device) -> Any:
    values = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    if tensor.dtype.itemsize == 1 and tensor.is_floating_point():  # cannot be drawn themselves
        values.copy_(torch.randn(tensor.shape, dtype=torch.bfloat16, device=device) * _DEVIATION)
    elif tensor.is_floating_point():
        values.normal_(std=_DEVIATION)
    else:
        values.zero_()
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
    """A model folder without weights; a tiny one of the same family has some."""
    folder = setting.folder / name
    if not setting.tiny:
        write_configurations(known_id(name), folder)
        return folder
    if name == "sd3-medium":
        return tiny_sd3(folder)
    from tests.families.test_flux import tiny_flux

    return tiny_flux(folder)
