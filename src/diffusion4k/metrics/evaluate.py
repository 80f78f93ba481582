"""A folder of images, measured alone and against a reference folder.

    per image   GLCM Score, textbook GLCM entropy, Compression Ratio
    per folder  means of the entropies, the Compression Ratio as a ratio of sums
    two folders FD-EffNet (whole images) and FD-EffNet-patch (patches at native size)

Every number stands beside what it was made with: extractor, pre-processing, settings, versions.
"""

import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from diffusion4k import __version__
from diffusion4k.data.images import SUFFIXES
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.files import write_text
from diffusion4k.metrics.features import FeatureExtractor
from diffusion4k.metrics.frechet import FewSamplesWarning, frechet_distance
from diffusion4k.metrics.measure import Measurement, Settings, measure_once

__all__ = ["Distance", "Evaluation", "Folder", "evaluate", "list_images"]

Progress = Callable[[str], None]


@dataclass
class Folder:
    """Measurements of a folder's images by file name, and why others could not be measured."""

    path: Path
    images: dict[str, Measurement] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)

    def mean(self, metric: str) -> float:
        """Mean of `glcm_score` or `glcm_entropy` over the images, in bits."""
        return float(np.mean([getattr(image, metric) for image in self.images.values()]))

    @property
    def compression_ratio(self) -> float:
        """Raw bytes of all images over bytes of all their JPEGs."""
        images = self.images.values()
        return sum(i.raw_bytes for i in images) / sum(i.jpeg_bytes for i in images)

    @property
    def other_quality(self) -> list[str]:
        """JPEG files not written at quality 95: their sizes are not comparable."""
        return [n for n, i in self.images.items() if i.jpeg_source == "file of another quality"]

    def to_json(self) -> dict[str, Any]:
        """Means first, then every image and every bad file."""
        return {
            "folder": str(self.path),
            "n_images": len(self.images),
            "glcm_score": self.mean("glcm_score"),
            "glcm_entropy": self.mean("glcm_entropy"),
            "compression_ratio": self.compression_ratio,
            "jpeg_files_of_another_quality": self.other_quality,
            "images": {name: image.numbers() for name, image in self.images.items()},
            "bad": self.bad,
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

    The extractor defaults to `EfficientNetLite0` and is only loaded for a reference. `on_image` is
    told each file's name once it is done. Files that cannot be measured are listed in the result,
    not raised; an error is raised only if a folder has no good image at all.
    """
    settings = settings or Settings()
    names = [Path(folder)] + ([Path(reference)] if reference is not None else [])
    listed = [list_images(name) for name in names]
    if reference is None:
        extractor = None
    elif extractor is None:
        from diffusion4k.metrics.features import EfficientNetLite0

        extractor = EfficientNetLite0()
    folders = [
        _measure_folder(name, paths, settings, extractor, cache, on_image)
        for name, paths in zip(names, listed, strict=True)
    ]
    return Evaluation(
        images=folders[0],
        reference=folders[1] if len(folders) > 1 else None,
        distances=_distances(folders, extractor),
        settings=settings,
        extractor=_described(extractor) if extractor else None,
    )


def _described(extractor: FeatureExtractor) -> dict[str, Any]:
    return {name: getattr(extractor, name) for name in ("name", "dimension", "preprocessing")}


def _measure_folder(
    folder: Path,
    paths: list[Path],
    settings: Settings,
    extractor: FeatureExtractor | None,
    cache: Path | None,
    on_image: Progress | None,
) -> Folder:
    result = Folder(folder)
    for path in paths:
        try:
            result.images[path.name] = measure_once(path, settings, extractor, cache)
        except Diffusion4kError as error:
            result.bad[path.name] = str(error).removeprefix(f"{path}: ")
        if on_image:
            on_image(path.name)
    if not result.images:
        name, why = next(iter(result.bad.items()))
        raise Diffusion4kError(
            f"{folder}: none of its {len(paths)} images could be measured; {name}: {why}"
        )
    return result


def _distances(folders: list[Folder], extractor: FeatureExtractor | None) -> list[Distance]:
    if len(folders) < 2 or extractor is None:
        return []
    short = "EffNet" if extractor.name == "EfficientNet-Lite0" else extractor.name
    return [
        _distance(
            name, *(np.concatenate([getattr(i, f) for i in x.images.values()]) for x in folders)
        )
        for name, f in ((f"FD-{short}", "features"), (f"FD-{short}-patch", "patch_features"))
    ]


def _distance(name: str, ours: np.ndarray, theirs: np.ndarray) -> Distance:
    counts = {"samples": len(ours), "reference_samples": len(theirs)}
    if min(counts.values()) < 2:
        return Distance(name, None, **counts, note="needs at least two samples on either side")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        value = frechet_distance(ours, theirs)
    notes = [str(w.message) for w in caught if issubclass(w.category, FewSamplesWarning)]
    return Distance(name, value, **counts, note="; ".join(notes))
