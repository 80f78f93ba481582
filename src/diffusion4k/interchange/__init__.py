"""Weights in the layouts of other programs: what `diffusion4k export` writes and reads."""

from diffusion4k.interchange.export import export_part
from diffusion4k.interchange.source import Part

__all__ = ["Part", "export_part"]
