"""Adapters that start from a LoRA in a file, and not from nothing."""

import torch
from torch import nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.adapter import linear_layers
from diffusion4k.lora.changes import LowRank
from diffusion4k.lora.file import Adapter

__all__ = ["check_start", "start_from"]


def check_start(
    adapter: Adapter, transformer: nn.Module, *, rank: int, targets: tuple[str, ...]
) -> None:
    """Refuse a start that adapters of this rank on these layers cannot take up.

    `transformer` has no adapters yet, and may be on "meta".

    Raises:
        Diffusion4kError: another kind than LoRA.
        UsageError: a layer that is not trained, or a rank that is higher than that of the training.
    """
    layers = linear_layers(transformer, targets)
    for key, change in adapter.fitted(list(linear_layers(transformer))).changes.items():
        layer, _, parameter = key.rpartition(".")
        if not isinstance(change, LowRank) or change.magnitude is not None or parameter == "bias":
            what = "a bias" if parameter == "bias" else change.kind
            raise Diffusion4kError(
                f"{adapter.path}: {layer}: training starts from LoRA, not from {what}: merge it "
                "into the model first (merge-lora)"
            )
        if layer not in layers:
            raise UsageError(
                f"lora.start: {adapter.path} has the layer {layer}, which is not trained: add it "
                "to lora.targets"
            )
        if change.rank > rank:
            raise UsageError(
                f"lora.rank: found {rank}, allowed at least {change.rank}, the rank of {layer} in "
                f"{adapter.path}"
            )


def start_from(transformer: nn.Module, adapter: Adapter) -> None:
    """Set the new adapters of a transformer to those of a file that `check_start` let pass.

    What is added to a weight is the same, whatever rank and alpha both have: B takes up the ratio
    of their factors, and rows of A beyond the file's rank stay as drawn, with zeros in B.
    """
    from peft.tuners.lora import LoraLayer

    adapters = {
        name: part for name, part in transformer.named_modules() if isinstance(part, LoraLayer)
    }
    changes = adapter.fitted(list(adapters)).changes
    with torch.no_grad():
        for name, part in adapters.items():
            change = changes.get(f"{name}.weight")
            if not isinstance(change, LowRank):
                continue
            (own,) = part.lora_A
            down, up = (getattr(part, side)[own].weight for side in ("lora_A", "lora_B"))
            down[: change.rank] = change.down.to(down)
            up[:, : change.rank] = change.up.to(up) * (change.factor / part.scaling[own])
