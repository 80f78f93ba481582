"""`AutoencoderKLWan`, `AutoencoderKLQwenImage` and `AutoencoderKLQwenImage21`, at one frame.

They are made for videos: convolutions are causal in time, padded with two frames of zeros before
the first one, so that of a single frame only the last of their three taps sees anything: they are
convolutions of the picture. What resamples time leaves the first frame alone. Norms are RMS norms
of each pixel; one attention at the lowest level looks at all pixels.

Wan 2.2's and Qwen-Image 2.1's have residual blocks, whose input is added to their output, and may
work on patches of the picture.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from diffusers.models.autoencoders import autoencoder_kl_qwenimage as qwen
from diffusers.models.autoencoders import autoencoder_kl_qwenimage21 as qwen21
from diffusers.models.autoencoders import autoencoder_kl_wan as wan
from torch import Tensor, nn

from diffusion4k.vae.layer import Before, Layer, PixelStep, Rows, Summand
from diffusion4k.vae.layouts.base import Layout, Strips, rms_norm, unknown
from diffusion4k.vae.strips import Attention, StripPasses
from diffusion4k.vae.subpixel import fold_upsample

__all__ = ["CausalLayout"]

_RESIDUAL = wan.WanResidualBlock, qwen.QwenImageResidualBlock, qwen21.QwenImage21ResidualBlock
_ATTENTION = wan.WanAttentionBlock, qwen.QwenImageAttentionBlock, qwen21.QwenImage21AttentionBlock
_RESAMPLE = wan.WanResample, qwen.QwenImageResample, qwen21.QwenImage21Resample
_UP = wan.WanUpBlock, qwen.QwenImageUpBlock, qwen21.QwenImage21UpBlock
_UP_RESIDUAL = wan.WanResidualUpBlock, qwen21.QwenImage21ResidualUpBlock
_DOWN_RESIDUAL = wan.WanResidualDownBlock, qwen21.QwenImage21ResidualDownBlock
_EPS = 1e-24  # `F.normalize` divides by at least 1e-12


class CausalLayout(Layout):
    """The layers of Wan's autoencoder."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (
        wan.AutoencoderKLWan,
        qwen.AutoencoderKLQwenImage,
        qwen21.AutoencoderKLQwenImage21,
    )
    has_frames = True

    def factor(self, autoencoder: Any) -> int:
        return int(2 ** len(autoencoder.config.temperal_downsample) * _patch(autoencoder))

    def latent_channels(self, autoencoder: Any) -> int:
        return int(autoencoder.config.z_dim)

    def image_channels(self, autoencoder: Any) -> int:
        return int(autoencoder.encoder.conv_in.in_channels // _patch(autoencoder) ** 2)

    def decode(self, passes: StripPasses, autoencoder: Any, latents: Any) -> Strips:
        decoder = autoencoder.decoder
        x = passes.convolve(latents, _layer(autoencoder.post_quant_conv))
        x = passes.convolve(x, _layer(decoder.conv_in))
        x = self._middle(passes, autoencoder, x, decoder.mid_block)
        for block in decoder.up_blocks:
            if isinstance(block, _UP_RESIDUAL):
                # Without upsampling there is no shortcut either.
                resampler = [] if block.upsampler is None else [block.upsampler]
                shortcut = _repeated(block.avg_shortcut) if resampler else None
            elif isinstance(block, _UP):
                resampler, shortcut = block.upsamplers or [], None
            else:
                raise unknown(autoencoder, block)
            x = self._stage(passes, autoencoder, x, [*block.resnets, *resampler], shortcut)
        patch = _patch(autoencoder)

        def after(strip: Tensor) -> Tensor:
            return wan.unpatchify(strip.unsqueeze(2), patch).squeeze(2).clamp_(-1, 1)

        yield from self._last(passes, x, decoder, after, patch)

    def encode(self, passes: StripPasses, autoencoder: Any, image: Any) -> Strips:
        encoder, patch = autoencoder.encoder, _patch(autoencoder)
        x = passes.convolve(image, _patches(image.channels, patch)) if patch > 1 else image
        x = passes.convolve(x, _layer(encoder.conv_in))
        for block in encoder.down_blocks:
            if isinstance(block, _DOWN_RESIDUAL):
                resampler = [] if block.downsampler is None else [block.downsampler]
                shortcut = _averaged(block.avg_shortcut)
                x = self._stage(passes, autoencoder, x, [*block.resnets, *resampler], shortcut)
            else:
                x = self._stage(passes, autoencoder, x, [block])
        x = self._middle(passes, autoencoder, x, encoder.mid_block)
        yield from self._last(passes, x, encoder, _frame(autoencoder.quant_conv), 1)

    def _stage(
        self,
        passes: StripPasses,
        autoencoder: Any,
        x: Any,
        blocks: Sequence[Any],
        shortcut: dict[str, Any] | None = None,
    ) -> Any:
        """Blocks one after the other; to the last one's output a shortcut of the input is added."""
        entrance, keeps = x, shortcut is not None
        for block in blocks:
            if isinstance(block, _RESIDUAL):
                x = self._residual(passes, x, block, keep=keeps and x is entrance)
            elif isinstance(block, _ATTENTION):
                passes.attend(x, _attention(block))
            elif isinstance(block, _RESAMPLE):
                add = Summand(entrance, **shortcut) if shortcut else None
                x = passes.convolve(x, _resample(autoencoder, block), add)
                shortcut = None
            else:
                raise unknown(autoencoder, block)
        if shortcut is not None:
            x = passes.convolve(x, _same(x.channels), Summand(entrance, **shortcut))
        if keeps:
            entrance.close()
        return x

    def _middle(self, passes: StripPasses, autoencoder: Any, x: Any, block: Any) -> Any:
        blocks = [block.resnets[0]]
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            blocks += [resnet] if attention is None else [attention, resnet]
        return self._stage(passes, autoencoder, x, blocks)

    def _residual(self, passes: StripPasses, x: Any, block: Any, *, keep: bool) -> Any:
        activation, shortcut = block.nonlinearity, None
        if not isinstance(block.conv_shortcut, nn.Identity):
            conv = block.conv_shortcut
            shortcut = Summand(x, _frame(conv), macs=conv.in_channels * conv.out_channels)
        return passes.residual(
            x,
            _layer(block.conv1, pixels=_norm(block.norm1), activation=activation),
            _layer(block.conv2, pixels=_norm(block.norm2), activation=activation),
            shortcut,
            keep=keep,
        )

    def _last(self, passes: StripPasses, x: Any, network: Any, after: Rows, patch: int) -> Strips:
        before = {"pixels": _norm(network.norm_out), "activation": network.nonlinearity}
        yield from passes.strips(x, _layer(network.conv_out, after=after, patch=patch, **before))
        x.close()


def _patch(autoencoder: Any) -> int:
    """Pixels a side of what the first convolution takes for one."""
    return int(getattr(autoencoder.config, "patch_size", None) or 1)


def _layer(conv: Any, *, after: Rows | None = None, patch: int = 1, **before: Any) -> Layer:
    """A causal convolution at one frame, whose output may be patches of pixels."""
    weight, bias = _taps(conv), conv.bias
    channels_out, channels_in, kernel, _ = weight.shape

    def run(strip: Tensor) -> Tensor:
        made = F.conv2d(strip, weight, bias)
        return made if after is None else after(made)

    return Layer(
        run=run,
        kernel=kernel,
        stride=1,
        pads=(conv._padding[0], conv._padding[1]),
        channels_in=channels_in,
        channels_out=channels_out // patch**2,
        macs=weight.numel(),
        outputs_per_step=patch,
        before=Before(**before),
    )


def _taps(conv: Any) -> Tensor:
    """The weights `(O, C, k, k)` that see a single frame."""
    weight: Tensor = conv.weight
    return weight[:, :, -1].contiguous() if weight.ndim == 5 else weight


def _frame(conv: Any) -> Rows:
    """A causal 1x1 convolution of rows."""
    weight, bias = _taps(conv), conv.bias
    return lambda rows: F.conv2d(rows, weight, bias)


def _norm(norm: Any) -> PixelStep:
    bias = norm.bias if isinstance(norm.bias, Tensor) else None
    # Divided by the root of the sum, and multiplied by the root of their number.
    into, _ = rms_norm(_EPS, norm.gamma, bias)
    return into


def _resample(autoencoder: Any, block: Any) -> Layer:
    if block.mode in ("upsample2d", "upsample3d"):
        return Layer.of(fold_upsample(block.resample[1]))
    if block.mode in ("downsample2d", "downsample3d"):
        return Layer.of(block.resample[1], (0, 1))
    raise unknown(autoencoder, block)


def _repeated(shortcut: Any) -> dict[str, Any]:
    """The input of a residual block, repeated to the size of its output."""

    def run(rows: Tensor) -> Tensor:
        repeated: Tensor = shortcut(rows.unsqueeze(2), first_chunk=True)
        return repeated.squeeze(2)

    return {"run": run, "up": shortcut.factor_s}


def _averaged(shortcut: Any) -> dict[str, Any]:
    """The input of a residual block, averaged to the size of its output."""

    def run(rows: Tensor) -> Tensor:
        averaged: Tensor = shortcut(rows.unsqueeze(2))
        return averaged.squeeze(2)

    return {"run": run, "down": shortcut.factor_s}


def _same(channels: int) -> Layer:
    return Layer(lambda rows: rows, 1, 1, (0, 0), channels, channels, macs=0)


def _patches(channels: int, side: int) -> Layer:
    """Squares of pixels become channels."""

    def run(rows: Tensor) -> Tensor:
        patched: Tensor = wan.patchify(rows.unsqueeze(2), side)
        return patched.squeeze(2)

    return Layer(run, side, side, (0, 0), channels, channels * side**2, macs=0)


def _attention(block: Any) -> Attention:
    weights = block.to_qkv.weight.flatten(1).chunk(3)
    biases = block.to_qkv.bias.chunk(3)
    query, key, value = (_linear(*both) for both in zip(weights, biases, strict=True))
    return Attention(
        norm=_norm(block.norm),
        query=query,
        key=key,
        value=value,
        out=_linear(block.proj.weight.flatten(1), block.proj.bias),
        channels=len(weights[0]),
    )


def _linear(weight: Tensor, bias: Tensor) -> Rows:
    return lambda tokens: F.linear(tokens, weight, bias)
