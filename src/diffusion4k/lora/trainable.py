"""New adapters to train, through PEFT: LoRA, DoRA and LoKr, from nothing or from LoRAs that exist.

| kind | weight | a new one changes |
|---|---|---|
| LoRA (arXiv 2106.09685) | `W + alpha / rank * B A` | nothing: B is zero |
| DoRA (arXiv 2402.09353) | `m (W + alpha / rank * B A)`, rows at length m | nothing: m is W's |
| LoKr (arXiv 2309.14859) | `W + alpha / rank * kron(W1, W2)` | nothing: W1 is zero |

What begins with LoRAs begins with their sum: their matrices stand in the new ones, one beside the
other, and what a layer's rank leaves over is new.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.adapter import check_targets, linear_layers, parameter_modules
from diffusion4k.lora.changes import Change, Kronecker, LowRank
from diffusion4k.lora.file import Adapter

__all__ = ["AdapterKind", "Beginning", "add_adapter", "check_adapter_options", "trained_changes"]

AdapterKind = Literal["lora", "dora", "lokr"]
Beginning = tuple[Adapter, float]
"""A LoRA to begin with, and how strongly it counts."""

_NAME = "default"


def add_adapter(
    transformer: nn.Module,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str],
    seed: int,
    kind: AdapterKind = "lora",
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
    start: Sequence[Beginning] = (),
) -> None:
    """Freeze the transformer and put trainable adapters on its linear layers `targets`.

    A target is the end of a layer's dotted name; those that fit no layer do nothing. What is drawn
    is drawn from `seed`. Adapters are float32 whatever the transformer is. It may be on "meta".

    Args:
        rank_pattern: ranks of layers whose dotted names end with a pattern, a regular expression;
            the first that fits counts.
        alpha_pattern: alphas, in the same way.
        start: LoRAs to begin with, which `check_adapter_options` has accepted.

    Raises:
        UsageError: no target fits a layer.
    """
    from peft import LoKrConfig, LoraConfig, PeftConfig, inject_adapter_in_model

    ranks, alphas = dict(rank_pattern or {}), dict(alpha_pattern or {})
    begun = _begun(transformer, start)
    if not begun and not linear_layers(transformer, targets):
        check_targets(transformer, targets)
    # Each layer has room for what it begins with, and the factor that it would have without.
    for layer, changes in begun.items():
        usual, needed = _by_pattern(ranks, layer, rank), sum(change.rank for change in changes)
        if needed > usual:
            exact, usual_alpha = f"^{re.escape(layer)}", _by_pattern(alphas, layer, alpha)
            ranks = {exact: needed, **ranks}
            alphas = {exact: usual_alpha * needed / usual, **alphas}
    options: dict[str, Any] = {
        "r": rank,
        "alpha" if kind == "lokr" else "lora_alpha": alpha,
        "target_modules": sorted({*targets, *begun}),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    }
    config: PeftConfig
    if kind == "lokr":
        config = LoKrConfig(**options)
    else:
        config = LoraConfig(use_dora=kind == "dora", **options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, transformer.requires_grad_(False), _NAME)
    _in_float32(transformer)
    with torch.no_grad():
        for layer, changes in begun.items():
            _begin(transformer.get_submodule(layer), changes)
    _in_float32(transformer)


def check_adapter_options(
    transformer: nn.Module,
    *,
    kind: AdapterKind,
    targets: Sequence[str],
    rank_pattern: Mapping[str, int],
    alpha_pattern: Mapping[str, float],
    start: Sequence[Beginning],
) -> None:
    """Refuse patterns that fit no adapted layer, and LoRAs that nothing can begin with.

    `transformer` may be on "meta"; the LoRAs have been found to fit it.

    Raises:
        UsageError: names the key of the recipe and what is wrong.
        Diffusion4kError: names the file and the layer.
    """
    layers = [*linear_layers(transformer, targets), *_begun(transformer, start)]
    for key, patterns in (("rank_pattern", rank_pattern), ("alpha_pattern", alpha_pattern)):
        for pattern in patterns:
            try:
                fits = any(_fits(pattern, layer) for layer in layers)
            except re.error as error:
                raise UsageError(f"lora.{key}: {pattern!r} is no pattern ({error})") from None
            if not fits:
                raise UsageError(
                    f"lora.{key}: no adapted layer's name ends with {pattern!r}; there is, for "
                    f"example, {layers[0]}"
                )
    if start and kind == "lokr":
        raise UsageError(
            "lora.start: found with kind=lokr, whose products hold no sum of others: merge the "
            "LoRAs into the model first (diffusion4k merge-lora), and begin with the result"
        )
    for adapter, scale in start:
        for name, change in adapter.fitted(parameter_modules(transformer)).changes.items():
            _check_beginning(f"{adapter.path}: {name}", change, kind, len(start), scale)


def trained_changes(transformer: nn.Module) -> dict[str, Change]:
    """What the adapters in the transformer change, by the parameter's name."""
    from peft.tuners.lokr import LoKrLayer
    from peft.tuners.lora import LoraLayer

    found: dict[str, Change] = {}
    for name, part in transformer.named_modules():
        if isinstance(part, LoraLayer):
            found[f"{name}.weight"] = _low_rank(part)
        elif isinstance(part, LoKrLayer):
            found[f"{name}.weight"] = _kronecker(part)
    return found


def _low_rank(layer: Any) -> LowRank:
    pair = {f"lora_{each}.weight": getattr(layer, f"lora_{each}")[_NAME].weight for each in "AB"}
    vectors = layer.lora_magnitude_vector or {}
    magnitude = vectors[_NAME].weight.detach()[:, None] if _NAME in vectors else None
    tensors = {name: tensor.detach() for name, tensor in pair.items()}
    return LowRank(tensors, layer.lora_alpha[_NAME], magnitude)


def _kronecker(layer: Any) -> Kronecker:
    tensors: dict[str, Tensor] = {
        name: getattr(layer, name)[_NAME].detach()
        for name in layer.adapter_layer_names
        if _NAME in getattr(layer, name)
    }
    change = Kronecker(tensors, layer.alpha[_NAME])
    if change.rank is not None:
        return change
    # PEFT scales a product of two whole matrices, too; other programs know no alpha of one.
    scaled = {**tensors, "lokr_w1": tensors["lokr_w1"] * layer.scaling[_NAME]}
    return replace(change, tensors=scaled, alpha=None)


@dataclass(frozen=True)
class _Begun:
    """One LoRA's matrices for a layer; B with all that scales it."""

    down: Tensor
    up: Tensor
    magnitude: Tensor | None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])


def _begun(transformer: nn.Module, start: Iterable[Beginning]) -> dict[str, list[_Begun]]:
    """What each layer begins with, in the order of the LoRAs."""
    found: dict[str, list[_Begun]] = {}
    for adapter, scale in start:
        for name, change in adapter.fitted(parameter_modules(transformer)).changes.items():
            if isinstance(change, LowRank):
                up = change.up.float() * (change.factor * scale)
                part = _Begun(change.down.float(), up, change.magnitude)
                found.setdefault(name.removesuffix(".weight"), []).append(part)
    return found


def _begin(layer: Any, changes: Sequence[_Begun]) -> None:
    down, up = layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight
    if down.is_meta:
        return
    done = 0
    for change in changes:
        places = slice(done, done + change.rank)
        down[places] = change.down.to(down)
        up[:, places] = (change.up / layer.scaling[_NAME]).to(up)
        done = places.stop
    vectors = layer.lora_magnitude_vector or {}
    if _NAME not in vectors:
        return
    if (given := changes[0].magnitude) is not None:
        vectors[_NAME].weight.copy_(given.flatten())
    else:  # that of the weights with their change, which is then exactly what it was
        base = layer.get_base_layer()
        vectors[_NAME].update_layer(
            base_layer=base, lora_A=down, lora_B=up, scaling=layer.scaling[_NAME]
        )


def _check_beginning(
    where: str, change: Change, kind: AdapterKind, adapters: int, scale: float
) -> None:
    if not isinstance(change, LowRank) or not where.endswith(".weight"):
        raise Diffusion4kError(
            f"{where}: {change.kind}, with which no {kind} can begin: merge it into the model "
            "first (diffusion4k merge-lora), and begin with the result"
        )
    if change.magnitude is None:
        return
    if kind != "dora" or adapters > 1 or scale != 1:
        raise Diffusion4kError(
            f"{where}: DoRA, with which only kind=dora can begin, with no other LoRA and at scale "
            "1: merge it into the model first (diffusion4k merge-lora), and begin with the result"
        )
    if change.magnitude.shape[1] != 1:
        raise Diffusion4kError(
            f"{where}: its DoRA scales columns, PEFT's scales rows: merge it into the model first "
            "(diffusion4k merge-lora), and begin with the result"
        )


def _fits(pattern: str, layer: str) -> bool:
    """As PEFT looks for it."""
    return re.match(rf"(.*\.)?({pattern})$", layer) is not None


def _by_pattern(patterns: Mapping[str, Any], layer: str, usual: Any) -> Any:
    return next((value for key, value in patterns.items() if _fits(key, layer)), usual)


def _in_float32(transformer: nn.Module) -> None:
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
