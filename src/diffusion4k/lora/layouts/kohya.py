"""The layout of kohya-ss/sd-scripts, which LyCORIS shares: the authors' names with `_` for `.`."""

from diffusion4k.lora.layouts.layout import LORA_DOWN_UP, Layout, Writing

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="kohya",
    programs="kohya-ss/sd-scripts, LyCORIS, Stable Diffusion WebUI Forge",
    prefixes=("lora_unet_",),
    flat=True,
    writing=Writing(
        original=True,
        alpha="tensor",
        kinds=("LoRA", "DoRA", "LoHa", "LoKr", "full difference"),
        ends={**LORA_DOWN_UP, "magnitude": "dora_scale", "bias": "diff_b"},
        biases=True,
    ),
)
