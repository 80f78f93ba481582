"""A module in the place of a stock transformer, which takes its calls apart and passes them on."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.families.base import Family
from diffusion4k.families.spatial import SpatialCall

__all__ = ["AroundTransformer"]


class AroundTransformer(nn.Module):
    """Stands in the place of a transformer, whose other attributes it has.

    Args:
        transformer: the stock one, with whatever hooks, adapters and weights it has, or another
            module around it.
        family: knows how its pipeline calls it.
        rows, columns: of the latents.
    """

    def __init__(self, transformer: nn.Module, family: Family, rows: int, columns: int) -> None:
        super().__init__()
        self.inner = transformer
        self._family, self._rows, self._columns = family, rows, columns

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    @property
    def stock(self) -> nn.Module:
        """The stock transformer, innermost."""
        inner = self.inner
        return inner.stock if isinstance(inner, AroundTransformer) else inner

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any]:
        """The prediction in the form that the stock pipeline takes, as the first of a tuple."""
        # Of the class, as hooks put functions of any arguments in the place of the method.
        signature = inspect.signature(type(self.stock).forward)
        _, *arguments = signature.bind(self.stock, *args, **kwargs).arguments.items()
        call = self._family.spatial_call(self.inner, dict(arguments), self._rows, self._columns)
        found = call.output(self.predict(call))
        # How it lies in memory decides in which order a pipeline's own sums round.
        return (found.contiguous() if torch.is_tensor(found) else found,)

    def predict(self, call: SpatialCall) -> Tensor:
        """The prediction `(B, C', h, w)` for a call; here that of the module inside."""
        raise NotImplementedError
