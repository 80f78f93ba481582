"""Decoding and encoding in strips with an autoencoder as ComfyUI holds it.

What ComfyUI's own nodes do around an autoencoder is done here, too: the weights come to the
device, values to its precision, images from [0, 1] and back. Imports of diffusion4k stand inside
the functions because diffusers takes seconds to import, and ComfyUI starts without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from torch import Tensor

__all__ = ["AS_LOADED", "FACTORS", "GIB", "decode", "encode"]

GIB = 2**30
AS_LOADED = "as loaded"
FACTORS = (AS_LOADED, "16")
"""Pixels a side of one latent: the autoencoder's own, or 16 with the weights of F=8."""


def decode(vae: Any, latents: Tensor, factor: str = AS_LOADED, gib: float = 1.0) -> Tensor:
    """Images `(B, F h, F w, 3)` in [0, 1], as ComfyUI's plain decode gives them.

    Args:
        vae: ComfyUI's object around an autoencoder.
        latents: `(B, C, h, w)`.
        factor: one of `FACTORS`.
        gib: memory for feature maps and strips; 0 for no limit.
    """
    from diffusion4k.vae import decode_strips

    autoencoder = _on_device(vae, factor)
    side = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    height, width = (side * length for length in latents.shape[-2:])
    images = torch.empty((len(latents), height, width, 3), device=vae.output_device)
    for image, single in zip(images, latents.split(1), strict=True):
        single = single.to(vae.device, vae.vae_dtype)
        for top, strip in decode_strips(autoencoder, single, _bytes(gib)):
            pixels = vae.process_output(strip.to(vae.output_device).float())
            image[top : top + strip.shape[2]] = pixels[0].movedim(0, -1)
    return images


def encode(vae: Any, images: Tensor, factor: str = AS_LOADED, gib: float = 1.0) -> Tensor:
    """Latents `(B, C, H/F, W/F)`, as ComfyUI's plain encode gives them: the posterior's mode.

    Sides that are no multiples of F are cropped about the centre, as there.

    Args:
        vae: as for `decode`.
        images: `(B, H, W, 3 or more channels)` in [0, 1].
        factor: one of `FACTORS`.
        gib: memory for feature maps and strips; 0 for no limit.
    """
    from diffusion4k.vae import lean_encode

    autoencoder = _on_device(vae, factor)
    side = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    pixels = _cropped(images[..., :3], side).movedim(-1, 1)
    found = []
    for single in pixels.split(1):
        prepared = vae.process_input(single).to(vae.vae_dtype)
        posterior = lean_encode(autoencoder, prepared, _bytes(gib))
        found.append(posterior.mode().to(vae.output_device).float())
    return torch.cat(found)


def _on_device(vae: Any, factor: str) -> AutoencoderKL:
    """The autoencoder with its weights on the device, under diffusers' names."""
    import comfy.model_management
    from diffusers import AutoencoderKL

    from diffusion4k.errors import UsageError
    from diffusion4k.vae import PartitionedAutoencoderKL
    from diffusion4k.vae.ldm import from_ldm

    model = vae.first_stage_model
    if model is None:
        raise UsageError("the checkpoint that this VAE is from holds no autoencoder")
    # Strips need the weights as they are, not cast layer by layer from another device.
    comfy.model_management.load_models_gpu([vae.patcher], force_full_load=True)
    own = getattr(model, "autoencoder", None)
    stock = own if isinstance(own, AutoencoderKL) else from_ldm(model)
    if factor == AS_LOADED or isinstance(stock, PartitionedAutoencoderKL):
        return stock
    return PartitionedAutoencoderKL.from_autoencoder(stock)


def _bytes(gib: float) -> int | None:
    return int(gib * GIB) or None


def _cropped(images: Tensor, side: int) -> Tensor:
    """`(B, H, W, C)` with sides that are multiples of `side`, cropped about the centre."""
    for axis in (1, 2):
        rest = images.shape[axis] % side
        images = images.narrow(axis, rest // 2, images.shape[axis] - rest)
    return images
