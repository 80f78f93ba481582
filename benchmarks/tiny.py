"""A whole Stable Diffusion 3 pipeline of real diffusers and transformers classes, a few MB small.

Its weights are random but fixed by `seed`; nothing is downloaded.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

__all__ = [
    "byte_alphabet",
    "fill_zeros",
    "tiny_autoencoder",
    "tiny_clip",
    "tiny_sd3",
    "tiny_tokenizer",
    "tiny_transformer",
]


def tiny_sd3(folder: str | Path, *, seed: int = 0, latent_channels: int = 16) -> Path:
    """Save a tiny pipeline without T5 (its autoencoder at F=8) in diffusers layout; the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer()
        pipeline = StableDiffusion3Pipeline(
            transformer=tiny_transformer(latent_channels),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=tiny_autoencoder(latent_channels),
            text_encoder=tiny_clip(tokenizer),
            tokenizer=tokenizer,
            text_encoder_2=tiny_clip(tokenizer),
            tokenizer_2=tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )
    folder = Path(folder)
    pipeline.save_pretrained(folder)
    return folder


def tiny_transformer(latent_channels: int = 16) -> SD3Transformer2DModel:
    """Two blocks of width 32; conditioning `(B, tokens, 64)` and pooled `(B, 32)`."""
    model = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=64,
    )
    fill_zeros(model)
    return model.eval()


def fill_zeros(model: torch.nn.Module) -> None:
    """Make every path alive: diffusers leaves some weights at zero."""
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)


def tiny_autoencoder(latent_channels: int = 16) -> AutoencoderKL:
    """Four levels (F=8) of eight channels, with SD3's kind of shift and scale."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=64,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def tiny_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer on single characters: byte alphabet, no merges, 77 tokens."""
    alphabet = sorted(byte_alphabet())
    tokens = [*alphabet, *(f"{c}</w>" for c in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=77
    )


def tiny_clip(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """One layer of width 16 with a projection of 16."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=16,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, as byte-level BPE writes them."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(b) for b in sorted(printable)] + [chr(256 + i) for i in range(len(others))]
