"""The layout of OneTrainer: kohya's ends after diffusers' names with `_` for `.`."""

from diffusion4k.lora.layouts.layout import Layout

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="onetrainer", programs="OneTrainer", prefixes=("lora_transformer_",), flat=True
)
