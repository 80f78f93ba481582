"""Stable Diffusion 3.5 in the family of 3: query-key norms, dual attention, and T5."""

from pathlib import Path

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from benchmarks.tiny import fill_zeros, tiny_autoencoder, tiny_clip, tiny_tokenizer
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_t5


def tiny_sd35(folder: Path) -> Path:
    """Save a tiny pipeline: 3.5 medium has both, 3.5 large the norms only."""
    tokenizer = tiny_tokenizer()
    tokenizer_3, text_encoder_3 = tiny_t5()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=64,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    fill_zeros(transformer)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_autoencoder(),
        text_encoder=tiny_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=tiny_clip(tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    ).save_pretrained(folder)
    return folder


class TestMedium(FamilyContract):
    build = staticmethod(tiny_sd35)
