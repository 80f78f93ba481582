"""The layout of diffusers' `save_lora_adapter`; also that of SimpleTuner and, for Flux, ai-toolkit.

Where programs look for alpha differs, and all of them take it for the rank, or the factor for one,
where they find none. The factor alpha / rank is therefore a part of B.
"""

from diffusion4k.lora.layouts.layout import LORA_A_B, Layout, Writing

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="diffusers",
    programs="diffusers, SimpleTuner, ai-toolkit, diffusion4k",
    prefixes=("transformer.",),
    writing=Writing(
        original=False,
        alpha="in B",
        kinds=("LoRA", "DoRA"),
        ends={**LORA_A_B, "magnitude": "lora_magnitude_vector"},
    ),
)
