"""Adapters in a transformer, through PEFT: new ones to train, those of a file, merged ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from diffusion4k.errors import UsageError
from diffusion4k.lora.file import Adapter

__all__ = ["add_adapter", "check_targets", "linear_layers", "load_adapter", "merge_adapter"]

_NAME = "default"


def add_adapter(
    transformer: nn.Module, *, rank: int, alpha: int, targets: Sequence[str], seed: int
) -> None:
    """Freeze the transformer and put trainable adapters on its linear layers `targets`.

    A target is the end of a layer's dotted name; those that fit no layer do nothing. At first an
    adapter changes nothing: B is zero, A drawn from `seed`. Adapters are float32 whatever the
    transformer is.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, transformer.requires_grad_(False), _NAME)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def linear_layers(transformer: nn.Module, targets: Sequence[str] = ("",)) -> dict[str, nn.Linear]:
    """The linear layers whose dotted names end with one of `targets`, by name; by default all."""
    ends = tuple(f".{target}" if target else "" for target in targets)
    return {
        name: part
        for name, part in transformer.named_modules()
        if isinstance(part, nn.Linear) and f".{name}".endswith(ends)
    }


def check_targets(transformer: nn.Module, targets: Sequence[str]) -> None:
    """Refuse targets that no linear layer of the transformer (it may be on "meta") has.

    Raises:
        UsageError: names the target and the ends of names that there are.
    """
    for target in targets:
        if not linear_layers(transformer, [target]):
            names = linear_layers(transformer)
            ends = sorted({".".join(n.split(".")[-2:]) for n in names if "blocks" in n})
            raise UsageError(
                f"lora.targets: no linear layer's name ends with {target!r}; there are, for "
                f"example, {', '.join(ends[:12])}"
            )


def load_adapter(transformer: nn.Module, adapter: Adapter, scale: float = 1.0) -> None:
    """Put an adapter that has been read and checked into the transformer, frozen.

    Its output is multiplied by `scale`: 0 leaves the transformer as it was.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    adapter = adapter.fitted(transformer)
    inject_adapter_in_model(
        LoraConfig(**adapter.config), transformer, _NAME, state_dict=adapter.weights
    )
    set_peft_model_state_dict(transformer, adapter.weights, _NAME)
    transformer.requires_grad_(False).eval()
    for layer in _layers(transformer):
        layer.set_scale(_NAME, scale)


def merge_adapter(transformer: nn.Module) -> None:
    """Add the adapters in the transformer to its weights and take them out."""
    from diffusers.utils import recurse_remove_peft_layers

    for layer in _layers(transformer):
        layer.merge(safe_merge=True)
    recurse_remove_peft_layers(transformer)
    del transformer.peft_config


def _layers(transformer: nn.Module) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in transformer.modules() if isinstance(module, LoraLayer)]
