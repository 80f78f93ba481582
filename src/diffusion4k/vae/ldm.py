"""Autoencoders built as latent diffusion's code and ComfyUI build them, as stock diffusers ones.

Their modules are `encoder.down.N.block.M`, `mid.attn_1`, `decoder.up.N.block.M` and so on, and
attention is made of 1x1 convolutions. The mathematics is that of `AutoencoderKL`: `from_ldm` gives
one that shares the weights, so that whatever takes a stock autoencoder takes these.
"""

from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from diffusion4k.errors import UsageError

__all__ = ["from_ldm"]

_EPS = 1e-6
"""Of every group norm in an `AutoencoderKL`."""


def from_ldm(autoencoder: nn.Module) -> AutoencoderKL:
    """`autoencoder` under diffusers' names; both share their weights in memory.

    Args:
        autoencoder: a module with `encoder` and `decoder` of the LDM layout, and `quant_conv` and
            `post_quant_conv` or neither.

    Raises:
        UsageError: it has parts that a stock `AutoencoderKL` does not have, or lacks some.
    """
    weights = autoencoder.state_dict()
    name = type(autoencoder).__name__
    if "encoder.down.0.block.0.conv1.weight" not in weights or not hasattr(
        getattr(autoencoder, "decoder", None), "up"
    ):
        raise UsageError(
            f"{name}: not an image autoencoder of the LDM layout (encoder.down.N.block.M, "
            "decoder.up.N.block.M), as Stable Diffusion and FLUX.1 have it"
        )
    _check_behaviour(autoencoder)
    config = _config(autoencoder, weights)
    converted = convert_ldm_vae_checkpoint(weights, config)
    with torch.device("meta"):
        stock = AutoencoderKL(**config)
    found, wanted = (
        {key: tuple(weight.shape) for key, weight in each.items()}
        for each in (converted, stock.state_dict())
    )
    odd = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
    # The converter leaves out some of what it does not know, and keeps the names of the rest.
    if odd or len(converted) != len(weights):
        raise UsageError(
            f"{name}: some of its {len(weights)} weights fit no layer of a stock AutoencoderKL, or "
            f"a layer has none{f', such as {odd[0]}' if odd else ''}: attention outside of the "
            "middle, convolutions in time, or layers of other sizes"
        )
    stock.load_state_dict(converted, assign=True)
    return stock.eval()


def _config(autoencoder: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the stock class, by the modules' sizes."""
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    levels = tuple(level.block[-1].conv2.out_channels for level in encoder.down)
    return {
        "in_channels": encoder.conv_in.in_channels,
        "out_channels": decoder.conv_out.out_channels,
        "down_block_types": ("DownEncoderBlock2D",) * len(levels),
        "up_block_types": ("UpDecoderBlock2D",) * len(levels),
        "block_out_channels": levels,
        "layers_per_block": len(encoder.down[0].block),
        "latent_channels": decoder.conv_in.in_channels,
        "norm_num_groups": encoder.norm_out.num_groups,
        "mid_block_add_attention": "decoder.mid.attn_1.q.weight" in weights,
        "use_quant_conv": "quant_conv.weight" in weights,
        "use_post_quant_conv": "post_quant_conv.weight" in weights,
    }


def _check_behaviour(autoencoder: Any) -> None:
    """Refuse what is computed otherwise with weights of the same names."""
    name = type(autoencoder).__name__
    for option in ("tanh_out", "give_pre_end"):
        if getattr(autoencoder.decoder, option, False):
            raise UsageError(f"{name}: a decoder with {option} is no stock AutoencoderKL")
    norms = [part for part in autoencoder.modules() if isinstance(part, nn.GroupNorm)]
    kinds = {(norm.num_groups, norm.eps) for norm in norms}
    if len(kinds) != 1 or next(iter(kinds))[1] != _EPS:
        raise UsageError(
            f"{name}: group norms of (groups, eps) {sorted(kinds)}: a stock AutoencoderKL has one "
            f"number of groups, and eps {_EPS:g}"
        )
