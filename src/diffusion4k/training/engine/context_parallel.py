"""Several processes on one picture: each has a part of its tokens, and attention swaps heads.

Ulysses (Jacobs et al., arXiv:2309.14509) as diffusers has it. Before attention an all-to-all gives
a process all tokens of some heads in place of all heads of its tokens, and after it the reverse.
What is kept for the backward pass is divided by the number of processes.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING
from unittest import mock

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from diffusion4k.errors import UsageError
from diffusion4k.models.positions import ScaledRotaryEmbedding

if TYPE_CHECKING:
    from diffusers import ModelMixin

__all__ = ["check_context_parallel", "check_processes", "divide_context"]


def check_context_parallel(transformer: nn.Module, count: int) -> None:
    """Refuse a transformer that cannot be divided so.

    Raises:
        UsageError: diffusers has no plan for its class, or `count` does not divide its heads.
    """
    name = type(transformer).__name__
    if count > 1 and not getattr(transformer, "_cp_plan", None):
        raise UsageError(
            f"context_parallel: found {count}, allowed 1 with {name}: diffusers divides the tokens "
            "of Flux among processes, not of this one"
        )
    heads = getattr(transformer, "config", {}).get("num_attention_heads", count)
    if heads % count:
        raise UsageError(
            f"context_parallel: found {count}, which does not divide the {heads} heads of {name}"
        )


def check_processes(count: int, world: int) -> None:
    """Refuse so many processes a picture of `world` in all.

    Raises:
        UsageError: some would be left over.
    """
    if world % count:
        raise UsageError(
            f"context_parallel: found {count}, which does not divide {world} processes"
        )


def divide_context(transformer: "ModelMixin", count: int, world: int, device: torch.device) -> None:
    """Let each `count` processes that follow one another work on the same pictures, in place.

    Each of them has the whole output, and of the gradients the part that comes of its tokens: their
    sum is the gradient.
    """
    from diffusers import ContextParallelConfig

    mesh = init_device_mesh(
        device.type, (world // count, 1, count), mesh_dim_names=("data", "ring", "ulysses")
    )
    config = ContextParallelConfig(ulysses_degree=count, mesh=mesh["ring", "ulysses"])
    # diffusers counts accelerators, of which a CPU has none.
    counted = (
        mock.patch.object(torch.accelerator, "device_count", return_value=1)
        if device.type == "cpu"
        else nullcontext()
    )
    with counted:
        transformer.enable_parallelism(config=config)
    for module in transformer.modules():
        if isinstance(module, ScaledRotaryEmbedding):
            module.group = mesh["ulysses"].get_group()
