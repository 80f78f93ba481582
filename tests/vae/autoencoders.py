"""Tiny autoencoders of every class that strips are for, and of every variant of their layers."""

from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
)
from diffusers.models.autoencoders.autoencoder_kl_qwenimage21 import AutoencoderKLQwenImage21
from torch import Tensor, nn

__all__ = ["AUTOENCODERS", "as_stock", "plain_decode", "plain_encode"]

_KL: dict[str, Any] = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
_CAUSAL: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True],
}
_BLOCKS = ("ResBlock",) * 2 + ("EfficientViTBlock",) * 2
_DC: dict[str, Any] = {
    "latent_channels": 4,
    "attention_head_dim": 4,
    "encoder_block_types": _BLOCKS,
    "decoder_block_types": _BLOCKS,
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decoder_block_out_channels": (8, 8, 16, 16),
    "encoder_layers_per_block": (1, 2, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1),
    "encoder_qkv_multiscales": ((), (), (5,), ()),
    "decoder_qkv_multiscales": ((), (), (5,), (3, 5)),
}
_RESIDUAL: dict[str, Any] = {"is_residual": True, "in_channels": 12, "out_channels": 12}
_CONV: dict[str, Any] = {"downsample_block_type": "Conv", "upsample_block_type": "interpolate"}
_SHORT: dict[str, Any] = {"encoder_out_shortcut": False, "decoder_in_shortcut": False}
_FIRST: dict[str, Any] = {
    "encoder_layers_per_block": (0, 1, 1, 1),
    "decoder_layers_per_block": (0, 1, 1, 1),
}
_BATCH: dict[str, Any] = {
    "decoder_norm_types": ("batch_norm", "batch_norm", "rms_norm", "batch_norm"),
    "decoder_act_fns": ("relu", "relu", "silu", "relu"),
}


def _made(plain: nn.Module) -> Any:
    """Norms that do something, and statistics of batch norms that are not 0 and 1."""
    torch.manual_seed(0)
    for module in plain.modules():
        if "norm" in type(module).__name__.lower():
            for name, parameter in module.named_parameters(recurse=False):
                nn.init.normal_(parameter, 0.2 if name == "bias" else 1, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return plain.eval()


AUTOENCODERS: dict[str, Any] = {
    "kl": _made(AutoencoderKL(latent_channels=4, **_KL)),
    "flux2": _made(AutoencoderKLFlux2(latent_channels=8, **_KL)),
    "wan 2.1": _made(AutoencoderKLWan(**_CAUSAL)),
    "wan 2.2": _made(AutoencoderKLWan(**_CAUSAL, **_RESIDUAL, patch_size=2)),
    "qwen": _made(AutoencoderKLQwenImage(**_CAUSAL)),
    "qwen 2.1": _made(AutoencoderKLQwenImage21(**_CAUSAL, decoder_base_dim=12)),
    "dc": _made(AutoencoderDC(**_DC)),
    "dc, convolutions": _made(AutoencoderDC(**_DC, **_CONV, **_SHORT)),
    "dc, no first level": _made(AutoencoderDC(**{**_DC, **_FIRST})),
    "dc, batch norms": _made(AutoencoderDC(**_DC, **_BATCH)),
}
"""By a name of class and variant."""


def as_stock(autoencoder: Any, tensor: Tensor) -> Tensor:
    """With one frame, where the class takes videos."""
    has_frames = hasattr(autoencoder.config, "temperal_downsample")
    return tensor.unsqueeze(2) if has_frames else tensor


@torch.no_grad()
def plain_decode(autoencoder: Any, latents: Tensor) -> Tensor:
    """What the stock class makes of latents `(B, C, h, w)`."""
    return autoencoder.decode(as_stock(autoencoder, latents)).sample


@torch.no_grad()
def plain_encode(autoencoder: Any, images: Tensor) -> Tensor:
    """Moments of the stock class, or its latents."""
    found = autoencoder.encode(as_stock(autoencoder, images))
    return found.latent if "latent" in found else found.latent_dist.parameters
