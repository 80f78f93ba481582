"""The layout of XLabs' x-flux: names of Flux' attention processors, of image 1, of text 2."""

from diffusion4k.lora.layouts.layout import Layout
from diffusion4k.original_names import Module, OriginalNames

__all__ = ["LAYOUT"]

_DOUBLE, _SINGLE = "double_blocks.{}.processor.", "single_blocks.{}.processor."
_OURS, _OURS_SINGLE = "transformer_blocks.{}.attn.", "single_transformer_blocks.{}."
_QKV = ("to_q", "to_k", "to_v")
_ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")

LAYOUT = Layout(
    name="xlabs",
    programs="XLabs' x-flux",
    within=".processor.",
    ends={
        "down.weight": "lora_A.weight",
        "up.weight": "lora_B.weight",
    },
    names=OriginalNames(
        "flux",
        (
            Module(f"{_DOUBLE}qkv_lora1", tuple(_OURS + name for name in _QKV)),
            Module(f"{_DOUBLE}qkv_lora2", tuple(_OURS + name for name in _ADDED)),
            Module(f"{_DOUBLE}proj_lora1", (f"{_OURS}to_out.0",)),
            Module(f"{_DOUBLE}proj_lora2", (f"{_OURS}to_add_out",)),
            Module(f"{_SINGLE}qkv_lora", tuple(f"{_OURS_SINGLE}attn.{name}" for name in _QKV)),
            Module(f"{_SINGLE}proj_lora", (f"{_OURS_SINGLE}proj_out",)),
        ),
    ),
)
