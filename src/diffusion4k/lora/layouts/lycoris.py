"""The layout of LyCORIS by itself, as SimpleTuner writes it: diffusers' names with `_` for `.`."""

from diffusion4k.lora.layouts.layout import Layout

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="lycoris", programs="LyCORIS, SimpleTuner", prefixes=("lycoris_",), flat=True
)
