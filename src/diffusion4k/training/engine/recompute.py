"""Gradient checkpointing: activations of blocks are computed again in the backward pass, not kept.

true          of every block: least memory, about a third more time (Chen et al., 1604.06174)
N             of every Nth block
"selective"   of every block, but for what is dear to compute: attention, and every second
              matrix product, are kept (torch's selective checkpointing)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TypeAlias

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)

__all__ = ["Recompute", "recompute"]

Recompute = bool | int | str
"""A recipe's `gradient_checkpointing`."""

_Context: TypeAlias = AbstractContextManager[object]

aten = torch.ops.aten
_PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default}
_ATTENTION = {
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def recompute(
    kind: Recompute,
    blocks: Sequence[nn.Module],
    again: Callable[[], _Context] = nullcontext,
) -> Callable[..., object]:
    """For diffusers' `enable_gradient_checkpointing`: how a block is called in training.

    Args:
        blocks: in their order.
        again: context in which a block is computed for the second time.
    """
    every = kind if isinstance(kind, int) and not isinstance(kind, bool) else 1
    chosen = {id(block) for block in blocks[::every]}
    contexts = partial(_selective, again) if kind == "selective" else partial(_all, again)

    def run(block: nn.Module, *inputs: object) -> object:
        if id(block) not in chosen and every > 1:
            return block(*inputs)
        return checkpoint(block.__call__, *inputs, use_reentrant=False, context_fn=contexts)

    return run


def _all(again: Callable[[], _Context]) -> tuple[_Context, _Context]:
    return nullcontext(), again()


def _selective(again: Callable[[], _Context]) -> tuple[_Context, _Context]:
    first, second = create_selective_checkpoint_contexts(_Policy())
    return first, _both(again(), second)


class _Policy:
    """Keeps attention, and every second matrix product of each of the two passes."""

    def __init__(self) -> None:
        self._products = {False: 0, True: 0}

    def __call__(
        self, context: SelectiveCheckpointContext, operation: object, *_: object, **__: object
    ) -> CheckpointPolicy:
        if operation in _ATTENTION:
            return CheckpointPolicy.MUST_SAVE
        if operation in _PRODUCTS:
            self._products[context.is_recompute] += 1
            if self._products[context.is_recompute] % 2:
                return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE


@contextmanager
def _both(outer: _Context, inner: _Context) -> Iterator[object]:
    with ExitStack() as stack:
        stack.enter_context(outer)
        yield stack.enter_context(inner)
