"""The layout of PEFT's `save_pretrained`: a folder with `adapter_config.json`, which has alpha."""

from diffusion4k.lora.layouts.layout import LORA_A_B, Layout, Writing

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="peft",
    programs="PEFT, diffusers' older training scripts",
    prefixes=(
        "base_model.model.",
        "base_model.model.transformer.",
        "base_model.model.diffusion_model.",
        "unet.base_model.model.",
    ),
    writing=Writing(
        original=False,
        alpha="configuration",
        kinds=("LoRA", "DoRA"),
        ends={**LORA_A_B, "magnitude": "lora_magnitude_vector"},
    ),
)
