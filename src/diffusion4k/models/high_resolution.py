"""Options for sizes beyond a model's training, all off by default.

A model folder states them in its `diffusion4k.json`, for sampling and fine-tuning alike:

    {"high_resolution": {"positions": "yarn", "time_dependent": true, "attention_chunk": 4096}}

and `generate`, `plan` and recipes may give them in its place, key by key. Which positions a family
knows stands in its file; what they do in `families.positions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from diffusion4k.errors import Diffusion4kError

__all__ = [
    "ROTARY",
    "TABLE",
    "ChunkedAttention",
    "HighResolution",
    "chunk_attention",
    "given_options",
]

TABLE = ("extend", "interpolate")
"""Methods for tables of positions, which reach up to `side`."""
ROTARY = ("ntk", "yarn")
"""Methods for rotary positions, which are scaled beyond `trained_tokens`."""


@dataclass(frozen=True)
class HighResolution:
    """The options of a model; what they may be together with a family's methods `checked` says."""

    positions: str | None = None
    """How position embeddings go beyond the training size; None: as the model has them."""
    side: int | None = None
    """Longest side in pixels that a table of positions has to reach."""
    trained_tokens: int = 64
    """Tokens a side of the training images: rotary positions are scaled beyond it."""
    time_dependent: bool = False
    """Scale rotary positions by the noise level."""
    attention_chunk: int | None = None
    """Queries that one attention call sees at most; None: all."""

    @classmethod
    def checked(
        cls,
        stated: Any,
        methods: tuple[str, ...],
        *,
        where: str,
        family: str,
        error: type[Diffusion4kError] = Diffusion4kError,
    ) -> "HighResolution":
        """The options as they were stated.

        Args:
            methods: what `positions` may be in models of the `family`.
            where: what to name in errors.

        Raises:
            error: an unknown option, a value of the wrong kind, or options that have no effect.
        """
        if not isinstance(stated, Mapping):
            raise error(f"{where}: found {stated!r}, allowed an object")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(stated.keys() - known):
            raise error(f"{where}: unknown {unknown[0]}; known: {', '.join(sorted(known))}")
        for key in ("side", "trained_tokens", "attention_chunk"):
            value = stated.get(key, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise error(f"{where}.{key}: found {value!r}, allowed a whole number from 1")
        if not isinstance(stated.get("time_dependent", False), bool):
            raise error(
                f"{where}.time_dependent: found {stated['time_dependent']!r}, allowed true or false"
            )
        wanted = cls(**stated)
        if wanted.positions is not None and wanted.positions not in methods:
            allowed = ", ".join(methods) or "none: they need none or have no such choice"
            raise error(
                f"{where}.positions: found {wanted.positions!r}, allowed in {family} models: "
                f"{allowed}"
            )
        for key in ("time_dependent", "trained_tokens"):
            if stated.get(key) and wanted.positions not in ROTARY:
                raise error(
                    f"{where}.{key}: has no effect without positions {' or '.join(ROTARY)}: give "
                    "one of them, if the family has them, or leave it out"
                )
        if wanted.positions in TABLE and wanted.side is None:
            raise error(
                f"{where}.positions {wanted.positions}: needs a `side`, the longest one in pixels; "
                "`generate` and `plan` take it from --width and --height"
            )
        return wanted


def given_options(sides: tuple[int | None, int | None], **options: Any) -> dict[str, Any]:
    """The options that are given; a table of positions reaches the longer of the sides."""
    given = {key: value for key, value in options.items() if value is not None}
    known = [side for side in sides if side is not None]
    if given.get("positions") in TABLE and known:
        given["side"] = max(known)
    return given


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
