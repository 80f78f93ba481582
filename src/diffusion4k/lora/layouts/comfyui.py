"""The layout that ComfyUI reads for any model: its own names of layers, which are the authors'."""

from diffusion4k.lora.layouts.layout import LORA_A_B, Layout, Writing

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="comfyui",
    programs="ComfyUI, ai-toolkit, diffusion-pipe",
    prefixes=("diffusion_model.", "model.diffusion_model."),
    writing=Writing(
        original=True,
        alpha="tensor",
        kinds=("LoRA", "DoRA", "LoHa", "LoKr", "full difference"),
        ends={**LORA_A_B, "magnitude": "dora_scale", "bias": "diff_b"},
        biases=True,
    ),
)
