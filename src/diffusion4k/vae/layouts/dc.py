"""`AutoencoderDC` (DC-AE, Chen et al., arXiv 2410.10733; Sana's).

At its higher levels there are convolutions, and RMS norms of each pixel. At the lowest three stands
linear attention: with keys and queries behind a ReLU, the output at a pixel is

    sum_j v_j (k_j . q) / sum_j (k_j . q) = (S q)[:d] / (S q)[d]    with S = sum_j [v_j, 1] k_j^T

so that all a pixel has to know of the others is S, a (d + 1) x d matrix for each head: one pass
over strips gathers it, a second one applies it.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import SanaMultiscaleLinearAttention
from diffusers.models.autoencoders.autoencoder_dc import (
    AutoencoderDC,
    DCDownBlock2d,
    DCUpBlock2d,
    EfficientViTBlock,
    ResBlock,
)
from diffusers.models.normalization import RMSNorm
from diffusers.models.transformers.sana_transformer import GLUMBConv
from torch import Tensor, nn

from diffusion4k.vae.layer import Before, Layer, PixelStep, Rows, Summand
from diffusion4k.vae.layouts.base import Layout, Strips, rms_norm, unknown
from diffusion4k.vae.strips import StripPasses
from diffusion4k.vae.subpixel import fold_upsample

__all__ = ["DCLayout"]


class DCLayout(Layout):
    """The layers of `diffusers.models.autoencoders.autoencoder_dc`."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (AutoencoderDC,)
    has_posterior = False

    def factor(self, autoencoder: Any) -> int:
        return int(2 ** (len(autoencoder.config.encoder_block_out_channels) - 1))

    def latent_channels(self, autoencoder: Any) -> int:
        return int(autoencoder.config.latent_channels)

    def image_channels(self, autoencoder: Any) -> int:
        return int(autoencoder.config.in_channels)

    def decode(self, passes: StripPasses, autoencoder: Any, latents: Any) -> Strips:
        decoder, add = autoencoder.decoder, None
        if decoder.in_shortcut:
            repeats = decoder.in_shortcut_repeats
            add = Summand(latents, lambda rows: rows.repeat_interleave(repeats, dim=1))
        x = passes.convolve(latents, Layer.of(decoder.conv_in), add)
        for stage in reversed(decoder.up_blocks):
            for block in stage:
                x = self._block(passes, autoencoder, x, block)
        before = {"pixels": _norm_before(decoder.norm_out), "activation": decoder.conv_act}
        last = decoder.conv_out
        layer = _up(last, **before) if isinstance(last, DCUpBlock2d) else Layer.of(last, **before)
        yield from passes.strips(x, layer)
        x.close()

    def encode(self, passes: StripPasses, autoencoder: Any, image: Any) -> Strips:
        encoder, add = autoencoder.encoder, None
        first = encoder.conv_in
        layer = _down(first) if isinstance(first, DCDownBlock2d) else Layer.of(first)
        x = passes.convolve(image, layer)
        for stage in encoder.down_blocks:
            for block in stage:
                x = self._block(passes, autoencoder, x, block)
        if encoder.out_shortcut:
            add = Summand(x, _averaged(encoder.out_shortcut_average_group_size))
        yield from passes.strips(x, Layer.of(encoder.conv_out), add)
        x.close()

    def _block(self, passes: StripPasses, autoencoder: Any, x: Any, block: Any) -> Any:
        if isinstance(block, ResBlock):
            after = _norm_after(autoencoder, block.norm)
            second = Layer.of(block.conv2, activation=block.nonlinearity, after=after)
            return passes.residual(x, Layer.of(block.conv1), second)
        if isinstance(block, EfficientViTBlock):
            return _gated(passes, _attend(passes, autoencoder, x, block.attn), block.conv_out)
        if isinstance(block, DCUpBlock2d):
            add = Summand(x, _repeated(block.repeats), up=2) if block.shortcut else None
            return passes.convolve(x, _up(block), add)
        if isinstance(block, DCDownBlock2d):
            add = Summand(x, _pooled(block.group_size), down=2) if block.shortcut else None
            return passes.convolve(x, _down(block), add)
        raise unknown(autoencoder, block)


def _up(block: Any, **before: Any) -> Layer:
    """Twice the size, without the shortcut."""
    conv = block.conv
    if block.interpolate and block.interpolation_mode == "nearest":
        return Layer.of(fold_upsample(conv), **before)
    return Layer(
        run=lambda strip: F.pixel_shuffle(F.conv2d(strip, conv.weight, conv.bias), 2),
        kernel=3,
        stride=1,
        pads=(1, 1),
        channels_in=conv.in_channels,
        channels_out=conv.out_channels // 4,
        macs=conv.weight.numel(),
        outputs_per_step=2,
        before=Before(**before),
    )


def _down(block: Any) -> Layer:
    """Half the size, without the shortcut."""
    conv = block.conv
    if not block.downsample:
        return Layer.of(conv)
    # At each of the four pixels that become channels of one.
    return Layer(
        run=lambda strip: F.pixel_unshuffle(F.conv2d(strip, conv.weight, conv.bias), 2),
        kernel=4,
        stride=2,
        pads=(1, 1),
        channels_in=conv.in_channels,
        channels_out=4 * conv.out_channels,
        macs=4 * conv.weight.numel(),
    )


def _repeated(repeats: int) -> Rows:
    return lambda rows: F.pixel_shuffle(rows.repeat_interleave(repeats, dim=1), 2)


def _averaged(size: int) -> Rows:
    """The mean of groups of so many channels."""
    return lambda rows: rows.unflatten(1, (-1, size)).mean(dim=2)


def _pooled(size: int) -> Rows:
    average = _averaged(size)
    return lambda rows: average(F.pixel_unshuffle(rows, 2))


def _norm_before(norm: Any) -> PixelStep:
    into, _ = rms_norm(norm.eps, norm.weight, norm.bias)
    return into


def _norm_after(autoencoder: Any, norm: Any) -> Rows:
    if isinstance(norm, RMSNorm):
        _, in_place = rms_norm(norm.eps, norm.weight, norm.bias)
        return in_place
    if isinstance(norm, nn.BatchNorm2d) and not norm.training:
        return norm
    raise unknown(autoencoder, norm)


def _gated(passes: StripPasses, x: Any, block: GLUMBConv) -> Any:
    """A gated convolution of each channel, between 1x1 convolutions; and its input."""
    wide, narrow = block.conv_depth.out_channels, block.conv_point.in_channels
    _, norm = rms_norm(block.norm.eps, block.norm.weight, block.norm.bias)

    def before(rows: Tensor, out: Tensor) -> None:
        out.copy_(F.silu(block.conv_inverted(rows), inplace=True))

    def run(strip: Tensor) -> Tensor:
        depth = block.conv_depth
        both = F.conv2d(strip, depth.weight, depth.bias, groups=wide)
        hidden, gate = both.split(narrow, dim=1)
        return norm(block.conv_point(hidden.mul_(F.silu(gate))))

    channels = x.channels
    layer = Layer(
        run=run,
        kernel=3,
        stride=1,
        pads=(1, 1),
        channels_in=wide,
        channels_out=channels,
        macs=9 * wide + narrow * channels,
        working=wide + narrow,
        before=Before(pixels=before, macs=channels * wide),
    )
    return passes.convolve(x, layer, Summand(x))


def _attend(passes: StripPasses, autoencoder: Any, x: Any, attention: Any) -> Any:
    """Linear attention over all pixels, and its input."""
    if not isinstance(attention, SanaMultiscaleLinearAttention):
        raise unknown(autoencoder, attention)
    size, scales = attention.attention_head_dim, attention.to_qkv_multiscale
    inner = attention.to_q.out_features
    kernel = max((scale.proj_in.kernel_size[0] for scale in scales), default=1)
    channels = 3 * inner * (1 + len(scales))
    heads = channels // (3 * size)
    norm = _norm_after(autoencoder, attention.norm_out)

    def before(rows: Tensor, out: Tensor) -> None:
        tokens, parts = rows.movedim(1, -1), out.movedim(1, -1).split(inner, dim=-1)
        linears = attention.to_q, attention.to_k, attention.to_v
        for part, linear in zip(parts, linears, strict=True):
            part.copy_(linear(tokens))

    def project(strip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `(heads, pixels, size)` of what `before` has made."""
        found = [_cropped(strip, kernel // 2)]
        for scale in scales:
            depth = scale.proj_in
            near = _cropped(strip, (kernel - depth.kernel_size[0]) // 2)
            near = F.conv2d(near, depth.weight, groups=3 * inner)
            found.append(scale.proj_out(near))
        tokens = torch.cat(found, dim=1).movedim(1, -1).reshape(-1, heads, 3 * size)
        query, key, value = tokens.float().transpose(0, 1).chunk(3, dim=-1)
        return query.relu(), key.relu(), value

    def gather(strip: Tensor) -> Tensor:
        _, key, value = project(strip)
        return F.pad(value, (0, 1), value=1).transpose(1, 2) @ key

    total: Any = 0.0

    def apply(strip: Tensor) -> Tensor:
        query, _, _ = project(strip)
        found = query @ total.transpose(1, 2)
        found = found[..., :-1] / (found[..., -1:] + attention.eps)
        rows, columns = (side - kernel + 1 for side in strip.shape[-2:])
        found = found.transpose(0, 1).reshape(1, rows, columns, -1).to(strip.dtype)
        return norm(attention.to_out(found).movedim(-1, 1))

    projected = len(scales) * 3 * inner * (kernel**2 + size)
    pads = kernel // 2, kernel // 2
    layer = Layer(
        run=gather,
        kernel=kernel,
        stride=1,
        pads=pads,
        channels_in=3 * inner,
        channels_out=0,
        macs=projected + heads * size * (size + 1),
        working=3 * channels,
        before=Before(pixels=before, macs=3 * inner * x.channels),
    )
    for _, strip in passes.strips(x, layer):
        total = total + strip
    macs = layer.macs + attention.to_out.in_features * attention.to_out.out_features
    layer = replace(layer, run=apply, channels_out=x.channels, macs=macs)
    return passes.convolve(x, layer, Summand(x) if attention.residual_connection else None)


def _cropped(strip: Tensor, border: int) -> Tensor:
    return strip[..., border : strip.shape[-2] - border, border : strip.shape[-1] - border]
