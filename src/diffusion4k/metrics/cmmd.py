r"""CMMD: the kernel distance of two sets of CLIP embeddings.

    CMMD = 1000 (mean k(x, x') + mean k(y, y') - 2 mean k(x, y))
    k(a, b) = exp(-|a - b|^2 / (2 s^2))

with s = 10 and all pairs in the means, a picture with itself included (the biased estimator, as the
authors use it). Embeddings of length one of openai/clip-vit-large-patch14-336; a picture is cut to
its central square and resized to 336x336 (Pillow, bicubic). It assumes no Gaussians, and a few
hundred pictures give a stable value; at 336 pixels the detail of a 4K picture does not count.

Source: Jayasumana et al., Rethinking FID, arXiv 2401.09603, and their code.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.config.types import Section, Text
from diffusion4k.metrics.clip import Clip, crop_then_resize
from diffusion4k.metrics.measure import (
    Column,
    Distance,
    Features,
    Found,
    Measure,
    MeasureSetup,
    check_pair,
    stacked,
)
from diffusion4k.metrics.picture import MeasuredImage

__all__ = ["CmmdMeasure", "cmmd", "cmmd_of_folders"]

_SIGMA = 10
_TIMES = 1000
_ROWS = 1024  # a block of the kernel matrix, so that memory grows with the pictures, not squared


def cmmd(embeddings_a: ArrayLike, embeddings_b: ArrayLike) -> float:
    """CMMD of embeddings `(N_a, D)` and `(N_b, D)`, each row of length one; 0 for equal sets.

    Raises:
        Diffusion4kError: shapes that do not fit, or values that are not finite.
    """
    a, b = np.asarray(embeddings_a, np.float64), np.asarray(embeddings_b, np.float64)
    check_pair(a, b, 1)
    return _TIMES * (_mean_kernel(a, a) + _mean_kernel(b, b) - 2 * _mean_kernel(a, b))


def cmmd_of_folders(a: Features, b: Features) -> float:
    """CMMD of two folders."""
    return cmmd(stacked(a), stacked(b))


class CmmdSection(Section):
    """Weights of CMMD."""

    cmmd_clip: Text | None = None
    """openai/clip-vit-large-patch14-336."""


class CmmdMeasure(Measure):
    """CLIP's embedding of each picture, for CMMD."""

    name = "cmmd"
    columns: tuple[Column, ...] = (
        Distance("cmmd", "CMMD", "lower", 3, features="cmmd", distance=cmmd_of_folders),
    )
    position = 140
    section = CmmdSection

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self.protocol = f"CMMD, central square at {clip.side}, weights {clip.fingerprint()}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "CmmdMeasure":
        """By the model that `cmmd_clip` names."""
        return cls(setup.once(Clip, setup.weights("cmmd_clip"), setup.device, texts=False))

    def __call__(self, picture: MeasuredImage) -> Found:
        embedding = self._clip.embed(picture.pil, crop_then_resize)
        return Found(features={"cmmd": embedding.numpy()[None]})


def _mean_kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    lengths = np.square(b).sum(1)
    total = 0.0
    for top in range(0, len(a), _ROWS):
        rows = a[top : top + _ROWS]
        distances = np.square(rows).sum(1)[:, None] + lengths - 2 * rows @ b.T
        total += float(np.exp(-distances / (2 * _SIGMA**2)).sum())
    return total / (len(a) * len(b))
