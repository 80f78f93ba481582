"""Whether an adapter fits a model."""

import math
import sys

from torch import nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.adapter import parameter_modules
from diffusion4k.lora.file import Adapter
from diffusion4k.lora.naming import candidates
from diffusion4k.original_names import original_names
from diffusion4k.support.wording import counted

__all__ = ["check_adapter"]


def check_adapter(
    adapter: Adapter, *, family: str, model: str, transformer: nn.Module, scale: float = 1.0
) -> None:
    """Refuse an adapter of another family or of layers of other sizes, and a `scale` that is none.

    `transformer` is that of `model`, and may be on the "meta" device. What the file has for text
    encoders, which is not used, is named on standard error.

    Raises:
        UsageError: a scale that is not finite.
        Diffusion4kError: says what the adapter was made for.
    """
    if not math.isfinite(scale):
        raise UsageError(f"LoRA scale {scale:g}: allowed is a finite number")
    made_for = adapter.made_for
    origin = (
        f"made for {made_for['family']} ({made_for['base_model']})"
        if {"family", "base_model"} <= made_for.keys()
        else "made for another model"
    )
    if made_for.get("family", family) != family:
        raise Diffusion4kError(f"{adapter.path}: this LoRA was {origin}; {model} is {family}")
    layers = [key.rpartition(".")[0] for key in adapter.changes]
    whose = candidates(layers, adapter.layout)
    if whose and family in original_names() and family not in whose:
        raise Diffusion4kError(
            f"{adapter.path}: this LoRA has layers of {' or '.join(whose)}, such as {layers[0]}; "
            f"{model} is {family}"
        )
    sizes = {name: tuple(each.shape) for name, each in transformer.named_parameters()}
    for key, change in adapter.fitted(parameter_modules(transformer)).changes.items():
        name = key.rpartition(".")[0]
        has, wanted = _sides(change.shape), _sides(sizes.get(key, ()))
        for side, size in has.items():
            if wanted.get(side) == size:
                continue
            here = f"{side} {wanted[side]}" if side in wanted else "no such linear layer"
            raise Diffusion4kError(
                f"{adapter.path}: this LoRA was {origin}: its {name} has {side} {size}, {model} "
                f"has {here}"
            )
    if adapter.left_out:
        what = counted(len(adapter.left_out), "tensor")
        print(
            f"{adapter.path}: {what} of text encoders, such as {adapter.left_out[0]}, are left "
            "out: text encoders stay as they are",
            file=sys.stderr,
            flush=True,
        )


def _sides(shape: tuple[int, ...]) -> dict[str, int]:
    """The sizes of a weight by the names that torch has for a linear layer's."""
    if len(shape) == 2:
        return {"in_features": shape[1], "out_features": shape[0]}
    return {f"size {axis}": size for axis, size in enumerate(shape)}
