"""A folder of images, measured alone and against a reference folder.

    per image   GLCM Score, textbook GLCM entropy, Compression Ratio
    per folder  means of the entropies, the Compression Ratio as a ratio of sums
    two folders FD-EffNet (whole images) and FD-EffNet-patch (patches at native size)

and whatever further measures find, in the same pass.

Every number stands beside what it was made with: extractor, pre-processing, settings, versions.
"""

import json
import platform
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k import __version__
from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.compression import JpegSize
from diffusion4k.metrics.features import EfficientNetLite0, ExtractedFeatures, FeatureExtractor
from diffusion4k.metrics.frechet import FewSamplesWarning
from diffusion4k.metrics.glcm import GlcmTexture
from diffusion4k.metrics.measure import Column, Distance, Mean, Measure
from diffusion4k.metrics.measuring import Measured, measure_folder, name_in
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.selection import takes_prompts
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.metrics.store import MeasureStore
from diffusion4k.support.bundled import photo_folder
from diffusion4k.support.files import write_text

__all__ = ["DistanceResult", "Evaluation", "Folder", "evaluate", "image_facts"]

Progress = Callable[[str], None]

_ALWAYS = ("glcm_score", "glcm_entropy")


@dataclass
class Folder:
    """Findings in a folder's images by file name, and why others could not be measured."""

    path: Path
    images: dict[str, Measured] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    further: Sequence[Column] = ()
    """Columns of the further measures that it got, without distances."""

    def numbers(self, name: str) -> list[float]:
        """One number of every image."""
        return [image.numbers[name] for image in self.images.values()]

    def features(self, name: str) -> Iterator[NDArray[np.float32]]:
        """One array of every image, read from the store when it is needed."""
        return (image.features(name) for image in self.images.values())

    def mean(self, metric: str) -> float:
        """Mean of a number, such as `glcm_score`, over the images."""
        return float(np.mean(self.numbers(metric)))

    @property
    def compression_ratio(self) -> float:
        """Raw bytes of all images over bytes of all their JPEGs."""
        return sum(self.numbers("raw_bytes")) / sum(self.numbers("jpeg_bytes"))

    def values(self) -> dict[str, float]:
        """Means of the further columns over the images."""
        return {column.name: self.mean(column.name) for column in self.further}

    @property
    def other_quality(self) -> list[str]:
        """JPEG files not written at quality 95: their sizes are not comparable."""
        return [n for n, image in self.images.items() if image.numbers["jpeg_other_quality"]]

    def to_json(self) -> dict[str, object]:
        """Means first, then every image and every bad file."""
        return {
            "folder": str(self.path),
            "n_images": len(self.images),
            "glcm_score": self.mean("glcm_score"),
            "glcm_entropy": self.mean("glcm_entropy"),
            "compression_ratio": self.compression_ratio,
            **self.values(),
            "jpeg_files_of_another_quality": self.other_quality,
            "images": {name: self._facts(image) for name, image in self.images.items()},
            "bad": self.bad,
        }

    def _facts(self, image: Measured) -> dict[str, float | int | str]:
        names = [column.name for column in self.further]
        return image_facts(image) | {name: image.numbers[name] for name in names}


def image_facts(image: Measured) -> dict[str, float | int | str]:
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
class DistanceResult:
    """A distance with its sample counts; `note` says why to distrust or miss it."""

    name: str
    value: float | None
    samples: int
    reference_samples: int
    note: str = ""
    digits: int = 2

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        facts = asdict(self)
        del facts["digits"]
        return facts


@dataclass
class Evaluation:
    """All results of one `evaluate`."""

    images: Folder
    reference: Folder | None
    distances: list[DistanceResult]
    settings: MeasureSettings
    extractor: dict[str, object] | None
    protocols: dict[str, str] = field(default_factory=dict)
    """What each measure did, by its name."""

    @property
    def bad(self) -> list[str]:
        """Paths of the files that could not be measured, in either folder, each with its reason."""
        folders = [self.images] + ([self.reference] if self.reference else [])
        return [f"{f.path / name}: {why}" for f in folders for name, why in f.bad.items()]

    def to_json(self) -> dict[str, object]:
        """Plain data for a results file; every number with what it was made with."""
        libraries = ("numpy", "numba", "pillow", "torch")
        return {
            "diffusion4k": __version__,
            "python": platform.python_version(),
            "versions": {name: version(name) for name in libraries},
            "settings": asdict(self.settings),
            "extractor": self.extractor,
            "protocols": self.protocols,
            "distances": {d.name: d.to_json() for d in self.distances},
            "evaluated": self.images.to_json(),
            "reference": self.reference.to_json() if self.reference else None,
        }

    def save(self, path: str | Path) -> None:
        """Write `to_json` to `path`, wholly or not at all."""
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def evaluate(
    folder: str | Path,
    reference: str | Path | None = None,
    *,
    settings: MeasureSettings | None = None,
    extractor: FeatureExtractor | None = None,
    cache: Path | None = None,
    on_image: Progress | None = None,
    further: Sequence[Measure] = (),
    prompts: Mapping[Path, str | None] | None = None,
) -> Evaluation:
    """Measure all images of `folder` and, with `reference`, its distance from that folder.

    The extractor defaults to `EfficientNetLite0` and is only loaded for a reference; it is called
    by several threads. `on_image` gets each file's name once it is done. Files that cannot be
    measured are listed in the result, not raised; an error is raised only if a folder has no good
    image at all. Features can be had from the result only if they are kept, in `cache`.

    Args:
        further: measures beside those that are always made (`metrics.selection` lists all).
        prompts: of the images, for those of the further measures that need them; a folder in which
            one is not known does not get these.
    """
    settings = settings or MeasureSettings()
    names = [photo_folder(name) for name in (folder, reference) if name is not None]
    listed = [list_images(name) for name in names]
    measures: list[Measure] = [GlcmTexture(), JpegSize(settings.reencode)]
    features = None
    if reference is not None:
        extractor = extractor or EfficientNetLite0(batch_size=4, threads=1)
        features = ExtractedFeatures(extractor, settings)
        measures.append(features)
    own = {measure.name for measure in measures}
    measures += [measure for measure in further if measure.name not in own]
    asked = {column.name for measure in further for column in measure.columns} - set(_ALWAYS)
    with _store(cache) as store:
        folders = [
            _measure_folder(name, paths, prompts or {}, measures, asked, store, on_image)
            for name, paths in zip(names, listed, strict=True)
        ]
        distances = [
            _distance(column, *folders)
            for measure in (measures if reference is not None else [])
            for column in measure.columns
            if isinstance(column, Distance)
        ]
    return Evaluation(
        images=folders[0],
        reference=folders[1] if len(folders) > 1 else None,
        distances=distances,
        settings=settings,
        extractor=_described(extractor) if features and extractor else None,
        protocols={measure.name: measure.protocol for measure in measures},
    )


@contextmanager
def _store(cache: Path | None) -> Iterator[MeasureStore]:
    if cache is not None:
        yield MeasureStore(cache)
        return
    with tempfile.TemporaryDirectory(prefix="diffusion4k-measured-") as folder:
        yield MeasureStore(folder)


def _described(extractor: FeatureExtractor) -> dict[str, object]:
    return {name: getattr(extractor, name) for name in ("name", "dimension", "preprocessing")}


def _measure_folder(
    folder: Path,
    paths: list[Path],
    prompts: Mapping[Path, str | None],
    measures: Sequence[Measure],
    asked: Collection[str],
    store: MeasureStore,
    on_image: Progress | None,
) -> Folder:
    pictures = [MeasuredImage(path, prompts.get(path)) for path in paths]

    def name_of(found: Measured) -> str:
        return name_in(folder, found.path)

    def on_each(found: Measured) -> None:
        if on_image:
            on_image(name_of(found))

    measures = takes_prompts(measures, [picture.prompt for picture in pictures])
    good, bad = measure_folder(folder, pictures, measures, store, on_each)
    means = [c for measure in measures for c in measure.columns if isinstance(c, Mean)]
    return Folder(
        folder,
        {name_of(found): found for found in good},
        {name_of(found): found.problem for found in bad},
        [column for column in means if column.name in asked],
    )


def _distance(column: Distance, images: Folder, reference: Folder) -> DistanceResult:
    sides = [_Counted(folder, column.features) for folder in (images, reference)]
    value, notes = None, []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        try:
            value = column.distance(*sides)
        except Diffusion4kError as error:
            notes.append(str(error))
    if min(side.count for side in sides) < 2 and value is None:
        notes = ["needs at least two samples on either side"]
    notes += [str(w.message) for w in caught if issubclass(w.category, FewSamplesWarning)]
    ours, theirs = (side.count for side in sides)
    return DistanceResult(column.heading, value, ours, theirs, "; ".join(notes), column.digits)


class _Counted:
    """Features of a folder, of which it is counted how many there were."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self.count = 0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        self.count = 0
        for array in self._folder.features(self._name):
            self.count += len(array)
            yield array
