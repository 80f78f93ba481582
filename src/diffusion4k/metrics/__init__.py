"""Metrics of 4K images; each lives in its own file and is usable alone."""

from diffusion4k.metrics.compression import compression_ratio
from diffusion4k.metrics.detail import detail_distance
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.glcm import glcm_entropy, glcm_map, glcm_properties, glcm_score
from diffusion4k.metrics.token_grid import token_grid_ratio

__all__ = [
    "compression_ratio",
    "detail_distance",
    "frechet_distance",
    "glcm_entropy",
    "glcm_map",
    "glcm_properties",
    "glcm_score",
    "token_grid_ratio",
]
