"""A transformer that sees an image in windows, each as a picture of its own.

Around the stock transformer and in its place in the stock pipeline. The latents are cut into
windows of a fixed number of tokens, which go through the network in batches; what it predicts is
put together again. So neither memory nor attention grows with the image. Two ways to cut:

- `shifted`: windows side by side, on a grid that moves by a random offset of whole latents from
  step to step (Liu et al., arXiv 2407.15507), so that neither their borders nor those of the tokens
  stay where they were;
- `overlap`: windows at a stride of half their side, averaged with raised-cosine weights
  (MultiDiffusion, Bar-Tal et al., arXiv 2302.08113); four times the work.

Both are lists of origins and weights along either axis; the weights of a latent sum to one.
"""

import inspect
import math
import random
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.families.base import Family
from diffusion4k.families.spatial import SpatialCall
from diffusion4k.sampling.wavelet_guidance import WaveletGuidance

__all__ = ["StageTransformer", "Windows", "overlapping", "shifted", "windows_per_call"]

_TOKENS_PER_CALL = 4096

Axis = list[tuple[int, Tensor]]
"""Origin and weights `(n,)` of each window along an axis, both in latents."""


def windows_per_call(tokens: int) -> int:
    """Windows of so many tokens that go through the network together, whatever the image."""
    return max(1, _TOKENS_PER_CALL // tokens)


def shifted(size: int, window: int, offset: int) -> Axis:
    """Windows side by side; the first border lies `offset` latents before the image's.

    A window that would reach beyond the image is moved inwards, so that the network always sees
    whole ones; what is used of it does not change.
    """
    if size <= window:
        return [(0, torch.ones(size))]
    found = []
    for start in range(-offset, size, window):
        first, last = max(start, 0), min(start + window, size)
        if first < last:
            origin = min(max(start, 0), size - window)
            weights = torch.zeros(window)
            weights[first - origin : last - origin] = 1
            found.append((origin, weights))
    return found


def overlapping(size: int, window: int) -> Axis:
    """Windows at a stride of half their side, the last one at the end of the axis."""
    if size <= window:
        return [(0, torch.ones(size))]
    origins = [*range(0, size - window, max(1, window // 2)), size - window]
    places = (torch.arange(window, dtype=torch.float64) + 0.5) / window
    ramp = torch.sin(math.pi * places) ** 2
    total = torch.zeros(size, dtype=torch.float64)
    for origin in origins:
        total[origin : origin + window] += ramp
    return [(o, (ramp / total[o : o + window]).float()) for o in origins]


@dataclass(frozen=True)
class Windows:
    """How a stage's latents are cut.

    Args:
        side: of a window, in latents.
        tokens: of a window of full size.
        grid: one of `families.stages.GRIDS`.
        seed: decides, with the noise level, where a shifted grid lies: the calls of one step see
            the same, and the same seed gives the same image.
    """

    side: int
    tokens: int
    grid: str
    seed: int

    def predict(self, call: SpatialCall) -> Tensor:
        """The prediction `(B, C', h, w)` for the whole latents, window by window."""
        latents = call.latents
        rows, columns = self._axes(call)
        windows = product(range(len(latents)), rows, columns)
        whole: Tensor | None = None
        dtype = latents.dtype
        while batch := list(islice(windows, windows_per_call(self.tokens))):
            cut = torch.stack(
                [
                    latents[sample, :, y : y + len(down), x : x + len(along)]
                    for sample, (y, down), (x, along) in batch
                ]
            )
            predicted = call.predict(cut, torch.tensor([sample for sample, *_ in batch]))
            dtype = predicted.dtype
            if whole is None:
                shape = len(latents), predicted.shape[1], *latents.shape[-2:]
                whole = torch.zeros(shape, device=predicted.device)
            for found, (sample, (y, down), (x, along)) in zip(predicted, batch, strict=True):
                weights = torch.outer(down, along).to(whole.device)
                whole[sample, :, y : y + len(down), x : x + len(along)] += found * weights
        assert whole is not None
        return whole.to(dtype)

    def _axes(self, call: SpatialCall) -> tuple[Axis, Axis]:
        height, width = call.latents.shape[-2:]
        if self.grid == "overlap":
            return overlapping(height, self.side), overlapping(width, self.side)
        offsets = random.Random(f"{self.seed} {call.level.sigma[0].item():.6f}")
        down, along = offsets.randrange(self.side), offsets.randrange(self.side)
        return shifted(height, self.side, down), shifted(width, self.side, along)


class StageTransformer(nn.Module):
    """Stands in the place of a stock transformer, whose other attributes it has.

    Args:
        transformer: the stock one, with whatever hooks, adapters and weights it has.
        family: knows how its pipeline calls it.
        rows, columns: of the latents.
        windows: how they are cut; None: seen whole.
        guidance: towards the stage before; None: none.
    """

    def __init__(
        self,
        transformer: nn.Module,
        family: Family,
        rows: int,
        columns: int,
        *,
        windows: Windows | None = None,
        guidance: WaveletGuidance | None = None,
    ) -> None:
        super().__init__()
        self.stock = transformer
        self._family, self._rows, self._columns = family, rows, columns
        self._windows, self._guidance = windows, guidance

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("stock"), name)

    def forward(self, *args: object, **kwargs: object) -> tuple[object]:
        """The stock transformer's prediction, as the first of a tuple."""
        # Of the class, as hooks put functions of any arguments in the place of the method.
        stock = inspect.signature(type(self.stock).forward)
        _, *arguments = stock.bind(self.stock, *args, **kwargs).arguments.items()
        call = self._family.spatial_call(self.stock, dict(arguments), self._rows, self._columns)
        if self._windows:
            predicted = self._windows.predict(call)
        else:
            predicted = call.predict(call.latents, torch.arange(len(call.latents)))
        if self._guidance:
            predicted = self._guidance(call, predicted)
        return (call.output(predicted),)
