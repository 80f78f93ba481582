"""The measures that need no weights but those a package brings, and what they depend on."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from diffusion4k.errors import UsageError
from diffusion4k.metrics.compression import QUALITY, is_quality_95, jpeg_bytes
from diffusion4k.metrics.detail import (
    DetailModel,
    bundled_model,
    describe,
    distance_between_tiles,
)
from diffusion4k.metrics.detail_features import TILE as DETAIL_TILE
from diffusion4k.metrics.features import EfficientNetLite0, FeatureExtractor
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.glcm import PROPERTIES, glcm_map
from diffusion4k.metrics.measure import Column, Distance, Found, Mean, Measure, Ratio
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.spectrum import (
    LEVELS,
    RINGS,
    band_energies,
    grey_of,
    log_distance,
    ring_powers,
)
from diffusion4k.metrics.spectrum import TILE as SPECTRUM_TILE
from diffusion4k.metrics.token_grid import PERIOD, check_period, token_grid_ratio

__all__ = [
    "DetailLikeness",
    "ExtractedFeatures",
    "GlcmTexture",
    "JpegSize",
    "MeasureSettings",
    "SpectrumMeasure",
    "TokenGrid",
    "weight_free_measures",
]


@dataclass(frozen=True)
class MeasureSettings:
    """What the findings depend on beside the picture.

    Raises:
        UsageError: a patch size or a number of patches below 1, or a grid period that
            `token_grid.check_period` refuses.
    """

    reencode: bool = False
    patch_size: int = 224
    patches_per_image: int = 64
    grid_period: int = PERIOD

    def __post_init__(self) -> None:
        for name in ("patch_size", "patches_per_image"):
            if getattr(self, name) < 1:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {getattr(self, name)}: must be at least 1")
        check_period(self.grid_period)


def weight_free_measures(
    settings: MeasureSettings | None = None, model: DetailModel | None = None
) -> list[Measure]:
    """All measures without weights, each for one picture in one thread.

    `model` is of the photographs that detail is compared with, the bundled ones if None.
    """
    settings = settings or MeasureSettings()
    return [
        GlcmTexture(),
        JpegSize(settings.reencode),
        SpectrumMeasure(),
        DetailLikeness(model),
        TokenGrid(settings.grid_period),
        ExtractedFeatures(EfficientNetLite0(batch_size=4, threads=1), settings),
    ]


class GlcmTexture:
    """GLCM Score, textbook entropy and Haralick's properties; see `metrics.glcm`."""

    name = "glcm"
    protocol = "OpenCV grey, 64 levels, 64x64 patches, distances 1 to 4, angles 0 to 135 degrees"
    columns: tuple[Column, ...] = (
        Mean("glcm_score", "GLCM Score", "higher", 3),
        Mean("glcm_entropy", "GLCM entropy", "", 2),
        *(
            Mean(f"glcm_{name}", f"GLCM {'ASM' if name == 'asm' else name}", "", 3)
            for name in PROPERTIES
        ),
    )
    needs_prompt = needs_original = False

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture without one whole patch."""
        found = glcm_map(picture.pixels, threads=1)._asdict()
        return Found({f"glcm_{name}": float(values.mean()) for name, values in found.items()})


class JpegSize:
    """Bytes of the pixels and of the JPEG, which give the Compression Ratio; see `compression`.

    The JPEG is the file itself, if it is one, unless `reencode` asks for a new one. `other_quality`
    is 1 for a file not written at quality 95, whose size is not comparable.
    """

    name = "jpeg"
    columns: tuple[Column, ...] = (
        Ratio(
            *("compression_ratio", "Compression Ratio", "lower", 2),
            *("raw_bytes", "jpeg_bytes", "jpeg_other_quality"),
        ),
    )
    needs_prompt = needs_original = False

    def __init__(self, reencode: bool = False) -> None:
        self._reencode = reencode
        kind = "every picture" if reencode else "what is no JPEG"
        self.protocol = f"{kind} encoded at quality {QUALITY}, 4:2:0"

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a broken file."""
        height, width, _ = picture.pixels.shape
        at_quality_95 = None if self._reencode else is_quality_95(picture.path)
        reencoded = at_quality_95 is None
        size = len(jpeg_bytes(picture.pil)) if reencoded else picture.path.stat().st_size
        return Found(
            {
                "width": width,
                "height": height,
                "raw_bytes": width * height * 3,
                "jpeg_bytes": size,
                "jpeg_reencoded": float(reencoded),
                "jpeg_other_quality": float(at_quality_95 is False),
            }
        )


class SpectrumMeasure:
    """Wavelet-band energies and the radial spectrum; see `metrics.spectrum`."""

    name = "spectrum"
    protocol = (
        f"OpenCV grey; log2 energies of {LEVELS} Haar levels; log2 power in {RINGS} rings of "
        f"{SPECTRUM_TILE}x{SPECTRUM_TILE} Hann-windowed tiles"
    )
    columns: tuple[Column, ...] = (
        *(
            Mean(f"band_{level}", f"energy at {2**level} px (log2)", "", 2)
            for level in range(1, LEVELS + 1)
        ),
        *(
            Distance(
                f"band_{level}_distance",
                f"energy at {2**level} px, distance",
                "lower",
                3,
                "bands",
                partial(log_distance, part=slice(3 * level - 3, 3 * level)),
            )
            for level in range(1, LEVELS + 1)
        ),
        Distance("bands_distance", "wavelet bands, distance", "lower", 3, "bands", log_distance),
        Distance("spectrum_distance", "spectrum, distance", "lower", 3, "spectrum", log_distance),
    )
    needs_prompt = needs_original = False

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture smaller than a tile."""
        grey = grey_of(picture.pixels, SPECTRUM_TILE)
        bands = band_energies(grey)
        levels = np.log2(np.exp2(bands).mean(axis=1))
        return Found(
            {f"band_{n}": float(energy) for n, energy in enumerate(levels, 1)},
            {
                "bands": bands.reshape(1, -1).astype(np.float32),
                "spectrum": ring_powers(grey)[None].astype(np.float32),
            },
        )


class DetailLikeness:
    """Detail distance to photographs and to the reference folder; see `metrics.detail`."""

    name = "detail"
    columns: tuple[Column, ...] = (
        Mean("detail_distance", "Detail distance", "lower", 2),
        Mean("repetition", "Repetition", "", 3),
        Distance(
            "detail_distance_to_reference",
            "Detail distance to reference",
            "lower",
            2,
            "detail_tiles",
            distance_between_tiles,
        ),
    )
    needs_prompt = needs_original = False

    def __init__(self, model: DetailModel | None = None) -> None:
        self._model = model or bundled_model()
        self.protocol = (
            f"tiles of {DETAIL_TILE}x{DETAIL_TILE}; model of {self._model.photographs} "
            f"photographs, {self._model.fingerprint}"
        )

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture smaller than a tile."""
        detail = describe(picture.pixels)
        return Found(
            {
                "detail_distance": self._model.distance(detail),
                "repetition": detail.repetition,
            },
            {"detail_tiles": detail.tiles},
        )


class TokenGrid:
    """Steps at the borders of a transformer's tokens; see `metrics.token_grid`."""

    name = "token_grid"
    columns: tuple[Column, ...] = (Mean("token_grid_ratio", "Token-grid ratio", "lower", 3),)
    needs_prompt = needs_original = False

    def __init__(self, period: int = PERIOD) -> None:
        self._period = period
        self.protocol = f"OpenCV grey; borders every {period} pixels, multiples of 8 beside them"

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture no larger than a token."""
        return Found({"token_grid_ratio": token_grid_ratio(picture.pixels, self._period)})


class ExtractedFeatures:
    """Features of the whole picture and of its patches, for Fréchet distances; see `features`."""

    needs_prompt = needs_original = False

    def __init__(self, extractor: FeatureExtractor, settings: MeasureSettings) -> None:
        self._extractor, self._settings = extractor, settings
        short = "EffNet" if extractor.name == "EfficientNet-Lite0" else extractor.name
        self.name = "".join(c if c.isalnum() else "_" for c in short.lower())
        self.patch = f"{self.name}_patch"
        self.protocol = (
            f"{extractor.name}: {extractor.preprocessing}; at most {settings.patches_per_image} "
            f"patches of {settings.patch_size}x{settings.patch_size}"
        )
        self.columns: tuple[Column, ...] = (
            Distance(f"fd_{self.name}", f"FD-{short}", "lower", 2, self.name, frechet_distance),
            Distance(
                f"fd_{self.patch}", f"FD-{short}-patch", "lower", 2, self.patch, frechet_distance
            ),
        )

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture smaller than a patch."""
        image = picture.pil
        whole = self._extractor([image])
        patches = self._extractor.patches(
            image, self._settings.patch_size, self._settings.patches_per_image
        )
        return Found(
            features={
                self.name: np.asarray(whole, np.float32),
                self.patch: np.asarray(patches, np.float32),
            }
        )
