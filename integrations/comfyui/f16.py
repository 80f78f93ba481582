"""F=16 autoencoders of diffusion4k in the role of ComfyUI's `VAE` object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .strips import decode, encode

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["F16Model", "F16Vae", "autoencoder_folders"]

_BUNDLED = "pocket"
_KINDS = ("vae", "diffusers")
"""ComfyUI's kinds of model that such folders are looked for among."""


class F16Model(nn.Module):
    """Holds a diffusers autoencoder: ComfyUI sets `device` on a model, and diffusers forbids it."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder


class F16Vae:
    """What ComfyUI's nodes ask of a `VAE`, decoding and encoding in strips at F=16.

    Args:
        folder: that of an autoencoder in diffusers' layout, or the name of a bundled one.
    """

    latent_dim = 2
    output_channels = 3
    downscale_ratio = upscale_ratio = 16
    working_dtypes = (torch.bfloat16, torch.float32)

    def __init__(self, folder: str) -> None:
        import comfy.model_management as management
        import comfy.model_patcher

        from diffusion4k.vae import load_autoencoder

        self.device = management.vae_device()
        self.output_device = management.intermediate_device()
        self.vae_dtype = management.vae_dtype(self.device, list(self.working_dtypes))
        autoencoder = load_autoencoder(folder, self.vae_dtype).eval()
        self.latent_channels = autoencoder.config.latent_channels
        self.first_stage_model = F16Model(autoencoder)
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.first_stage_model,
            load_device=self.device,
            offload_device=management.vae_offload_device(),
        )

    def process_input(self, images: Tensor) -> Tensor:
        """[0, 1] to [-1, 1]."""
        return 2 * images - 1

    def process_output(self, images: Tensor) -> Tensor:
        """[-1, 1] to [0, 1]."""
        return ((images + 1) / 2).clamp(0, 1)

    def decode(self, samples: Tensor, *_: Any, **__: Any) -> Tensor:
        """Images `(B, 16 h, 16 w, 3)`; options of tiles and of video mean nothing here."""
        return decode(self, samples)

    def encode(self, pixels: Tensor, *_: Any, **__: Any) -> Tensor:
        """Latents `(B, C, H/16, W/16)`."""
        return encode(self, pixels)

    decode_tiled = decode
    encode_tiled = encode

    # ComfyUI's own spelling.
    def spacial_compression_decode(self) -> int:
        """Pixels a side of one latent."""
        return self.upscale_ratio

    def spacial_compression_encode(self) -> int:
        """Pixels a side of one latent."""
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        """It is no autoencoder of video."""

    def throw_exception_if_invalid(self) -> None:
        """One that could be loaded is valid."""

    def get_sd(self) -> dict[str, Tensor]:
        """The weights under diffusers' names."""
        return self.first_stage_model.autoencoder.state_dict()


def autoencoder_folders() -> dict[str, str]:
    """Folders of autoencoders by the names that ComfyUI shows, the bundled one last."""
    import folder_paths

    found = {}
    for kind in _KINDS:
        for root in map(Path, folder_paths.get_folder_paths(kind)):
            for pattern in ("*/config.json", "*/vae/config.json"):
                for config in sorted(root.glob(pattern)):
                    folder = config.parent
                    found[f"{kind}/{folder.relative_to(root).as_posix()}"] = str(folder)
    return {**found, _BUNDLED: _BUNDLED}
