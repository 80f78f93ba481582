"""A linear start for a small `AutoencoderKL`: the best linear codec first, then the network.

A small autoencoder trained from random weights spends hours to reach what a linear transform
coder has for free. All residual branches of diffusers' `AutoencoderKL` end in a convolution; with
that convolution at zero the network is a chain of convolutions, up to its two last group norms
(before `conv_out` of encoder and decoder). This module

1. sets the branches to zero and trains the remaining linear chain alone (it is tiny and fast), and
2. makes the two group norms linear too, so that the full network starts exactly as good:
   a feature x enters the norm as the pair (x, -x), with a constant pair (K, -K) beside it.
   The group's mean is then exactly zero and its variance all but constant (K carries it), and as
   silu(a) - silu(-a) = a, the convolution behind it reads x back.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

__all__ = ["LinearCodec", "zero_residual_branches"]

CARRIER = 8.0


def zero_residual_branches(vae: AutoencoderKL) -> None:
    """Set the last layer of every residual branch and attention to zero, in place."""
    for part in (vae.encoder, vae.decoder):
        for module in part.modules():
            name = type(module).__name__
            if name == "ResnetBlock2D":
                nn.init.zeros_(module.conv2.weight)
                nn.init.zeros_(module.conv2.bias)
            elif name == "Attention":
                nn.init.zeros_(module.to_out[0].weight)
                nn.init.zeros_(module.to_out[0].bias)


class _PairedNorm(nn.Module):
    """Where pairs and carriers of `features` features lie among `channels` in `groups` groups."""

    def __init__(self, channels: int, groups: int, features: int) -> None:
        super().__init__()
        size = channels // groups
        per_group = size // 2 - 1  # the last pair of a group is its carrier
        if features > groups * per_group:
            raise ValueError(f"{features} features do not fit {channels} channels")
        index = torch.arange(features)
        plus = (index // per_group) * size + 2 * (index % per_group)
        # Groups that hold fewer features carry more constants; each is scaled by itself.
        carriers = torch.zeros(channels)
        pairs = torch.arange(0, channels, 2)
        free = pairs[~torch.isin(pairs, plus)]
        carriers[free], carriers[free + 1] = CARRIER, -CARRIER
        variance = carriers.view(groups, size).pow(2).mean(1)
        # Buffers go to a GPU with the module; what follows from its sizes is not stored.
        self.register_buffer("plus", plus, persistent=False)
        self.register_buffer("carriers", carriers, persistent=False)
        self.register_buffer("scale", variance.sqrt().repeat_interleave(size), persistent=False)


class LinearCodec(nn.Module):
    """The linear chain inside a zeroed `AutoencoderKL`, with an own last layer on each side."""

    def __init__(self, vae: AutoencoderKL, latent_channels: int = 16) -> None:
        super().__init__()
        groups = vae.config.norm_num_groups
        first, last = vae.config.block_out_channels[0], vae.config.block_out_channels[-1]
        # Rounded so that groups hold equally many features.
        self.encoder_features = groups * (last // groups // 2 - 1)
        self.decoder_features = groups * (first // groups // 2 - 1)
        self.vae = vae
        self.encoder_pairs = _PairedNorm(last, groups, self.encoder_features)
        self.decoder_pairs = _PairedNorm(first, groups, self.decoder_features)
        self.encoder_tail = nn.Conv2d(last, self.encoder_features, 1)
        self.encoder_out = nn.Conv2d(self.encoder_features, latent_channels, 3, padding=1)
        self.decoder_tail = nn.Conv2d(first, self.decoder_features, 1)
        self.decoder_out = nn.Conv2d(self.decoder_features, 3, 3, padding=1)

    def encode(self, images: Tensor, stride: int = 1) -> Tensor:
        return self.encoder_out(self.encoder_tail(self._encoder_features(images, stride)))

    def decode(self, latents: Tensor, stride: int = 1) -> Tensor:
        decoder = self.vae.decoder
        x = decoder.conv_in(latents)
        for block in decoder.up_blocks:
            x = _through(block.resnets, x)
            for up in block.upsamplers or ():
                x = up(x)
        x = self.decoder_tail(x)
        if stride == 2:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.decoder_out(x)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Start as a Haar pyramid cut to its principal components, decoded by plain enlarging.

        Default weights would shrink the signal at each of the sixteen layers of the chain.
        `images` `(B, 3, H, W)` give the components. On the CPU: move the codec afterwards.
        """
        encoder, decoder = self.vae.encoder, self.vae.decoder
        _delta(encoder.conv_in)
        channels = 3
        for block in encoder.down_blocks:
            _shortcuts_as_identity(block)
            for down in block.downsamplers or ():
                channels = _haar(down.conv, channels)
        _delta(self.encoder_tail)
        features = self._encoder_features(images).transpose(0, 1).flatten(1)
        vectors = torch.linalg.eigh(torch.cov(features))[1].flip(1)
        self.encoder_tail.weight.copy_(vectors.T[: self.encoder_features, :, None, None])
        _delta(self.encoder_out)
        _delta(decoder.conv_in)
        for block in decoder.up_blocks:
            _shortcuts_as_identity(block)
            for up in block.upsamplers or ():
                _delta(up.conv)
        _delta(self.decoder_tail)
        _delta(self.decoder_out)

    def _encoder_features(self, images: Tensor, stride: int = 1) -> Tensor:
        encoder = self.vae.encoder
        x = F.conv2d(images, encoder.conv_in.weight, encoder.conv_in.bias, stride, 1)
        for block in encoder.down_blocks:
            x = _through(block.resnets, x)
            for down in block.downsamplers or ():
                x = down(x)
        return x

    @torch.no_grad()
    def install(self) -> AutoencoderKL:
        """Write the chain into the autoencoder; its own forward then equals this one's closely."""
        encoder, decoder = self.vae.encoder, self.vae.decoder
        # No free linear layer stands before the encoder's norm but the last downsampling one.
        down = [b for b in encoder.down_blocks if b.downsamplers][-1].downsamplers[0].conv
        weight = torch.einsum("fc,cikl->fikl", self.encoder_tail.weight[:, :, 0, 0], down.weight)
        bias = self.encoder_tail.weight[:, :, 0, 0] @ down.bias + self.encoder_tail.bias
        _write_pairs(self.encoder_pairs, weight, bias, down)
        moments = encoder.conv_out
        channels = moments.weight.shape[0] // 2
        nn.init.zeros_(moments.weight)
        nn.init.zeros_(moments.bias)
        moments.weight[:channels] = _read_pairs(self.encoder_pairs, self.encoder_out.weight)
        moments.bias[:channels] = self.encoder_out.bias
        moments.bias[channels:] = -8.0  # log-variance: a nearly deterministic posterior
        encoder.conv_norm_out.weight.copy_(self.encoder_pairs.scale)
        nn.init.zeros_(encoder.conv_norm_out.bias)

        shortcut = decoder.up_blocks[-1].resnets[0].conv_shortcut
        tail = self.decoder_tail.weight[:, :, 0, 0]
        weight = torch.einsum("fc,cikl->fikl", tail, shortcut.weight)
        _write_pairs(
            self.decoder_pairs, weight, tail @ shortcut.bias + self.decoder_tail.bias, shortcut
        )
        decoder.conv_out.weight.copy_(_read_pairs(self.decoder_pairs, self.decoder_out.weight))
        decoder.conv_out.bias.copy_(self.decoder_out.bias)
        decoder.conv_norm_out.weight.copy_(self.decoder_pairs.scale)
        nn.init.zeros_(decoder.conv_norm_out.bias)
        return self.vae


def _delta(conv: nn.Conv2d) -> None:
    """Identity at the centre tap, with a little noise so that unused channels can wake up."""
    fan_in = conv.weight[0].numel()
    nn.init.normal_(conv.weight, std=0.3 / fan_in**0.5)
    nn.init.zeros_(conv.bias)
    rows, columns, *size = conv.weight.shape
    centre = conv.weight[:, :, size[0] // 2, size[1] // 2]
    centre += torch.eye(rows, columns)


def _shortcuts_as_identity(block: nn.Module) -> None:
    for resnet in block.resnets:
        if resnet.conv_shortcut is not None:
            _delta(resnet.conv_shortcut)


def _haar(conv: nn.Conv2d, channels: int) -> int:
    """One Haar level in a stride-2 convolution; as many sub-bands as fit. Channels now in use."""
    nn.init.normal_(conv.weight, std=0.02 / conv.weight[0].numel() ** 0.5)
    nn.init.zeros_(conv.bias)
    signs = torch.tensor(
        [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
    )
    bands = [(channel, 0) for channel in range(channels)]
    bands += [(channel, band) for channel in range(channels) for band in (1, 2, 3)]
    bands = bands[: conv.weight.shape[0]]
    for row, (channel, band) in enumerate(bands):
        conv.weight[row, channel, :2, :2] += signs[band] / 2
    return len(bands)


def _through(resnets: nn.ModuleList, x: Tensor) -> Tensor:
    for resnet in resnets:
        if resnet.conv_shortcut is not None:
            x = resnet.conv_shortcut(x)
    return x


def _write_pairs(pairs: _PairedNorm, weight: Tensor, bias: Tensor, conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight)
    conv.bias.copy_(pairs.carriers)
    conv.weight[pairs.plus], conv.weight[pairs.plus + 1] = weight, -weight
    conv.bias[pairs.plus], conv.bias[pairs.plus + 1] = bias, -bias


def _read_pairs(pairs: _PairedNorm, weight: Tensor) -> Tensor:
    out = weight.new_zeros(weight.shape[0], len(pairs.carriers), *weight.shape[2:])
    out[:, pairs.plus], out[:, pairs.plus + 1] = weight, -weight
    return out
