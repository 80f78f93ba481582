r"""Detail distance: how unlike that of real photographs the fine detail of a picture is.

GLCM Score and Compression Ratio grow with noise. This distance has an optimum: it grows with white
noise and with blur, with halos, JPEG blocks, enlarging and repetition alike.

With the weighted mean m and covariance S of the numbers of a picture's tiles (`detail_features`),
and those of the tiles of real photographs, of which each weighs the same,

    d^2 = (m - m_p)^T ((S + S_p) / 2)^(-1) (m - m_p) + max(0, (r - r_p) / s_p)^2.

r is log2 of the picture's repetition; r_p and s_p are mean and standard deviation of the
photographs'. The first term has the form of NIQE, with other numbers; between two folders it is
the *detail distance to the reference*, with all their tiles.

The photographs are the bundled ones, or a folder of your own. The value belongs to them: it ranks
pictures by one model, and a photograph unlike those of the model has its distance, too.

Source: Mittal, Soundararajan, Bovik 2013 (NIQE).
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.detail_features import DIMENSION, TILE, describe_tiles, repetition
from diffusion4k.metrics.images import ImageLike
from diffusion4k.metrics.measure import Column, Distance, Found, Mean, Measure
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.spectrum import grey_of
from diffusion4k.support.bundled import PHOTOGRAPHS
from diffusion4k.support.cores import cores
from diffusion4k.support.wording import counted

__all__ = [
    "Detail",
    "DetailLikeness",
    "DetailModel",
    "bundled_model",
    "describe",
    "detail_distance",
    "distance_between_tiles",
]

# Keeps the inverse finite if tiles are all alike; the numbers differ by 0.1 to 1 among photographs.
_RIDGE = 1e-4
_NO_PHOTOGRAPH = "gradient.jpg"  # a drawing among the bundled pictures


@dataclass(frozen=True)
class Detail:
    """A picture: weight and numbers of its tiles `(tiles, 1 + DIMENSION)`, and its repetition."""

    tiles: NDArray[np.float32]
    repetition: float


@dataclass(frozen=True)
class DetailModel:
    """What the detail of some photographs is like."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    repetition: float
    """Mean of its log2."""
    repetition_spread: float
    photographs: int

    @classmethod
    def fit(cls, photographs: Sequence[str | Path]) -> "DetailModel":
        """Model of at least two photographs, each of at least 128x128 pixels.

        Raises:
            UsageError: fewer than two.
            Diffusion4kError: one is broken or too small.
        """
        if len(photographs) < 2:
            raise UsageError(
                f"{counted(len(photographs), 'photograph')}: the model of their detail takes "
                "at least two"
            )
        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(describe, photographs))
        mean, covariance = _moments(each.tiles for each in found)
        repeated = np.log2([each.repetition for each in found])
        return cls(
            mean, covariance, float(repeated.mean()), float(repeated.std(ddof=1)), len(found)
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the numbers, rounded so that machines agree."""
        numbers = [*self.mean, *self.covariance.ravel(), self.repetition, self.repetition_spread]
        text = ",".join(f"{number:.4e}" for number in numbers)
        return hashlib.sha256(text.encode()).hexdigest()

    def distance(self, detail: Detail) -> float:
        """d of the module's text, from 0 on."""
        mean, covariance = _moments([detail.tiles])
        far = _squared(mean - self.mean, covariance, self.covariance)
        repeated = np.log2(max(detail.repetition, 1e-6))
        excess = max(0.0, float(repeated - self.repetition) / max(self.repetition_spread, 1e-3))
        return float(np.sqrt(far + excess**2))


def detail_distance(image: ImageLike, model: DetailModel | None = None) -> float:
    """Detail distance of an image, from 0 on, to `model` or the bundled photographs.

    Raises `Diffusion4kError` if it cannot be read or is smaller than 128x128.
    """
    return (model or bundled_model()).distance(describe(image))


@lru_cache(maxsize=1)
def bundled_model() -> DetailModel:
    """The model of the bundled photographs, fitted when it is first needed."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
    return DetailModel.fit([path for path in paths if path.name != _NO_PHOTOGRAPH])


def describe(image: ImageLike) -> Detail:
    """What `DetailModel` compares; raises as `detail_distance` does."""
    grey = grey_of(image, TILE)
    return Detail(describe_tiles(grey), repetition(grey))


def distance_between_tiles(
    ours: Iterable[NDArray[np.float32]], theirs: Iterable[NDArray[np.float32]]
) -> float:
    """Detail distance of two folders by the tiles of each of their pictures, repetition left out.

    Raises:
        Diffusion4kError: a side without any picture.
    """
    (mean, covariance), (their_mean, their_covariance) = _moments(ours), _moments(theirs)
    return float(np.sqrt(_squared(mean - their_mean, covariance, their_covariance)))


class DetailLikeness(Measure):
    """Detail distance to photographs and to the reference folder."""

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
    position = 40

    def __init__(self, model: DetailModel | None = None) -> None:
        self._model = model or bundled_model()
        self.protocol = (
            f"tiles of {TILE}x{TILE}; model of {self._model.photographs} "
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


def _squared(
    shift: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    pooled = (one + other) / 2 + _RIDGE * np.eye(len(shift))
    return float(shift @ np.linalg.solve(pooled, shift))


def _moments(
    pictures: Iterable[NDArray[np.float32]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and covariance of the tiles; each picture weighs 1."""
    count, total = 0, np.zeros(DIMENSION)
    products = np.zeros((DIMENSION, DIMENSION))
    for tiles in pictures:
        weight = tiles[:, :1].astype(np.float64)
        weight /= weight.sum()
        numbers = tiles[:, 1:].astype(np.float64)
        total += (weight * numbers).sum(0)
        products += (weight * numbers).T @ numbers
        count += 1
    if not count:
        raise Diffusion4kError("a folder without pictures has no detail to compare")
    mean = total / count
    return mean, products / count - np.outer(mean, mean)
