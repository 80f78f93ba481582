"""The F=16 autoencoder: a base model's own F=8 autoencoder at half its resolution.

`PartitionedAutoencoderKL` has its weights unchanged, `ScaleConsistentAutoencoderKL` starts from
them and is trained.
"""

from diffusion4k.vae.accelerate import accelerate_decoder
from diffusion4k.vae.enable import disable_strips, enable_strips
from diffusion4k.vae.lean import (
    check_decode_memory,
    decode_strips,
    lean_decode,
    lean_encode,
    parse_memory,
)
from diffusion4k.vae.load import load_autoencoder, load_stock_autoencoder
from diffusion4k.vae.partitioned import FACTOR, PartitionedAutoencoderKL
from diffusion4k.vae.scale_consistent import ScaleConsistentAutoencoderKL
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = [
    "FACTOR",
    "PartitionedAutoencoderKL",
    "ScaleConsistentAutoencoderKL",
    "SubPixelConv2d",
    "accelerate_decoder",
    "check_decode_memory",
    "decode_strips",
    "disable_strips",
    "enable_strips",
    "fold_upsample",
    "lean_decode",
    "lean_encode",
    "load_autoencoder",
    "load_stock_autoencoder",
    "parse_memory",
]
