"""Decoding and encoding in strips, switched on in any stock diffusers pipeline, and off again."""

from collections.abc import Callable
from types import MethodType
from typing import Any

from diffusers.models.autoencoders.vae import DecoderOutput, EncoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from diffusion4k.errors import UsageError
from diffusion4k.vae.layouts import layout_of
from diffusion4k.vae.lean import lean_decode, lean_encode, parse_memory

__all__ = ["disable_strips", "enable_strips"]


def enable_strips(pipeline: Any, max_memory: int | str | None = None) -> Any:
    """Let a pipeline's autoencoder decode and encode strip by strip, with the plain result.

    It replaces `decode` and `encode` of `pipeline.vae` until `disable_strips`; tiling and slicing
    have no effect meanwhile. Gradients do not reach the autoencoder's input.

    Args:
        pipeline: any diffusers pipeline with an autoencoder that `lean_decode` knows.
        max_memory: bytes or a size like `"4GiB"` for feature maps and strips; `None`: no limit.

    Returns:
        The pipeline itself.

    Raises:
        UsageError: no such autoencoder, or not a size.
    """
    autoencoder = _autoencoder(pipeline)
    layout_of(autoencoder)
    budget = parse_memory(max_memory, "max_memory")
    for name, method in (("decode", _decode(budget)), ("encode", _encode(budget))):
        setattr(autoencoder, name, MethodType(method, autoencoder))
    return pipeline


def disable_strips(pipeline: Any) -> Any:
    """Undo `enable_strips`; without it nothing happens.

    Returns:
        The pipeline itself.

    Raises:
        UsageError: a pipeline without an autoencoder.
    """
    autoencoder = _autoencoder(pipeline)
    for name in ("decode", "encode"):
        vars(autoencoder).pop(name, None)
    return pipeline


def _autoencoder(pipeline: Any) -> Any:
    autoencoder = getattr(pipeline, "vae", None)
    if autoencoder is None:
        raise UsageError(f"{type(pipeline).__name__}: has no autoencoder `vae` to run in strips")
    return autoencoder


def _decode(budget: int | None) -> Callable[..., Any]:
    # Offloading moves the autoencoder to the device when this is called, as it does for the stock
    # method.
    @apply_forward_hook
    def decode(self: Any, z: Tensor, return_dict: bool = True, **_: Any) -> Any:
        sample = lean_decode(self, z, budget)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    return decode


def _encode(budget: int | None) -> Callable[..., Any]:
    @apply_forward_hook
    def encode(self: Any, x: Tensor, return_dict: bool = True) -> Any:
        posterior = lean_encode(self, x, budget)
        if isinstance(posterior, IdentityDistribution):
            latents = posterior.mode()
            return EncoderOutput(latent=latents) if return_dict else (latents,)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    return encode
