"""Every nearest-x2 upsampling block of a decoder as one sub-pixel convolution, exactly.

Decoders of the `AutoencoderKL` layout (SD 1 to 3.5, SDXL, Flux, Flux.2) double their features three
times by nearest upsampling and a 3x3 convolution. Folded (`subpixel`), each of these blocks takes
4 multiplications instead of 9 and no upsampled copy; the image is the same, and so are names and
values of the weights.
"""

from typing import Any

from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = ["SubPixelUpsample2D", "accelerate_decoder"]


class SubPixelUpsample2D(nn.Module):
    """An `Upsample2D` with its 3x3 convolution folded; shares its parameters and their names."""

    def __init__(self, plain: Upsample2D) -> None:
        super().__init__()
        self.conv: SubPixelConv2d = fold_upsample(plain.conv)
        # In a tuple, for as a submodule its weights would be counted and stored twice.
        self._plain = (plain,)

    @property
    def plain(self) -> Upsample2D:
        """The block that this one stands for, with the weights of now."""
        block = self._plain[0]
        block.conv.weight, block.conv.bias = self.conv.weight, self.conv.bias
        return block

    def forward(self, hidden_states: Tensor, output_size: Any = None) -> Tensor:
        """`(B, C, H, W)` to `(B, O, 2H, 2W)`."""
        if output_size is not None:
            return self.plain(hidden_states, output_size)
        return self.conv(hidden_states)


def accelerate_decoder(autoencoder: Any, enabled: bool = True) -> Any:
    """Fold the upsampling blocks of `autoencoder.decoder` in place; `enabled=False` undoes it.

    Works for any diffusers autoencoder with the stock decoder: `AutoencoderKL` (SD3, SDXL, Flux),
    `AutoencoderKLFlux2`, `PartitionedAutoencoderKL`. Weights, state dict and images stay what they
    are, in training too.

    Returns:
        `autoencoder` itself.

    Raises:
        UsageError: it has no decoder with such upsampling blocks.
    """
    blocks = getattr(getattr(autoencoder, "decoder", None), "up_blocks", None)
    if blocks is None:
        raise UsageError(
            f"{type(autoencoder).__name__}: has no decoder with up_blocks; only autoencoders of "
            "the AutoencoderKL layout can be folded"
        )
    found = False
    for block in blocks:
        upsamplers = getattr(block, "upsamplers", None) or []
        for i, upsampler in enumerate(upsamplers):
            found = found or isinstance(upsampler, SubPixelUpsample2D) or _is_foldable(upsampler)
            if enabled and _is_foldable(upsampler):
                upsamplers[i] = SubPixelUpsample2D(upsampler)
            elif not enabled and isinstance(upsampler, SubPixelUpsample2D):
                upsamplers[i] = upsampler.plain
    if not found:
        raise UsageError(
            f"{type(autoencoder).__name__}: no block of its decoder is a nearest-x2 upsampling "
            "with a 3x3 convolution"
        )
    return autoencoder


def _is_foldable(module: nn.Module) -> bool:
    return (
        isinstance(module, Upsample2D)
        and module.interpolate
        and module.use_conv
        and not module.use_conv_transpose
        and module.norm is None
        and module.name == "conv"
        and module.conv.kernel_size == (3, 3)
    )
