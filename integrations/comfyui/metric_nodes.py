"""Nodes that measure an image without any weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["CompressionRatioOfImage", "GlcmScoreOfImage", "TokenGridRatioOfImage", "as_saved"]


def as_saved(images: Tensor) -> list[NDArray[np.uint8]]:
    """`(B, H, W, C)` in [0, 1] as the RGB arrays that ComfyUI's Save Image writes.

    That node cuts off fractions of a grey value, and so does this: a measured image and the same
    one saved and read back have one value.
    """
    pixels = (255.0 * images[..., :3].cpu().numpy()).clip(0, 255).astype(np.uint8)
    return [np.ascontiguousarray(image) for image in pixels]


class _ImageMetric:
    """One number of a batch of images, for other nodes and for the history of the run."""

    RETURN_TYPES = ("FLOAT",)
    FUNCTION = "run"
    CATEGORY = "image/diffusion4k"
    OUTPUT_NODE = True  # It runs although nothing takes its number.

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks a node for."""
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Tensor, **options: Any) -> dict[str, Any]:
        """The number as ComfyUI passes it on, and as text for its history."""
        value = self.measured(as_saved(images), **options)
        return {"ui": {"text": (f"{value:.4f}",)}, "result": (value,)}

    def measured(self, images: list[NDArray[np.uint8]], **options: Any) -> float:
        """The metric of all images together."""
        raise NotImplementedError


class GlcmScoreOfImage(_ImageMetric):
    """Local detail by co-occurrence of grey levels, the mean over images; noise raises it."""

    RETURN_NAMES = ("glcm_score",)
    DESCRIPTION = __doc__

    def measured(self, images: list[NDArray[np.uint8]]) -> float:
        """The mean GLCM Score in bits."""
        from diffusion4k.metrics import glcm_score

        return float(np.mean([glcm_score(image) for image in images]))


class CompressionRatioOfImage(_ImageMetric):
    """Bytes of the pixels over bytes as JPEG of quality 95: lower means more detail, or noise."""

    RETURN_NAMES = ("compression_ratio",)
    DESCRIPTION = __doc__

    def measured(self, images: list[NDArray[np.uint8]]) -> float:
        """The ratio of the sums over all images."""
        from diffusion4k.metrics.compression import jpeg_bytes

        return sum(image.size for image in images) / sum(map(len, map(jpeg_bytes, images)))


class TokenGridRatioOfImage(_ImageMetric):
    """Steps between pixels at the borders of tokens over steps beside them: 1, no grid."""

    RETURN_NAMES = ("token_grid_ratio",)
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks a node for."""
        tooltip = (
            "Pixels a side of a token: patch size times the autoencoder's factor. 32 at F=16, "
            "16 at F=8."
        )
        period = ("INT", {"default": 32, "min": 16, "max": 1024, "step": 8, "tooltip": tooltip})
        return {"required": {"images": ("IMAGE",), "period": period}}

    def measured(self, images: list[NDArray[np.uint8]], period: int) -> float:
        """The mean token-grid ratio."""
        from diffusion4k.metrics import token_grid_ratio

        return float(np.mean([token_grid_ratio(image, period) for image in images]))
