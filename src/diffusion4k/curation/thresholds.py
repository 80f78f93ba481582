"""Which values of the measures a photograph may have; the defaults, and why.

A section is a step of the curation. In it `min_NAME` and `max_NAME` bound the measure NAME
(`curation.measures.MEASURES`); null takes no notice of it. The defaults were tuned on half of the
photographs of Debian's wallpaper packages and tried on the other half: docs/curation-measures.md.
They are meant for pictures at 100%, at 2048 as at 4096 pixels: all but `flat` and `detail` are
shares, frequencies or levels that do not change with the number of pixels.
"""

from diffusion4k.config.types import NonNegative, Number, Probability, Section

__all__ = [
    "BlurThresholds",
    "BorderThresholds",
    "CompressionThresholds",
    "DetailThresholds",
    "ExposureThresholds",
    "FlatThresholds",
    "NoiseThresholds",
    "Thresholds",
    "UpscaledThresholds",
]


class BlurThresholds(Section):
    """Defocus and motion blur."""

    min_detail_fall: Number | None = -1.05
    """No octave of frequencies may have less than 9% of the energy of the one below."""
    max_motion_blur: NonNegative | None = 0.6
    """Four times less detail in one direction than in another, where it falls off at all."""
    min_laplacian_variance: NonNegative | None = None
    """Depends on the contrast of the picture; 100 is often used."""


class FlatThresholds(Section):
    """Too little to see."""

    max_flat_ratio: Probability | None = 0.5
    """As in UltraFlux: more than half of the patches flat. Drops photographs of shallow depth of
    field as well; 0.8 spares most of them."""


class UpscaledThresholds(Section):
    """More pixels than detail: enlarged, or sharpened and denoised to the same effect."""

    min_spectral_cutoff: NonNegative | None = 0.345
    """Cycles a pixel; an enlargement by 2 ends at 0.25, cameras resolve 0.35 to 0.45."""
    max_pixel_repetition: Probability | None = 0.4


class CompressionThresholds(Section):
    """Visible JPEG blocks, in this file or before it was saved again."""

    min_traced_quality: NonNegative | None = 50
    min_jpeg_quality: NonNegative | None = 50
    max_blockiness: NonNegative | None = None
    """Depends on how smooth the picture is: 1.4 to 10 at quality 20."""


class ExposureThresholds(Section):
    """Too dark, too bright, too pale."""

    min_white_level: NonNegative | None = 110
    """Grey value; three stops below a full exposure it is at most 99."""
    min_contrast: NonNegative | None = 10
    max_clipped_shadows: Probability | None = 0.6
    max_clipped_highlights: Probability | None = None
    max_blown_out: Probability | None = 0.22
    """Two stops over a full exposure it is 0.23 to 1, but for pictures that are dark all over."""


class NoiseThresholds(Section):
    """Sensor noise, grain."""

    max_noise: NonNegative | None = 5
    """Grey values at 100%."""


class BorderThresholds(Section):
    """Frames, letterbox bars, margins."""

    max_border: Probability | None = 0.005
    """Share of the picture's side."""


class DetailThresholds(Section):
    """The paper's measure of local detail; noise raises it, so it bounds from below alone."""

    min_glcm_score: NonNegative | None = 0.05
    min_glcm_entropy: NonNegative | None = None


class Thresholds(Section):
    """All steps that judge by measured values, in the order in which they are tried.

    Borders come first, as a frame changes what the other measures see.
    """

    borders: BorderThresholds = BorderThresholds()
    compressed: CompressionThresholds = CompressionThresholds()
    upscaled: UpscaledThresholds = UpscaledThresholds()
    blur: BlurThresholds = BlurThresholds()
    exposure: ExposureThresholds = ExposureThresholds()
    noise: NoiseThresholds = NoiseThresholds()
    flat: FlatThresholds = FlatThresholds()
    detail: DetailThresholds = DetailThresholds()
