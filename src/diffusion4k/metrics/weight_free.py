"""The measures that need no weights but those a package brings, and what they depend on."""

from dataclasses import dataclass

import numpy as np

from diffusion4k.errors import UsageError
from diffusion4k.metrics.columns import Column, Distance, Found, Mean, Measure, Ratio
from diffusion4k.metrics.compression import QUALITY, is_quality_95, jpeg_bytes
from diffusion4k.metrics.features import EfficientNetLite0, FeatureExtractor
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.glcm import PROPERTIES, glcm_map
from diffusion4k.metrics.picture import Picture

__all__ = ["ExtractedFeatures", "GlcmTexture", "JpegSize", "Settings", "weight_free_measures"]


@dataclass(frozen=True)
class Settings:
    """What the findings depend on beside the picture.

    Raises:
        UsageError: a patch size or a number of patches below 1.
    """

    reencode: bool = False
    patch_size: int = 224
    patches_per_image: int = 64

    def __post_init__(self) -> None:
        for name in ("patch_size", "patches_per_image"):
            if getattr(self, name) < 1:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {getattr(self, name)}: must be at least 1")


def weight_free_measures(settings: Settings | None = None) -> list[Measure]:
    """All of them, each for one picture in one thread."""
    settings = settings or Settings()
    return [
        GlcmTexture(),
        JpegSize(settings.reencode),
        ExtractedFeatures(EfficientNetLite0(batch_size=4, threads=1), settings),
    ]


class GlcmTexture:
    """GLCM Score, textbook entropy and Haralick's properties; see `metrics.glcm`."""

    name = "glcm"
    protocol = "OpenCV grey, 64 levels, 64x64 patches, distances 1 to 4, angles 0 to 135 degrees"
    columns: tuple[Column, ...] = (
        Mean("glcm_score", "GLCM Score", "higher", 3),
        Mean("glcm_entropy", "GLCM entropy", "", 2),
        *(Mean(f"glcm_{name}", f"GLCM {name}", "", 3) for name in PROPERTIES),
    )
    needs_prompt = needs_original = False

    def __call__(self, picture: Picture) -> Found:
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
        Ratio("compression_ratio", "Compression Ratio", "lower", 2, "raw_bytes", "jpeg_bytes"),
    )
    needs_prompt = needs_original = False

    def __init__(self, reencode: bool = False) -> None:
        self._reencode = reencode
        kind = "every picture" if reencode else "what is no JPEG"
        self.protocol = f"{kind} encoded at quality {QUALITY}, 4:2:0"

    def __call__(self, picture: Picture) -> Found:
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


class ExtractedFeatures:
    """Features of the whole picture and of its patches, for Fréchet distances; see `features`."""

    needs_prompt = needs_original = False

    def __init__(self, extractor: FeatureExtractor, settings: Settings) -> None:
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

    def __call__(self, picture: Picture) -> Found:
        """Raises `Diffusion4kError` for a picture smaller than a patch."""
        patches = self._extractor.patches(
            picture.pil, self._settings.patch_size, self._settings.patches_per_image
        )
        whole = self._extractor([picture.pil])
        return Found(
            features={
                self.name: np.asarray(whole, np.float32),
                self.patch: np.asarray(patches, np.float32),
            }
        )
