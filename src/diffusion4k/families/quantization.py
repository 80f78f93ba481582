"""The transformer with weights of fewer bits, or of a file, as far as diffusers supports it.

| | bits | computes in | needs |
|---|---|---|---|
| fp8 | 8 (e4m3) | `dtype`, layer by layer | nothing |
| int8 | 8 | `dtype` | torchao |
| nf4 | 4 (Dettmers et al., arXiv 2305.14314) | `dtype` | bitsandbytes |
| gguf:FILE | the file's | `dtype` | gguf |
| file:FILE | of `dtype` | `dtype` | nothing |

`file` is a .safetensors file as the model's makers and others publish them, with its makers' names
of layers or with diffusers'; of a whole checkpoint the transformer is taken.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.base import Family

CPU = torch.device("cpu")

__all__ = ["cast_layers", "check_weights_option", "load_transformer"]

_PACKAGES = {"fp8": None, "int8": "torchao", "nf4": "bitsandbytes", "gguf": "gguf", "file": None}
_NOT_ON_APPLE = {"fp8", "nf4"}  # no such type, and no kernels
_OF_FILE = {"gguf": "a GGUF file", "file": "a .safetensors file"}


def check_weights_option(weights: str | None, device: torch.device = CPU) -> None:
    """See that the option is one, and that its package and file are there.

    Raises:
        UsageError: not `fp8`, `int8`, `nf4`, `gguf:FILE` or `file:FILE`, or no such file.
        Diffusion4kError: its package is not installed, or the device has no such numbers.
    """
    if weights is None:
        return
    kind, _, file = weights.partition(":")
    if kind not in _PACKAGES or (kind in _OF_FILE) != bool(file):
        raise UsageError(
            f"weights {weights}: allowed are fp8, int8, nf4 and gguf:FILE, or file:FILE"
        )
    if file and not Path(file).is_file():
        raise UsageError(f"{file}: no such file: give {_OF_FILE[kind]} of the transformer")
    package = _PACKAGES[kind]
    if package and importlib.util.find_spec(package) is None:
        raise Diffusion4kError(
            f"weights {kind} need the package {package}, which is not installed: "
            f"pip install {package}, or use fp8, which needs none"
        )
    if device.type == "mps" and kind in _NOT_ON_APPLE:
        raise Diffusion4kError(
            f"weights {kind}: Apple's GPUs cannot compute with them: use gguf:FILE, or none"
        )


def load_transformer(
    family: Family, model: Path, *, dtype: torch.dtype, weights: str | None
) -> nn.Module:
    """The model's transformer with the requested weights, after `check_weights_option`.

    For fp8 they are still whole: `cast_layers` follows when adapters are in their places.

    Raises:
        Diffusion4kError: weights that are absent, damaged, or not of this model.
    """
    kind, _, file = (weights or "").partition(":")
    build = {"int8": _int8, "nf4": _nf4, "gguf": _gguf}.get(kind)
    return family.load_transformer(
        model,
        dtype=dtype,
        weights=Path(file) if file else None,
        quantization=build(dtype) if build else None,
    )


def cast_layers(transformer: Any, *, dtype: torch.dtype) -> None:
    """Keep layers in fp8 and compute them in `dtype`; diffusers leaves out norms and adapters."""
    transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)


def _int8(_: torch.dtype) -> Any:
    from diffusers import TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _nf4(dtype: torch.dtype) -> Any:
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


def _gguf(dtype: torch.dtype) -> Any:
    from diffusers import GGUFQuantizationConfig

    return GGUFQuantizationConfig(compute_dtype=dtype)
