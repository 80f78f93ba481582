"""Latents as sequences of tokens: the 2x2 latents of a token stand on its channel axis.

`(B, C, h, w)` becomes `(B, h/2 w/2, 4C)` with the channels in the order channel, row, column, as
the stock pipelines of FLUX.1, FLUX.2 and Qwen-Image pack them.
"""

import torch
from torch import Tensor, nn

__all__ = ["packed", "token_positions", "unpacked"]


def packed(latents: Tensor) -> Tensor:
    """Latents `(B, C, h, w)` as tokens `(B, h/2 w/2, 4C)`."""
    tokens = nn.functional.pixel_unshuffle(latents, 2)
    return tokens.flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens `(B, h/2 w/2, 4C)` as latents `(B, C, height, width)`."""
    latents = tokens.transpose(1, 2).unflatten(2, (height // 2, width // 2))
    return nn.functional.pixel_shuffle(latents, 2)


def token_positions(rows: int, columns: int) -> Tensor:
    """`(rows * columns, 3)`: 0, row, column of each token."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    # In float32 at any precision: bfloat16 holds whole numbers up to 256 only.
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1).float()
