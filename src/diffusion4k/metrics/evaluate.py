"""A folder of images, measured alone and against a reference folder.

    per image   GLCM Score, textbook GLCM entropy, Compression Ratio
    per folder  means of the entropies, the Compression Ratio as a ratio of sums
    two folders FD-EffNet (whole images) and FD-EffNet-patch (patches at native size)

Every number stands beside what it was made with: extractor, pre-processing, settings, versions.
"""

import json
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion4k import __version__
from diffusion4k.data.images import SUFFIXES
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.files import write_text
from diffusion4k.metrics import columns
from diffusion4k.metrics.columns import Measure
from diffusion4k.metrics.features import EfficientNetLite0, FeatureExtractor
from diffusion4k.metrics.frechet import FewSamplesWarning, Gaussian, distance_between
from diffusion4k.metrics.measuring import Findings, measure_all
from diffusion4k.metrics.picture import Picture
from diffusion4k.metrics.store import Store
from diffusion4k.metrics.weight_free import ExtractedFeatures, GlcmTexture, JpegSize, Settings

__all__ = ["Distance", "Evaluation", "Folder", "evaluate", "image_facts", "list_images"]

Progress = Callable[[str], None]


@dataclass
class Folder:
    """Findings in a folder's images by file name, and why others could not be measured."""

    path: Path
    images: dict[str, Findings] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)

    def numbers(self, name: str) -> list[float]:
        """One number of every image."""
        return [image.numbers[name] for image in self.images.values()]

    def features(self, name: str) -> Iterator[NDArray[np.float32]]:
        """One array of every image, read from the store as it is asked for."""
        return (image.features(name) for image in self.images.values())

    def mean(self, metric: str) -> float:
        """Mean of `glcm_score` or `glcm_entropy` over the images, in bits."""
        return float(np.mean(self.numbers(metric)))

    @property
    def compression_ratio(self) -> float:
        """Raw bytes of all images over bytes of all their JPEGs."""
        return sum(self.numbers("raw_bytes")) / sum(self.numbers("jpeg_bytes"))

    @property
    def other_quality(self) -> list[str]:
        """JPEG files not written at quality 95: their sizes are not comparable."""
        return [n for n, image in self.images.items() if image.numbers["jpeg_other_quality"]]

    def to_json(self) -> dict[str, Any]:
        """Means first, then every image and every bad file."""
        return {
            "folder": str(self.path),
            "n_images": len(self.images),
            "glcm_score": self.mean("glcm_score"),
            "glcm_entropy": self.mean("glcm_entropy"),
            "compression_ratio": self.compression_ratio,
            "jpeg_files_of_another_quality": self.other_quality,
            "images": {name: image_facts(image) for name, image in self.images.items()},
            "bad": self.bad,
        }


def image_facts(image: Findings) -> dict[str, float | int | str]:
    """What the results say of one image.

    `jpeg_source` tells which JPEG was weighed: "file" (written at quality 95), "file of another
    quality" or "re-encoded".
    """
    numbers = image.numbers
    other = "file of another quality" if numbers["jpeg_other_quality"] else "file"
    return {
        "width": int(numbers["width"]),
        "height": int(numbers["height"]),
        "glcm_score": numbers["glcm_score"],
        "glcm_entropy": numbers["glcm_entropy"],
        "jpeg_bytes": int(numbers["jpeg_bytes"]),
        "jpeg_source": "re-encoded" if numbers["jpeg_reencoded"] else other,
        "compression_ratio": numbers["raw_bytes"] / numbers["jpeg_bytes"],
    }


@dataclass
class Distance:
    """A Fréchet distance with its sample counts; `note` says why to distrust or miss it."""

    name: str
    value: float | None
    samples: int
    reference_samples: int
    note: str = ""


@dataclass
class Evaluation:
    """All results of one `evaluate`."""

    images: Folder
    reference: Folder | None
    distances: list[Distance]
    settings: Settings
    extractor: dict[str, Any] | None

    @property
    def bad(self) -> list[str]:
        """Paths of the files that could not be measured, in either folder, each with its reason."""
        folders = [self.images] + ([self.reference] if self.reference else [])
        return [f"{f.path / name}: {why}" for f in folders for name, why in f.bad.items()]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a results file; every number with what it was made with."""
        libraries = ("numpy", "numba", "pillow", "torch")
        return {
            "diffusion4k": __version__,
            "python": platform.python_version(),
            "versions": {name: version(name) for name in libraries},
            "settings": asdict(self.settings),
            "extractor": self.extractor,
            "distances": {d.name: asdict(d) for d in self.distances},
            "evaluated": self.images.to_json(),
            "reference": self.reference.to_json() if self.reference else None,
        }

    def save(self, path: str | Path) -> None:
        """Write `to_json` to `path`, wholly or not at all."""
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def list_images(folder: str | Path) -> list[Path]:
    """Image files directly in `folder`, by name. Raises `UsageError` if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: {'is no folder' if folder.exists() else 'does not exist'}")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise UsageError(
            f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))}); "
            "sub-folders are not searched, name the one that holds them"
        )
    return paths


def evaluate(
    folder: str | Path,
    reference: str | Path | None = None,
    *,
    settings: Settings | None = None,
    extractor: FeatureExtractor | None = None,
    cache: Path | None = None,
    on_image: Progress | None = None,
) -> Evaluation:
    """Measure all images of `folder` and, with `reference`, its distance from that folder.

    The extractor defaults to `EfficientNetLite0` and is only loaded for a reference; it is called
    by several threads. `on_image` is told each file's name once it is done. Files that cannot be
    measured are listed in the result, not raised; an error is raised only if a folder has no good
    image at all. Features can be had from the result only if they are kept, in `cache`.
    """
    settings = settings or Settings()
    names = [Path(folder)] + ([Path(reference)] if reference is not None else [])
    listed = [list_images(name) for name in names]
    measures: list[Measure] = [GlcmTexture(), JpegSize(settings.reencode)]
    features = None
    if reference is not None:
        extractor = extractor or EfficientNetLite0(batch_size=4, threads=1)
        features = ExtractedFeatures(extractor, settings)
        measures.append(features)
    with _store(cache) as store:
        folders = [
            _measure_folder(name, paths, measures, store, on_image)
            for name, paths in zip(names, listed, strict=True)
        ]
        distances = [
            _distance(column, *folders)
            for column in (features.columns if features else ())
            if isinstance(column, columns.Distance)
        ]
    return Evaluation(
        images=folders[0],
        reference=folders[1] if len(folders) > 1 else None,
        distances=distances,
        settings=settings,
        extractor=_described(extractor) if features and extractor else None,
    )


@contextmanager
def _store(cache: Path | None) -> Iterator[Store]:
    if cache is not None:
        yield Store(cache)
        return
    with tempfile.TemporaryDirectory(prefix="diffusion4k-measured-") as folder:
        yield Store(folder)


def _described(extractor: FeatureExtractor) -> dict[str, Any]:
    return {name: getattr(extractor, name) for name in ("name", "dimension", "preprocessing")}


def _measure_folder(
    folder: Path,
    paths: list[Path],
    measures: Sequence[Measure],
    store: Store,
    on_image: Progress | None,
) -> Folder:
    result = Folder(folder)
    for found in measure_all(map(Picture, paths), measures, store):
        if found.problem:
            result.bad[found.path.name] = found.problem
        else:
            result.images[found.path.name] = found
        if on_image:
            on_image(found.path.name)
    if not result.images:
        name, why = next(iter(result.bad.items()))
        raise Diffusion4kError(
            f"{folder}: none of its {len(paths)} images could be measured; {name}: {why}"
        )
    return result


def _distance(column: columns.Distance, images: Folder, reference: Folder) -> Distance:
    sides = [Gaussian(folder.features(column.features)) for folder in (images, reference)]
    counts = {"samples": sides[0].count, "reference_samples": sides[1].count}
    if min(counts.values()) < 2:
        note = "needs at least two samples on either side"
        return Distance(column.heading, None, **counts, note=note)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        value = distance_between(*sides)
    notes = [str(w.message) for w in caught if issubclass(w.category, FewSamplesWarning)]
    return Distance(column.heading, value, **counts, note="; ".join(notes))
