"""The layout of LyCORIS by itself, as SimpleTuner writes it: diffusers' names with `_` for `.`."""

from diffusion4k.lora.layouts.layout import LORA_DOWN_UP, Layout, Writing

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="lycoris",
    programs="LyCORIS, SimpleTuner",
    prefixes=("lycoris_",),
    flat=True,
    writing=Writing(
        original=False,
        alpha="tensor",
        kinds=("LoRA", "DoRA", "LoHa", "LoKr", "full difference"),
        ends={**LORA_DOWN_UP, "magnitude": "dora_scale", "bias": "diff_b"},
        biases=True,
    ),
)
