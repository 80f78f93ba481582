"""Exponential moving average of weights: `average = decay * average + (1 - decay) * weight`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffusion4k.training.engine.parameters import local, trained_parameters

__all__ = ["WeightAverage"]


class WeightAverage:
    """Average of a module's trained parameters over optimizer steps, starting at their values now.

    After `n` updates with weights `w_1, ..., w_n` it is
    `decay^n * w_0 + (1 - decay) * sum_k decay^(n - k) * w_k`.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in trained_parameters(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the module's present parameters into the average."""
        for name, parameter in trained_parameters(module).items():
            local(self.weights[name]).lerp_(local(parameter), 1 - self.decay)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from a saved average; `KeyError` if a parameter is not in it."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Inside the block the module's parameters are the average; afterwards its own again."""
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        # In place, as shares of weights are known to their engine by their memory.
        for name, parameter in trained_parameters(module).items():
            average, own = local(self.weights[name]), local(parameter)
            kept = own.clone()
            own.copy_(average)
            average.copy_(kept)
