"""Published figures to stand beside ours, each with where it is from and what it was measured on.

They compare with a row of ours only if prompts, size, number of images and protocol agree; a FID
compares only inside one protocol.
"""

from dataclasses import dataclass

from diffusion4k.metrics.measure import Column

__all__ = ["CORRELATIONS_WITH_PEOPLE", "PUBLISHED", "PUBLISHED_COLUMNS", "PublishedRow"]

_PAPER = "Diffusion-4K, CVPR 2025 (arXiv 2503.18352)"


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table; values by the names of our columns."""

    name: str
    prompts: str
    images: int
    size: tuple[int, int]
    values: dict[str, float]
    source: str


PUBLISHED_COLUMNS = (
    Column("fid", "FID", "lower", 2),
    Column("fid_patch", "patch-FID", "lower", 1),
    Column("clip_score", "CLIPScore", "higher", 2),
    Column("aesthetics", "Aesthetics", "higher", 2),
    Column("glcm_score", "GLCM Score", "higher", 2),
    Column("compression_ratio", "Compression Ratio", "lower", 2),
    Column("hpsv3", "HPSv3", "higher", 2),
)
"""How figures are shown that we have no column of our own for."""


def _at_2048(
    name: str, fid: float, clip: float, aesthetics: float, glcm: float, ratio: float
) -> PublishedRow:
    values = {"fid": fid, "clip_score": clip, "aesthetics": aesthetics, "glcm_score": glcm}
    values["compression_ratio"] = ratio
    return PublishedRow(name, "Aesthetic-Eval@2048", 2781, (2048, 2048), values, _PAPER)


def _at_4096(name: str, values: dict[str, float], source: str = _PAPER) -> PublishedRow:
    return PublishedRow(name, "Aesthetic-Eval@4096", 195, (4096, 4096), values, source)


def _sd3_at_4096(
    name: str, clip: float, aesthetics: float, glcm: float, ratio: float
) -> PublishedRow:
    values = {"clip_score": clip, "aesthetics": aesthetics, "glcm_score": glcm}
    return _at_4096(name, values | {"compression_ratio": ratio})


PUBLISHED = (
    _at_2048("SD3-F16", 43.82, 31.50, 5.91, 0.75, 11.23),
    _at_2048("SD3-F16-WLF", 40.18, 34.04, 5.96, 0.79, 10.51),
    _at_2048("Flux-F16", 50.57, 30.41, 6.36, 0.58, 14.80),
    _at_2048("Flux-F16-WLF", 39.49, 34.41, 6.37, 0.61, 13.60),
    _sd3_at_4096("SD3-F16", 33.12, 5.97, 0.73, 11.97),
    _sd3_at_4096("SD3-F16, fine-tuned", 34.14, 5.99, 0.74, 11.41),
    _sd3_at_4096("SD3-F16-WLF", 34.40, 6.07, 0.77, 10.50),
    _at_4096("UltraHR-100K", {"fid": 142.97}, "UltraHR-100K"),
    _at_4096("UltraFlux", {"fid": 143.11, "hpsv3": 11.47}, "UltraFlux (arXiv 2511.18050)"),
    _at_4096("Sana", {"clip_score": 35.49}, "as quoted by the peers"),
    _at_4096("best of the peers", {"fid_patch": 24.0}, "as quoted by the peers"),
)

CORRELATIONS_WITH_PEOPLE = {
    "glcm_score": ("GLCM Score", 0.75, 0.77),
    "compression_ratio": ("Compression Ratio", 0.53, 0.56),
    "musiq": ("MUSIQ", 0.36, 0.41),
    "maniqa": ("MANIQA", 0.20, 0.26),
}
"""SRCC and PLCC with the ratings of patches by five people, by column: Table 1 of Diffusion-4K."""
