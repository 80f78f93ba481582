"""`AutoencoderKL` (SD 1 to 3.5, SDXL, Flux, Z-Image), `AutoencoderKLFlux2`, and ours at F=16.

Convolutions with group norms, whose statistics are those of the whole map, and one attention over
all pixels at the lowest level.
"""

from typing import Any, ClassVar

from diffusers.models.attention_processor import Attention as StockAttention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import (
    DownEncoderBlock2D,
    UNetMidBlock2D,
    UpDecoderBlock2D,
)
from diffusers.models.upsampling import Upsample2D
from torch import nn

from diffusion4k.vae.accelerate import SubPixelUpsample2D
from diffusion4k.vae.layer import Layer, Summand
from diffusion4k.vae.layouts.base import Layout, Strips, unknown
from diffusion4k.vae.strips import Attention, StripPasses
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = ["KLLayout"]


class KLLayout(Layout):
    """The layers of `diffusers.models.autoencoders.vae`."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (AutoencoderKL, AutoencoderKLFlux2)

    def factor(self, autoencoder: Any) -> int:
        return int(2 ** (len(autoencoder.config.block_out_channels) - 1))

    def latent_channels(self, autoencoder: Any) -> int:
        return int(autoencoder.config.latent_channels)

    def image_channels(self, autoencoder: Any) -> int:
        return int(autoencoder.config.in_channels)

    def decode(self, passes: StripPasses, autoencoder: Any, latents: Any) -> Strips:
        decoder, x = autoencoder.decoder, latents
        if autoencoder.post_quant_conv is not None:
            x = passes.convolve(x, Layer.of(autoencoder.post_quant_conv))
        x = passes.convolve(x, Layer.of(decoder.conv_in))
        x = self._middle(passes, autoencoder, x, decoder.mid_block)
        for block in decoder.up_blocks:
            _check(autoencoder, block, UpDecoderBlock2D)
            for resnet in block.resnets:
                x = self._residual(passes, autoencoder, x, resnet)
            for upsampler in block.upsamplers or []:
                _check(autoencoder, upsampler, Upsample2D, SubPixelUpsample2D)
                conv = upsampler.conv
                folded = conv if isinstance(conv, SubPixelConv2d) else fold_upsample(conv)
                x = passes.convolve(x, Layer.of(folded))
        yield from self._last(passes, autoencoder, x, decoder)

    def encode(self, passes: StripPasses, autoencoder: Any, image: Any) -> Strips:
        encoder = autoencoder.encoder
        x = passes.convolve(image, Layer.of(encoder.conv_in))
        for block in encoder.down_blocks:
            _check(autoencoder, block, DownEncoderBlock2D)
            for resnet in block.resnets:
                x = self._residual(passes, autoencoder, x, resnet)
            for downsampler in block.downsamplers or []:
                _check(autoencoder, downsampler, Downsample2D)
                # Stock downsampling pads one row below and one column to the right.
                pads = (0, 1) if downsampler.padding == 0 else None
                x = passes.convolve(x, Layer.of(downsampler.conv, pads))
        x = self._middle(passes, autoencoder, x, encoder.mid_block)
        yield from self._last(passes, autoencoder, x, encoder, autoencoder.quant_conv)

    def _middle(self, passes: StripPasses, autoencoder: Any, x: Any, block: Any) -> Any:
        _check(autoencoder, block, UNetMidBlock2D)
        x = self._residual(passes, autoencoder, x, block.resnets[0])
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            if attention is not None:
                _check(autoencoder, attention, StockAttention)
                passes.attend(x, _attention(attention))
            x = self._residual(passes, autoencoder, x, resnet)
        return x

    def _residual(self, passes: StripPasses, autoencoder: Any, x: Any, block: Any) -> Any:
        _check(autoencoder, block, ResnetBlock2D)
        if block.time_emb_proj is not None or block.upsample or block.downsample:
            raise unknown(autoencoder, block)
        activation, shortcut = block.nonlinearity, block.conv_shortcut
        return passes.residual(
            x,
            Layer.of(block.conv1, norm=block.norm1, activation=activation),
            Layer.of(block.conv2, norm=block.norm2, activation=activation),
            None if shortcut is None else Summand(x, shortcut, macs=shortcut.weight.numel()),
            scale=block.output_scale_factor,
        )

    def _last(
        self, passes: StripPasses, autoencoder: Any, x: Any, network: Any, after: Any = None
    ) -> Strips:
        norm = network.conv_norm_out
        _check(autoencoder, norm, nn.GroupNorm)
        layer = Layer.of(network.conv_out, norm=norm, activation=network.conv_act, after=after)
        yield from passes.strips(x, layer)
        x.close()


def _attention(block: Any) -> Attention:
    return Attention(
        norm=block.group_norm,
        query=block.to_q,
        key=block.to_k,
        value=block.to_v,
        out=block.to_out[0],
        channels=block.to_k.out_features,
        heads=block.heads,
        scale=block.rescale_output_factor,
    )


def _check(autoencoder: Any, layer: Any, *known: type) -> None:
    if not isinstance(layer, known):
        raise unknown(autoencoder, layer)
