"""The F=16 autoencoder: a base model's own F=8 autoencoder at half its resolution, unchanged."""

from diffusion4k.vae.accelerate import accelerate_decoder
from diffusion4k.vae.lean import (
    check_decode_memory,
    decode_strips,
    lean_decode,
    lean_encode,
    parse_memory,
)
from diffusion4k.vae.partitioned import FACTOR, PartitionedAutoencoderKL, load_autoencoder
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = [
    "FACTOR",
    "PartitionedAutoencoderKL",
    "SubPixelConv2d",
    "accelerate_decoder",
    "check_decode_memory",
    "decode_strips",
    "fold_upsample",
    "lean_decode",
    "lean_encode",
    "load_autoencoder",
    "parse_memory",
]
