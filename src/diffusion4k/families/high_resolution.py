"""Options for sizes beyond a model's training, all off by default.

A model folder states them in its `diffusion4k.json`, for sampling and fine-tuning alike:

    {"high_resolution": {"positions": "yarn", "time_dependent": true, "attention_chunk": 4096}}

Which positions a family knows stands in its file; what they do in `families.positions`.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.base import SETTINGS, model_settings

__all__ = ["ChunkedAttention", "HighResolution", "chunk_attention", "high_resolution"]


@dataclass(frozen=True)
class HighResolution:
    """The options of a model."""

    positions: str | None = None
    """How position embeddings go beyond the training size; None: as the model has them."""
    side: int | None = None
    """Longest side in pixels that a table of positions shall reach."""
    trained_tokens: int = 64
    """Tokens a side of the training images: rotary positions are scaled beyond it."""
    time_dependent: bool = False
    """Scale rotary positions by the noise level."""
    attention_chunk: int | None = None
    """Queries that one attention call sees at most; None: all."""


def high_resolution(model: Path) -> HighResolution:
    """What a model folder states, checked.

    Raises:
        Diffusion4kError: an unknown option or a value of the wrong kind.
    """
    stated = model_settings(model).get("high_resolution", {})
    where = f"{model / SETTINGS}: high_resolution"
    if not isinstance(stated, dict):
        raise Diffusion4kError(f"{where}: found {stated!r}, allowed an object")
    known = {field.name for field in fields(HighResolution)}
    if unknown := sorted(stated.keys() - known):
        raise Diffusion4kError(f"{where}: unknown {unknown[0]}; known: {', '.join(sorted(known))}")
    for key in ("side", "trained_tokens", "attention_chunk"):
        value = stated.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Diffusion4kError(f"{where}.{key}: found {value!r}, allowed a whole number from 1")
    if not isinstance(stated.get("time_dependent", False), bool):
        raise Diffusion4kError(
            f"{where}.time_dependent: found {stated['time_dependent']!r}, allowed true or false"
        )
    return HighResolution(**stated)


class ChunkedAttention(TorchFunctionMode):
    """Runs `scaled_dot_product_attention` for at most `chunk` queries at a time.

    Each query's result depends on no other query, so the result is the same to rounding. It saves
    memory where PyTorch falls back to the kernel that writes the whole matrix of scores, `tokens^2`
    numbers a head (arXiv 2112.05682, section 2). Without gradients only: they would keep every
    chunk.
    """

    def __init__(self, chunk: int) -> None:
        super().__init__()
        self.chunk = chunk

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not functional.scaled_dot_product_attention or torch.is_grad_enabled():
            return function(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask")
        given = dict(zip(names, args, strict=False)) | kwargs
        query, mask = given.pop("query"), given.pop("attn_mask", None)
        if query.shape[-2] <= self.chunk or given.get("is_causal"):
            return function(*args, **kwargs)
        parts = []
        for start in range(0, query.shape[-2], self.chunk):
            rows = slice(start, start + self.chunk)
            # A mask with one row holds for all queries.
            part = mask if mask is None or mask.shape[-2] == 1 else mask[..., rows, :]
            parts.append(function(query[..., rows, :], attn_mask=part, **given))
        return torch.cat(parts, dim=-2)


def chunk_attention(transformer: nn.Module, chunk: int) -> None:
    """Make every attention of `transformer` a `ChunkedAttention`."""
    forward = transformer.forward

    def chunked(*args: Any, **kwargs: Any) -> Any:
        with ChunkedAttention(chunk):
            return forward(*args, **kwargs)

    transformer.forward = chunked
