"""Nodes that decode and encode in strips, and one that loads an autoencoder at F=16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .f16 import F16Vae, autoencoder_folders
from .strips import FACTORS, decode, encode

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DecodeInStrips", "EncodeInStrips", "LoadF16Autoencoder"]

_CATEGORY = "latent/diffusion4k"
_FACTOR = (
    list(FACTORS),
    {
        "default": FACTORS[0],
        "tooltip": "Pixels a side of one latent. 16 uses an F=8 autoencoder (SD3, FLUX.1) at F=16 "
        "with its weights as they are, for models fine-tuned at F=16. An autoencoder loaded at "
        "F=16 stays so.",
    },
)
_MEMORY = (
    "FLOAT",
    {
        "default": 1.0,
        "min": 0.0,
        "max": 1024.0,
        "step": 0.25,
        "tooltip": "GiB for feature maps and strips, apart from weights and image; maps that do "
        "not fit stand in a temporary file. 0: no limit, which is fastest.",
    },
)


class DecodeInStrips:
    """Latents to images in bounded memory, with the image of a plain decode: no tiles, no seams."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = _CATEGORY
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks a node for."""
        return {
            "required": {
                "samples": ("LATENT",),
                "vae": ("VAE",),
                "factor": _FACTOR,
                "memory_gib": _MEMORY,
            }
        }

    def run(
        self, samples: dict[str, Any], vae: Any, factor: str, memory_gib: float
    ) -> tuple[Tensor]:
        """Images `(B, H, W, 3)` in [0, 1]."""
        return (decode(vae, samples["samples"], factor, memory_gib),)


class EncodeInStrips:
    """Images to latents in bounded memory, with the latents of a plain encode."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "run"
    CATEGORY = _CATEGORY
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks a node for."""
        return {
            "required": {
                "pixels": ("IMAGE",),
                "vae": ("VAE",),
                "factor": _FACTOR,
                "memory_gib": _MEMORY,
            }
        }

    def run(
        self, pixels: Tensor, vae: Any, factor: str, memory_gib: float
    ) -> tuple[dict[str, Tensor]]:
        """Latents `(B, C, h, w)` as ComfyUI passes them on."""
        return ({"samples": encode(vae, pixels, factor, memory_gib)},)


class LoadF16Autoencoder:
    """An F=16 autoencoder from a folder, for the nodes in strips and ComfyUI's own."""

    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("VAE",)
    FUNCTION = "run"
    CATEGORY = _CATEGORY
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks a node for; the folders are looked up each time."""
        tooltip = (
            "Folders in ComfyUI's models/vae and models/diffusers that hold an autoencoder "
            "in diffusers' layout, and the bundled one. One of F=8 is used at F=16."
        )
        return {"required": {"folder": (list(autoencoder_folders()), {"tooltip": tooltip})}}

    def run(self, folder: str) -> tuple[F16Vae]:
        """The autoencoder as ComfyUI holds one."""
        return (F16Vae(autoencoder_folders()[folder]),)
