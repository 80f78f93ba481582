"""Which weights a run changes: all of a network, or only the adapters in it."""

from torch import nn

__all__ = ["trained_parameters"]


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take gradients, by name, in the module's order."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
