"""Which weights a run changes: all of a network, or only the adapters in it."""

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

__all__ = ["local", "trained_parameters"]


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take gradients, by name, in the module's order."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds, in the same memory; all of a common one."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
