"""A base model's own F=8 autoencoder at F=16, with no new weights (Diffusion-4K, arXiv 2503.18352).

The first convolution takes stride 2 with its weights as they are, so that the encoder sees the
image at half resolution; before the last convolution the decoder's features are upsampled x2
(nearest). An image `(B, 3, H, W)` gives latents `(B, C, H/16, W/16)`.

The paper runs that last step in 2x2 partitions to bound its memory. Here it is a `SubPixelConv2d`,
which gives the same image without partitions and without the upsampled copy.

diffusers' pipelines compute the scale factor as `2 ** (len(config.block_out_channels) - 1)`. The
configuration therefore reports five levels: the first, at full resolution, has no blocks and
repeats the channels of the second. With it the stock pipelines work at F=16 as they are.
"""

import functools
import inspect
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.vae.subpixel import fold_upsample

__all__ = ["FACTOR", "PartitionedAutoencoderKL", "f16_config"]

FACTOR = 16
BLOCKS = 4


class PartitionedAutoencoderKL(AutoencoderKL):
    """diffusers' `AutoencoderKL` at F=16; weights and their names are those of the F=8 one.

    The configuration is `AutoencoderKL`'s, with five entries in `block_out_channels` for four
    blocks. Slicing and tiling are the stock ones, on tiles whose side is a multiple of 64 pixels.
    """

    # Public address of the class: diffusers writes it into `model_index.json`, and looks it up
    # there after nothing but `import diffusion4k`.
    __module__ = "diffusion4k"

    @functools.wraps(AutoencoderKL.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        levels = tuple(_value(config, "block_out_channels"))
        blocks = len(_value(config, "down_block_types"))
        if blocks != BLOCKS:
            raise Diffusion4kError(
                f"down_block_types: {blocks} blocks; F=16 needs an autoencoder of four (F=8)"
            )
        if len(levels) == BLOCKS:
            raise Diffusion4kError(
                f"block_out_channels {levels}: four levels are a stock AutoencoderKL at F=8; "
                "convert it with PartitionedAutoencoderKL.from_autoencoder, or load its folder "
                "with diffusion4k.vae.load_autoencoder"
            )
        if len(levels) != BLOCKS + 1 or levels[0] != levels[1]:
            raise Diffusion4kError(
                f"block_out_channels {levels}: expected five levels, the first two equal"
            )
        super().__init__(**{**config, "block_out_channels": levels[1:]})
        self.register_to_config(block_out_channels=levels)
        self.encoder.conv_in.stride = (2, 2)
        self.decoder.conv_out = fold_upsample(self.decoder.conv_out)
        # A quarter of a tile overlaps the next one: it must be a whole number of latents.
        side = self.config.sample_size
        side = side if isinstance(side, int) else max(side)
        self.tile_latent_min_size = 4 * -(-side // (4 * FACTOR))
        self.tile_sample_min_size = FACTOR * self.tile_latent_min_size

    @classmethod
    def from_autoencoder(cls, autoencoder: AutoencoderKL) -> "PartitionedAutoencoderKL":
        """`autoencoder` (F=8, four levels) at F=16; both share their weights in memory.

        Raises:
            Diffusion4kError: `autoencoder` is no stock `AutoencoderKL` of four levels.
        """
        with torch.device("meta"):
            partitioned = cls(**f16_config(autoencoder))
        partitioned.load_state_dict(autoencoder.state_dict(), assign=True)
        return partitioned.train(autoencoder.training)

    def to_autoencoder(self) -> AutoencoderKL:
        """The stock autoencoder (F=8, four levels) of these weights; both share them in memory."""
        config = {k: v for k, v in self.config.items() if not k.startswith("_")}
        with torch.device("meta"):
            stock = AutoencoderKL(
                **config | {"block_out_channels": config["block_out_channels"][1:]}
            )
        stock.load_state_dict(self.state_dict(), assign=True)
        return stock.train(self.training)

    def encode(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Images `(B, 3, H, W)` in [-1, 1] to the posterior of latents `(B, C, H/16, W/16)`.

        Raises:
            UsageError: wrong number of axes or channels, or a side that is no multiple of 16.
        """
        _check_axes("images", x, self.config.in_channels)
        height, width = x.shape[-2:]
        if height % FACTOR or width % FACTOR or not height or not width:
            nearest = " x ".join(str(max(1, round(s / FACTOR)) * FACTOR) for s in (width, height))
            raise UsageError(
                f"image of {width} x {height} pixels: both sides must be multiples of {FACTOR}; "
                f"crop or resize it, for example to {nearest}"
            )
        return super().encode(x, *args, **kwargs)

    def decode(self, z: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Latents `(B, C, h, w)`, not normalised, to images `(B, 3, 16 h, 16 w)` in about [-1, 1].

        Raises:
            UsageError: wrong number of axes or channels.
        """
        _check_axes("latents", z, self.config.latent_channels)
        return super().decode(z, *args, **kwargs)


def f16_config(autoencoder: AutoencoderKL) -> dict[str, Any]:
    """Constructor arguments for an F=16 model of the F=8 `autoencoder`.

    Raises:
        Diffusion4kError: `autoencoder` is no stock `AutoencoderKL`.
    """
    if type(autoencoder) is not AutoencoderKL:
        raise Diffusion4kError(
            f"{type(autoencoder).__name__}: only a stock diffusers AutoencoderKL is convertible"
        )
    config = {k: v for k, v in autoencoder.config.items() if not k.startswith("_")}
    levels = tuple(config["block_out_channels"])
    return {**config, "block_out_channels": (levels[0], *levels)}


def _value(config: dict[str, Any], name: str) -> Any:
    """The value of a constructor argument, or `AutoencoderKL`'s default for it."""
    return config.get(name, inspect.signature(AutoencoderKL).parameters[name].default)


def _check_axes(what: str, tensor: Tensor, channels: int) -> None:
    if tensor.ndim != 4 or tensor.shape[1] != channels:
        raise UsageError(
            f"{what} of shape {tuple(tensor.shape)}: expected (batch, {channels}, height, width)"
        )
