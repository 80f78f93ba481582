"""Adapters as other trainers write them, brought to the layout of diffusers.

| written by | for example |
|---|---|
| kohya-ss/sd-scripts | `lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight`, and `.alpha` |
| OneTrainer | `lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight`, and `.alpha` |
| ComfyUI, BFL | `diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight` |
| PEFT | `base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight` |

alpha / rank goes into B. Black Forest Labs' names of Flux' layers, some of which are several layers
in one, are diffusers' to translate; names with `_` for `.` are looked up in the transformer.
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
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in ours.items():
        end = next((end for end in _ENDS if key.endswith(end)), None)
        if end is None:
            raise ValueError(f"found {key}, which is no part of a plain LoRA")
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


def _without_prefixes(layer: str) -> str:
    while prefix := next((each for each in _PREFIXES if layer.startswith(each)), None):
        layer = layer.removeprefix(prefix)
    return layer


def _of_flux(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    from diffusers.loaders import FluxLoraLoaderMixin

    ends = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}
    kohyas = {
        f"lora_unet_{name.removesuffix(end).replace('.', '_')}{other}": value
        for name, value in weights.items()
        for end, other in ends.items()
        if name.endswith(end)
    }
    converted = FluxLoraLoaderMixin.lora_state_dict(kohyas)
    return {name.removeprefix("transformer."): value for name, value in converted.items()}
