"""Attention of a few queries at a time, for sizes whose matrix of scores does not fit."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["ChunkedAttention", "chunk_attention"]


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
