"""The F=16 autoencoder: a base model's own F=8 autoencoder at half its resolution, unchanged."""

from diffusion4k.vae.partitioned import PartitionedAutoencoderKL, load_autoencoder
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = ["PartitionedAutoencoderKL", "SubPixelConv2d", "fold_upsample", "load_autoencoder"]
