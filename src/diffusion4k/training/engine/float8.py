"""Products of matrices in 8-bit floats, on the GPUs that have them, by torchao.

Weights stay float32; they and the activations are rounded to float8 with a scale for each tensor as
they are multiplied (Micikevicius et al., arXiv:2209.05433).
"""

import importlib.util

import torch
from torch import nn

from diffusion4k.errors import UsageError
from diffusion4k.support.devices import is_rocm
from diffusion4k.training.engine.engine import blocks_of

__all__ = ["check_float8", "converted_layers", "to_float8"]

_CAPABILITY = (8, 9)  # Ada and Hopper
_AMD = ("gfx942", "gfx95", "gfx120")  # CDNA 3 and 4, RDNA 4
_MULTIPLE = 16  # of both sides of a matrix, which the kernels ask for
_MODULATION = ("norm", "modulation")  # whose layers see one row a picture, not one a token


def check_float8() -> None:
    """Refuse a machine that cannot.

    Raises:
        UsageError: no torchao, or no GPU with float8.
    """
    if importlib.util.find_spec("torchao") is None:
        raise UsageError(
            "precision: found fp8, which needs torchao: `pip install torchao`, or bf16"
        )
    if not torch.cuda.is_available() or not _multiplies_float8():
        raise UsageError(
            "precision: found fp8, which needs a GPU of compute capability 8.9 or more (Ada, "
            "Hopper), or AMD's of CDNA 3 or RDNA 4: choose bf16"
        )


def _multiplies_float8() -> bool:
    if is_rocm():  # whose capability numbers mean something else
        architecture = torch.cuda.get_device_properties().gcnArchName
        return architecture.startswith(_AMD)
    return torch.cuda.get_device_capability() >= _CAPABILITY


def converted_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers of blocks by name, of sides that are multiples of 16, but for modulation.

    First and last layers stay, as do those that see too few rows to gain anything.
    """
    inside = {id(part) for block in blocks_of(network) for part in block.modules()}
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and id(module) in inside
        and not any(word in part for part in name.lower().split(".") for word in _MODULATION)
        and module.in_features % _MULTIPLE == module.out_features % _MULTIPLE == 0
    }


def to_float8(network: nn.Module) -> None:
    """Make the linear layers of a network multiply in float8, in place."""
    check_float8()
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    names = converted_layers(network).keys()
    # In the backward pass rows are summed over, whose number no kernel's multiple need divide.
    config = Float8LinearConfig(pad_inner_dim=True)
    convert_to_float8_training(
        network, module_filter_fn=lambda _, name: name in names, config=config
    )
