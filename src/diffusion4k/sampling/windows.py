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

import math
import random
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count, islice, product

import torch
from torch import Tensor, nn

from diffusion4k.families.base import Family
from diffusion4k.families.spatial import SpatialCall
from diffusion4k.sampling.around import AroundTransformer
from diffusion4k.sampling.step_cache import StepCache
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
        steps_held: steps for which a shifted grid stays where it is. A cache between steps needs
            more than one.
    """

    side: int
    tokens: int
    grid: str
    seed: int
    steps_held: int = 1
    _levels: list[float] = field(default_factory=list, compare=False, repr=False)

    def predict(self, call: SpatialCall, cache: StepCache | None = None) -> Tensor:
        """The prediction `(B, C', h, w)` for the whole latents, window by window."""
        latents = call.latents
        rows, columns = self._axes(call, cache)
        windows = product(range(len(latents)), rows, columns)
        whole: Tensor | None = None
        dtype = latents.dtype
        numbers = count()
        while batch := list(islice(windows, windows_per_call(self.tokens))):
            cut = torch.stack(
                [
                    latents[sample, :, y : y + len(down), x : x + len(along)]
                    for sample, (y, down), (x, along) in batch
                ]
            )
            samples = torch.tensor([sample for sample, *_ in batch])
            with cache.part(f"windows {next(numbers)}") if cache else nullcontext():
                predicted = call.predict(cut, samples)
            dtype = predicted.dtype
            if whole is None:
                shape = len(latents), predicted.shape[1], *latents.shape[-2:]
                whole = torch.zeros(shape, device=predicted.device)
            for found, (sample, (y, down), (x, along)) in zip(predicted, batch, strict=True):
                weights = torch.outer(down, along).to(whole.device)
                whole[sample, :, y : y + len(down), x : x + len(along)] += found * weights
        assert whole is not None
        return whole.to(dtype)

    def _axes(self, call: SpatialCall, cache: StepCache | None) -> tuple[Axis, Axis]:
        height, width = call.latents.shape[-2:]
        if self.grid == "overlap":
            return overlapping(height, self.side), overlapping(width, self.side)
        level = self._level_of_grid(call.level.sigma[0].item(), cache)
        offsets = random.Random(f"{self.seed} {level:.6f}")
        down, along = offsets.randrange(self.side), offsets.randrange(self.side)
        return shifted(height, self.side, down), shifted(width, self.side, along)

    def _level_of_grid(self, level: float, cache: StepCache | None) -> float:
        """The noise level whose grid holds now: that of the step when it came to stand there."""
        if level not in self._levels:
            self._levels.append(level)
            if cache and len(self._levels) % self.steps_held == 1:
                cache.forget()  # What is kept belongs to windows elsewhere.
        number = self._levels.index(level)
        return self._levels[number - number % self.steps_held]


class StageTransformer(AroundTransformer):
    """Shows the stock transformer an image in windows, and draws it towards the stage before.

    Args:
        transformer, family, rows, columns: as in `AroundTransformer`.
        windows: how the latents are cut; None: seen whole.
        guidance: towards the stage before; None: none.
        cache: told of the windows that go through the network together; None: there is none.
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
        cache: StepCache | None = None,
    ) -> None:
        super().__init__(transformer, family, rows, columns)
        self._windows, self._guidance, self._cache = windows, guidance, cache

    def predict(self, call: SpatialCall) -> Tensor:
        """The stock transformer's prediction, put together and drawn to the stage before."""
        if self._windows:
            predicted = self._windows.predict(call, self._cache)
        else:
            predicted = call.predict(call.latents, torch.arange(len(call.latents)))
        return self._guidance(call, predicted) if self._guidance else predicted
