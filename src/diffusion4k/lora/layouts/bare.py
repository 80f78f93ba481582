"""Names without a prefix: those of the model's authors (Black Forest Labs) or PEFT's, in a file."""

from diffusion4k.lora.layouts.layout import Layout

__all__ = ["LAYOUT"]

LAYOUT = Layout(name="bare", programs="Black Forest Labs, PEFT's state dicts")
