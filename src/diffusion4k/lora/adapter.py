"""Adapters of files in a transformer, and merged ones.

LoRA stays beside the weights, by PEFT, so that these may be quantised. DoRA, LoHa, LoKr and full
differences are merged into the weights when they are loaded: PEFT cannot hold them beside LoRA in
one network, nor scale them down to nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.changes import Change, LowRank
from diffusion4k.lora.file import Adapter
from diffusion4k.lora.header import guessed

__all__ = [
    "check_targets",
    "linear_layers",
    "load_adapter",
    "load_adapters",
    "merge_adapter",
    "parameter_modules",
]

_NAME = "default"


def linear_layers(transformer: nn.Module, targets: Sequence[str] = ("",)) -> dict[str, nn.Linear]:
    """The linear layers whose dotted names end with one of `targets`, by name; by default all."""
    ends = tuple(f".{target}" if target else "" for target in targets)
    return {
        name: part
        for name, part in transformer.named_modules()
        if isinstance(part, nn.Linear) and f".{name}".endswith(ends)
    }


def parameter_modules(transformer: nn.Module) -> list[str]:
    """The names of the modules that have a weight of their own."""
    return [
        name
        for name, part in transformer.named_modules()
        if isinstance(getattr(part, "weight", None), torch.Tensor)
    ]


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
    """`load_adapters` of one."""
    load_adapters(transformer, [(adapter, scale)])


def load_adapters(transformer: nn.Module, adapters: Iterable[tuple[Adapter, float]]) -> None:
    """Put adapters that have been read and checked into the transformer, frozen.

    The change of each is multiplied by its scale: 0 leaves the transformer as it was. Several add
    up; what is merged is merged in their order.

    Raises:
        Diffusion4kError: weights in fewer bits than a change can be merged into.
    """
    modules = parameter_modules(transformer)
    fitted = [(adapter.fitted(modules), scale) for adapter, scale in adapters]
    for adapter, scale in fitted:
        for name, change in adapter.changes.items():
            if not _stays_apart(name, change):
                _merge_change(transformer, name, change, scale, adapter)
    injected = (
        _inject(transformer, adapter, scale, f"{_NAME}{number or ''}")
        for number, (adapter, scale) in enumerate(fitted)
    )
    names = [name for name in injected if name]
    transformer.requires_grad_(False).eval()
    for layer in _layers(transformer):
        layer.set_adapter(names, inference_mode=True)


def merge_adapter(transformer: nn.Module) -> None:
    """Add the adapters in the transformer to its weights and take them out."""
    from diffusers.utils import recurse_remove_peft_layers

    if not (layers := _layers(transformer)):
        return
    for layer in layers:
        layer.merge(safe_merge=True)
    recurse_remove_peft_layers(transformer)
    del transformer.peft_config


def _stays_apart(name: str, change: Change) -> bool:
    return isinstance(change, LowRank) and change.magnitude is None and name.endswith(".weight")


def _merge_change(
    transformer: nn.Module, name: str, change: Change, scale: float, adapter: Adapter
) -> None:
    parameter = transformer.get_parameter(name)
    # torchao's quantised tensors pass for floating-point ones.
    is_plain = type(parameter.data) is torch.Tensor and parameter.is_floating_point()
    if not is_plain or parameter.shape != change.shape:
        raise Diffusion4kError(
            f"{adapter.path}: {change.kind} is merged into the weights, which are stored in fewer "
            "bits here: load the model without --weights, or merge it first (merge-lora)"
        )
    with torch.no_grad():
        parameter.copy_(change.applied(parameter.float(), scale))


def _inject(transformer: nn.Module, adapter: Adapter, scale: float, name: str) -> str | None:
    """Put an adapter's LoRA layers into the transformer; the name, or None if it has none."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    layers = {
        key.removesuffix(".weight"): change
        for key, change in adapter.changes.items()
        if isinstance(change, LowRank) and _stays_apart(key, change)
    }
    if not layers:
        return None
    weights = {
        f"{layer}.{end}": tensor
        for layer, change in layers.items()
        for end, tensor in change.tensors.items()
    }
    config = guessed({layer: change.rank for layer, change in layers.items()})
    inject_adapter_in_model(LoraConfig(**config), transformer, name, state_dict=weights)
    set_peft_model_state_dict(transformer, weights, name)
    for layer, change in layers.items():
        part: Any = transformer.get_submodule(layer)
        part.set_scale(name, change.factor * scale)
    return name


def _layers(transformer: nn.Module) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in transformer.modules() if isinstance(module, LoraLayer)]
