"""Products of matrices in 8-bit floats, on the GPUs that have them, by torchao.

Weights stay float32; they and the activations are rounded to float8 with a scale for each tensor as
they are multiplied (Micikevicius et al., arXiv:2209.05433).
"""

import importlib.util

import torch
from torch import nn

from diffusion4k.errors import UsageError

__all__ = ["check_float8", "is_converted", "to_float8"]

_CAPABILITY = (8, 9)  # Ada and Hopper
_MULTIPLE = 16  # of both sides of a matrix, which the kernels ask for


def check_float8() -> None:
    """Refuse a machine that cannot.

    Raises:
        UsageError: no torchao, or no GPU with float8.
    """
    if importlib.util.find_spec("torchao") is None:
        raise UsageError(
            "precision: found fp8, which needs torchao: `pip install torchao`, or bf16"
        )
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < _CAPABILITY:
        raise UsageError(
            "precision: found fp8, which needs a GPU of compute capability 8.9 or more (Ada, "
            "Hopper): choose bf16"
        )


def is_converted(module: nn.Module, name: str) -> bool:
    """Linear layers of blocks, of sides that are multiples of 16; first and last layers stay."""
    return (
        isinstance(module, nn.Linear)
        and "blocks" in name
        and module.in_features % _MULTIPLE == module.out_features % _MULTIPLE == 0
    )


def to_float8(network: nn.Module) -> None:
    """Make the linear layers of a network multiply in float8, in place."""
    check_float8()
    from torchao.float8 import convert_to_float8_training

    convert_to_float8_training(network, module_filter_fn=is_converted)
