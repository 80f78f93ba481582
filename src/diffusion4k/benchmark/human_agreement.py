"""Does an indicator agree with people? Every metric of an image against its mean rating.

The paper's Table 1: SRCC and PLCC of each indicator with the mean of five people's ratings of
patches. The Compression Ratio, which falls as detail grows, enters by its reciprocal; other metrics
enter as they are, so that one of which less is better correlates negatively. Intervals are BCa
bootstrap intervals over images. Krippendorff's alpha says how far people agree with each other: no
indicator can be expected to agree with them better.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion4k.benchmark.published import CORRELATIONS_WITH_PEOPLE
from diffusion4k.benchmark.ratings import Ratings
from diffusion4k.benchmark.values import per_picture
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Column, Ratio
from diffusion4k.metrics.measuring import Measured
from diffusion4k.statistics import (
    CORRELATIONS,
    Interval,
    against_others,
    correlate,
    krippendorff_alpha,
)
from diffusion4k.support.wording import counted

__all__ = ["Agreement", "Indicator", "Rater", "agreement_with_people"]

_FEWEST = 3


@dataclass(frozen=True)
class Indicator:
    """A metric beside the mean ratings of the same images."""

    column: Column
    label: str
    values: NDArray[np.float64]
    correlations: dict[str, Interval]
    """Correlations by `srcc`, `plcc` and `kendall`; NaN where the metric is constant."""
    published: tuple[float, float] | None
    """SRCC and PLCC in the paper."""


@dataclass(frozen=True)
class Rater:
    """A person beside the mean of all others: their SRCC, NaN for too few or equal ratings."""

    name: str
    ratings: int
    with_others: float
    common: int


@dataclass(frozen=True)
class Agreement:
    """What `evaluate --against` found."""

    ratings: Ratings
    means: NDArray[np.float64]
    indicators: tuple[Indicator, ...]
    raters: tuple[Rater, ...]
    alpha: dict[str, Interval]
    """Krippendorff's, by level of measurement; empty for one rater."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain data; what is not defined is null."""
        return {
            "images": len(self.ratings.images),
            "indicators": {
                each.column.name: {
                    "enters_as": each.label,
                    **{kind: _plain(found) for kind, found in each.correlations.items()},
                    "paper": dict(zip(("srcc", "plcc"), each.published, strict=True))
                    if each.published
                    else None,
                }
                for each in self.indicators
            },
            "raters": [
                asdict(rater) | {"with_others": _number(rater.with_others)} for rater in self.raters
            ],
            "krippendorff_alpha": {level: _plain(found) for level, found in self.alpha.items()},
            "means": dict(zip(self.ratings.images, self.means.tolist(), strict=True)),
            "warnings": list(self.warnings),
        }


def agreement_with_people(
    columns: Sequence[Column], findings: dict[str, Measured], ratings: Ratings
) -> Agreement:
    """Correlate every column that has a number for each image with the mean ratings.

    Args:
        findings: by file name.

    Raises:
        Diffusion4kError: fewer than three rated images, or equal mean ratings.
    """
    ratings = ratings.of_images(list(findings))
    if len(ratings.images) < _FEWEST:
        problems = "; ".join(ratings.warnings)
        raise Diffusion4kError(
            f"{counted(len(ratings.images), 'image')} both measured and rated, a correlation "
            "takes at "
            f"least {_FEWEST}: {problems or 'rate more'}"
        )
    means = ratings.mean()
    if (means == means[0]).all():
        raise Diffusion4kError(
            f"all {len(means)} images have the mean rating {means[0]:g}: a constant "
            "has no correlation"
        )
    rated = [findings[image] for image in ratings.images]
    warnings = list(ratings.warnings)
    indicators = []
    for column in columns:
        values = per_picture(column, rated)
        if values is None:
            continue
        label = column.heading
        if isinstance(column, Ratio):
            values, label = 1 / values, f"1 / {label}"
        if not np.isfinite(values).all():
            warnings.append(f"{column.heading}: not finite for some images: left out")
            continue
        if (values == values[0]).all():
            warnings.append(f"{column.heading}: the same for all images: no correlation")
        indicators.append(_indicator(column, label, values, means))
    return Agreement(
        ratings,
        means,
        tuple(indicators),
        _raters(ratings),
        _alpha(ratings),
        tuple(warnings),
    )


def _indicator(
    column: Column, label: str, values: NDArray[np.float64], means: NDArray[np.float64]
) -> Indicator:
    found = {kind: correlate(kind, values, means) for kind in CORRELATIONS}
    published = CORRELATIONS_WITH_PEOPLE.get(column.name)
    return Indicator(column, label, values, found, published[1:] if published else None)


def _raters(ratings: Ratings) -> tuple[Rater, ...]:
    beside = against_others(ratings.table) if len(ratings.raters) > 1 else []
    counts = (~np.isnan(ratings.table)).sum(1)
    return tuple(
        Rater(name, int(count), *with_others)
        for name, count, with_others in zip(ratings.raters, counts, beside, strict=False)
    )


def _alpha(ratings: Ratings) -> dict[str, Interval]:
    if len(ratings.raters) < 2:
        return {}
    return {
        "ordinal": krippendorff_alpha(ratings.table, "ordinal"),
        "interval": krippendorff_alpha(ratings.table, "interval"),
    }


def _plain(found: Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in asdict(found).items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
