"""Compression: what JPEG has done to a photograph, now or before it was saved again.

- *Blockiness*: median step between neighbouring pixels on the borders of the 8x8 blocks, over that
  elsewhere; of the columns or the rows, whichever is less. 1 without compression; texture hides it.
- *Traced quality*: the IJG quality (1 to 100) whose quantisation the pixels still show, 100 if they
  show none. The DCT coefficients of a picture that was once quantised with step q lie near the
  multiples of q, also after it was decoded and saved again at a high quality. For each of five
  coefficients c of the lowest frequencies, F(q) = mean of cos(2 pi c / q) over the |c| > q/4 is
  near 1 at the true step and its divisors; the largest step with F near its highest value (and that
  above 0.5) is taken, and turned into a quality by IJG's luminance table. The median of those found
  counts if at least three are. The grid may begin anywhere; a picture that was resized shows none.
- *JPEG quality*: of a JPEG file, the IJG quality whose luminance table is nearest to the file's
  own. It is what the file says; a picture may have been through worse before.

Sources: Wang, Sheikh and Bovik, ICIP 2002 (blockiness); Fan and de Queiroz, Identification of
bitmap compression history, IEEE Trans. Image Processing 2003 (traces); ITU-T T.81, annex K (table).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.measures.grid import BLOCK, grid_phase, grid_strength
from diffusion4k.curation.measures.picture import Photograph

__all__ = ["FILE_MEASURES", "MEASURES", "jpeg_quality", "measure"]

MEASURES = {
    "blockiness": "step on the borders of JPEG blocks over the step elsewhere (1 and up; less is "
    "better)",
    "traced_quality": "lowest JPEG quality that the pixels bear traces of (1 to 100; 100 is none)",
}
FILE_MEASURES = {
    "jpeg_quality": "quality by the file's quantisation table (1 to 100; only of JPEG files)",
}
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""IJG's luminance steps at quality 50, by vertical and horizontal frequency."""
TRACED = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
STEPS = np.arange(3, 121)
BINS = 4 * 500
BLOCKS = 40_000  # enough for histograms, at any size of picture
SURE = 0.5
SAME = 0.9  # of the highest F
COEFFICIENTS = 100  # that must lie beyond q/4 for F(q) to mean something


def measure(picture: Photograph) -> dict[str, float]:
    """Blockiness and traced quality of the pixels."""
    across, down = picture.steps
    return {
        "blockiness": min(grid_strength(across), grid_strength(down)),
        "traced_quality": _traced_quality(picture.grey, grid_phase(across), grid_phase(down)),
    }


def jpeg_quality(table: Sequence[int]) -> float:
    """IJG quality of a luminance table, 64 steps row by row (as Pillow's `quantization` has it)."""
    found = np.asarray(table, float)
    tables = _ijg_tables()
    return float(np.abs(np.log(tables / np.maximum(found, 1))).sum(axis=1).argmin() + 1)


@lru_cache(maxsize=1)
def _ijg_tables() -> NDArray[np.float64]:
    """The luminance tables of qualities 1 to 100, `(100, 64)`."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    steps = (scale[:, None] * np.ravel(LUMINANCE) + 50) // 100
    return np.clip(steps, 1, 255).astype(float)


@lru_cache(maxsize=1)
def _tracing() -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """Basis functions; cosine of each step and bin, and whether the bin lies beyond q/4."""
    k = np.arange(BLOCK)
    cosines = np.cos(np.pi * (2 * k[None] + 1) * k[:, None] / (2 * BLOCK)) / 2
    cosines[0] /= np.sqrt(2)
    basis = np.array([np.outer(cosines[v], cosines[u]) for v, u in TRACED], np.float32)
    values = np.arange(BINS) / 4
    waves = np.cos(2 * np.pi * values / STEPS[:, None])
    return basis, waves, values > STEPS[:, None] / 4


def _traced_quality(grey: NDArray[np.uint8], phase_across: int, phase_down: int) -> float:
    from diffusion4k.curation.measures._kernels import block_coefficients

    basis, waves, beyond = _tracing()
    histograms = np.zeros((len(TRACED), BINS), np.int64)
    every = max(1, round(grey.size / BLOCK**2 / BLOCKS))
    top, left = (phase_down + 1) % BLOCK, (phase_across + 1) % BLOCK
    block_coefficients(grey, top, left, every, basis, histograms)
    qualities = []
    for place, histogram in zip(TRACED, histograms, strict=True):
        counted = beyond @ histogram
        likeness = (waves * beyond) @ histogram / np.maximum(counted, 1)
        likeness[counted < COEFFICIENTS] = 0
        if likeness.max() > SURE:
            step = STEPS[np.flatnonzero(likeness >= SAME * likeness.max())[-1]]
            qualities.append(_quality(100 * step / LUMINANCE[place[0]][place[1]]))
    return float(np.median(qualities)) if len(qualities) >= 3 else 100.0


def _quality(scale: float) -> float:
    """The quality at which IJG's table is scaled to so many percent."""
    return float(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))
