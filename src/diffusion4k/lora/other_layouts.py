"""Adapters as other trainers write them, brought to the layout of diffusers.

| written by | for example |
|---|---|
| kohya-ss/sd-scripts | `lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight`, and `.alpha` |
| OneTrainer | `lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight`, and `.alpha` |
| ComfyUI, BFL | `diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight` |
| PEFT | `base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight` |
| XLabs' x-flux | `double_blocks.0.processor.qkv_lora1.down.weight`, without `.alpha` |

alpha / rank goes into B. Black Forest Labs' and XLabs' names of Flux' layers, some of which are
several layers in one, are diffusers' to translate; names with `_` for `.` are looked up in the
transformer.
"""

import sys
from collections.abc import Iterable

from torch import Tensor

__all__ = ["dotted", "to_diffusers"]

_ENDS = {
    ".lora_A.weight": "A",
    ".lora_down.weight": "A",
    ".lora.down.weight": "A",
    ".lora_B.weight": "B",
    ".lora_up.weight": "B",
    ".lora.up.weight": "B",
    ".alpha": "alpha",
}
_PREFIXES = (
    *("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer."),
    *("lora_unet_", "lora_transformer_", "lycoris_"),
)
_TEXT_ENCODERS = ("text_encoder", "lora_te", "te1.", "te2.", "te3.")
_OF_FLUX = ("double_blocks", "single_blocks")
_OF_XLABS, _ENDS_OF_XLABS = ".processor.", (".down.weight", ".up.weight")
_NAMES_OF_OTHERS = {"attention_out": "attention_to_out_0"}  # Z-Image's own


def to_diffusers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The adapters of the transformer: `<layer>.lora_A.weight` and `<layer>.lora_B.weight`.

    A layer's name may have `_` for `.` (see `dotted`). Adapters of text encoders are left out, with
    a line on standard error.

    Raises:
        ValueError: something that is no plain LoRA, or a layer whose parts are not all there.
    """
    ours = {k: v for k, v in weights.items() if not k.startswith(_TEXT_ENCODERS)}
    if len(ours) < len(weights):
        print("LoRA: its adapters of text encoders are left out", file=sys.stderr, flush=True)
    if any(_OF_XLABS in key for key in ours):
        for key in ours:
            _end(key, _ENDS_OF_XLABS)
        return _by_diffusers(ours)
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in ours.items():
        end = _end(key, _ENDS)
        pairs.setdefault(_without_prefixes(key.removesuffix(end)), {})[_ENDS[end]] = value
    found: dict[str, Tensor] = {}
    for layer, parts in pairs.items():
        for part in "AB":
            if part not in parts:
                raise ValueError(f"{layer} has no lora_{part}")
        rank = len(parts["A"])
        strength = float(parts.get("alpha", rank)) / rank
        found[f"{layer}.lora_A.weight"] = parts["A"]
        found[f"{layer}.lora_B.weight"] = parts["B"] * strength
    return _of_flux(found) if any(layer.startswith(_OF_FLUX) for layer in pairs) else found


def dotted(layer: str, known: Iterable[str]) -> str:
    """The known layer of this name, in which `_` may stand for `.`; the name if there is none."""
    flat = layer.replace(".", "_")
    for end, other in _NAMES_OF_OTHERS.items():
        if flat.endswith(end):
            flat = flat.removesuffix(end) + other
    return next((name for name in known if name.replace(".", "_") == flat), layer)


def _end(key: str, ends: Iterable[str]) -> str:
    if end := next((end for end in ends if key.endswith(end)), None):
        return end
    raise ValueError(f"found {key}, which is not part of a plain LoRA")


def _without_prefixes(layer: str) -> str:
    while prefix := next((each for each in _PREFIXES if layer.startswith(each)), None):
        layer = layer.removeprefix(prefix)
    return layer


def _of_flux(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    ends = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}
    return _by_diffusers(
        {
            f"lora_unet_{name.removesuffix(end).replace('.', '_')}{other}": value
            for name, value in weights.items()
            for end, other in ends.items()
            if name.endswith(end)
        }
    )


def _by_diffusers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layers of Flux by diffusers' names, from kohya's or XLabs'."""
    from diffusers.loaders import FluxLoraLoaderMixin

    try:
        found = FluxLoraLoaderMixin.lora_state_dict(dict(weights))
    except KeyError as error:
        raise ValueError(f"found no {error.args[0]}") from None
    return {name.removeprefix("transformer."): value for name, value in found.items()}
