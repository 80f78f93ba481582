"""Nodes of diffusion4k for ComfyUI: copy or link this folder into ComfyUI's `custom_nodes`.

`diffusion4k` itself must be installed for the Python that runs ComfyUI.
"""

from importlib.util import find_spec

if find_spec("diffusion4k") is None:
    raise ImportError(
        "the nodes of diffusion4k need the package diffusion4k: install it for the Python that "
        "runs ComfyUI, with 'pip install' and the folder of its repository"
    )

from .autoencoder_nodes import DecodeInStrips, EncodeInStrips, LoadF16Autoencoder
from .metric_nodes import CompressionRatioOfImage, GlcmScoreOfImage, TokenGridRatioOfImage

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

NODE_CLASS_MAPPINGS = {
    "Diffusion4KDecodeInStrips": DecodeInStrips,
    "Diffusion4KEncodeInStrips": EncodeInStrips,
    "Diffusion4KLoadF16Autoencoder": LoadF16Autoencoder,
    "Diffusion4KGlcmScore": GlcmScoreOfImage,
    "Diffusion4KCompressionRatio": CompressionRatioOfImage,
    "Diffusion4KTokenGridRatio": TokenGridRatioOfImage,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "Diffusion4KDecodeInStrips": "VAE Decode (in strips)",
    "Diffusion4KEncodeInStrips": "VAE Encode (in strips)",
    "Diffusion4KLoadF16Autoencoder": "Load F=16 Autoencoder",
    "Diffusion4KGlcmScore": "GLCM Score",
    "Diffusion4KCompressionRatio": "Compression Ratio",
    "Diffusion4KTokenGridRatio": "Token-grid Ratio",
}
