"""Position embeddings beyond the training size.

Tables of sine and cosine (Stable Diffusion 3), of which a model has `N x N` positions, one a token,
and takes the middle. Where they begin and how far they are apart is read from the table: diffusers
begins a new one at 0, the published ones lie around the middle of their training size, 64 tokens a
side, at `(p - (N - 64) / 2) * 16 / 64` (arXiv 2403.03206, section 5.3.2).

- `extend`: positions continue at the same spacing on all sides. Sizes up to N are unchanged.
- `interpolate`: the same span is divided finer, so that no position lies outside what was trained.

Rotary embeddings (FLUX.1, FLUX.2) rotate pairs of channels by position times frequency. With s the
number of tokens a side over that of training:

- `ntk`: the base becomes `theta * s^(d / (d - 2))`: the lowest frequency is divided by s, the
  highest unchanged (NTK-aware scaling; as in YaRN, arXiv 2309.00071, section 3.1).
- `yarn`: frequencies that turn less than once over the training size are divided by s, those that
  turn more than 32 times are unchanged, in between they are mixed; queries and keys grow by
  `0.1 ln(s) + 1` (YaRN, sections 3.2 and 3.4).
- time-dependent: s is replaced by `s^(2 sigma^2)`: much scaling while noise hides all but the
  layout, none for the last details (DyPE, arXiv 2510.20766, with its exponents 2 and 2).
"""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError

__all__ = ["ScaledRotaryEmbedding", "replace_rotary", "resize_table"]

_SLOW, _FAST = 1.0, 32.0  # turns over the training size; YaRN's alpha and beta


def resize_table(transformer: Any, tokens: int, *, interpolate: bool) -> None:
    """Give a transformer a table of at least `tokens` positions a side, if it has fewer.

    Raises:
        Diffusion4kError: its table is not one of sine and cosine.
    """
    embed = transformer.pos_embed
    trained = embed.pos_embed_max_size
    if tokens <= trained:
        return
    # As many new positions before as behind: the middle stays the middle.
    tokens += (tokens - trained) % 2
    old = embed.pos_embed[0].double().cpu()
    width = old.shape[-1]
    start, spacing = _line(old.unflatten(0, (trained, trained))[0, :, : width // 2])
    if not torch.allclose(_table(start + torch.arange(trained) * spacing, width), old, atol=0.02):
        raise Diffusion4kError(
            "position embeddings: the model's table is not one of sine and cosine, which alone can "
            "be continued: leave `positions` out"
        )
    if interpolate:
        positions = torch.linspace(0, trained - 1, tokens, dtype=torch.float64)
    else:
        positions = torch.arange(tokens, dtype=torch.float64) - (tokens - trained) // 2
    table = _table(start + positions * spacing, width)
    embed.pos_embed = table[None].to(embed.pos_embed)
    embed.pos_embed_max_size = tokens
    transformer.register_to_config(pos_embed_max_size=tokens)


def _line(axis: Tensor) -> tuple[float, float]:
    """First position and spacing of sines and cosines `(n, width)` of one axis.

    The slowest sine alone tells positions apart without ambiguity, the faster ones say them more
    exactly: a file in half precision is off by a thousandth of a radian.
    """
    sines, cosines = axis.chunk(2, dim=1)
    frequencies = _frequencies(sines.shape[1])
    positions = torch.atan2(sines[:, -1], cosines[:, -1]) / frequencies[-1]
    for k in range(len(frequencies) - 2, -1, -1):
        angles = torch.atan2(sines[:, k], cosines[:, k])
        turns = ((positions * frequencies[k] - angles) / (2 * math.pi)).round()
        positions = (angles + 2 * math.pi * turns) / frequencies[k]
    numbers = torch.arange(len(positions), dtype=torch.float64)
    line = torch.stack([torch.ones_like(numbers), numbers], dim=1)
    start, spacing = torch.linalg.lstsq(line, positions[:, None]).solution.flatten().tolist()
    return start, spacing


def _frequencies(count: int) -> Tensor:
    return 10000.0 ** (-torch.arange(count, dtype=torch.float64) / count)


def _table(positions: Tensor, width: int) -> Tensor:
    """`(n * n, width)` of `n` positions: by column in the first half, by row in the second."""
    angles = positions.double()[:, None] * _frequencies(width // 4)
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = axis[:, None].expand(-1, len(axis), -1), axis.expand(len(axis), -1, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)


class ScaledRotaryEmbedding(nn.Module):
    """Replacement of `pos_embed` of FLUX.1 and FLUX.2; see above.

    Their positions are of three and of four axes: rows and columns of the image are the second and
    the third, and the fourth numbers the tokens of the text. FLUX.2 asks for the positions of the
    text after those of the image, whose scale counts for both.

    Args:
        theta, axes_dim: base and channels per axis, as the stock module has them.
        method: `ntk` or `yarn`.
        trained_tokens: tokens a side of the training images.
    """

    def __init__(
        self, theta: float, axes_dim: list[int], *, method: str, trained_tokens: int
    ) -> None:
        super().__init__()
        self.theta, self.axes_dim = theta, axes_dim
        self.method, self.trained_tokens = method, trained_tokens
        self.strength = 1.0
        """Exponent of s."""
        self._longest = 1.0
        self.group: Any = None
        """Processes that have a part of the positions of each picture, where there are several."""

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Positions `(tokens, axes)` to cosines and sines `(tokens, sum of axes_dim)`, float32."""
        if not ids[:, 3:].any():
            longest = ids[:, 1:3].max() + 1
            if self.group is not None:  # the scale is that of the whole picture
                dist.all_reduce(longest, dist.ReduceOp.MAX, group=self.group)
            self._longest = float(longest)
        scale = max(1.0, self._longest / self.trained_tokens) ** self.strength
        angles = []
        for axis, width in enumerate(self.axes_dim):
            is_of_image = axis in (1, 2)
            frequencies = self._frequencies(width, scale if is_of_image else 1.0).to(ids.device)
            angles.append(ids[:, axis, None].double() * frequencies)
        all_angles = torch.cat(angles, dim=1).repeat_interleave(2, dim=1)
        gain = 0.1 * math.log(scale) + 1 if self.method == "yarn" else 1.0
        return (all_angles.cos() * gain).float(), (all_angles.sin() * gain).float()

    def _frequencies(self, width: int, scale: float) -> Tensor:
        exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
        if self.method == "ntk":
            return (self.theta * scale ** (width / max(width - 2, 1))) ** -exponents
        frequencies = self.theta**-exponents
        turns = self.trained_tokens * frequencies / (2 * math.pi)
        unchanged = ((turns - _SLOW) / (_FAST - _SLOW)).clamp(0, 1)
        return frequencies * (unchanged + (1 - unchanged) / scale)


def replace_rotary(
    transformer: Any, *, method: str, trained_tokens: int, time_dependent: bool
) -> None:
    """Scale the rotary embedding of a transformer of FLUX.1 or FLUX.2."""
    stock = transformer.pos_embed
    scaled = ScaledRotaryEmbedding(
        stock.theta, list(stock.axes_dim), method=method, trained_tokens=trained_tokens
    )
    transformer.pos_embed = scaled

    def by_noise(_: nn.Module, __: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        sigma = arguments["timestep"]
        if not bool((sigma == sigma[0]).all()):
            raise Diffusion4kError(
                "high_resolution.time_dependent: pictures of one batch have different noise "
                "levels, and share their positions: train with batch_size=1, or without it"
            )
        scaled.strength = 2 * float(sigma[0]) ** 2

    if time_dependent:
        transformer.register_forward_pre_hook(by_noise, with_kwargs=True)
