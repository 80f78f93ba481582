"""Do two pictures show the same? One thumbnail is laid over the other and correlated with it.

Equal hashes only suggest where. A window at position a in one picture and b in the other give
the map between them: scale and shift along either axis. The map tells which part of the pictures
both show, a window again. Its position in the second is then moved and stretched until what is
sampled there matches the first best: Gauss-Newton steps on the squared difference (Lucas and Kanade
1981), first of blurred samples, then of finer ones; mean and variance are taken out before.

Correlated at the end is the detail alone, samples minus their local mean: two evening skies, bright
below and dark above, have the same gradient but not the same clouds. Where there is no detail
nothing can be decided, and the answer is no. One small subject on smooth ground correlates with any
other in the same position: it is laid over the other once more, at its own size. There the finest
detail is what another size of the picture has left of it, and only what is coarser is compared.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from diffusion4k.curation.duplicates.windows import blurred, sample

__all__ = ["Registered", "correlation"]

_POINTS = 48  # samples a side of the common part
_BLURS = (4.0, 2.0, 1.0)  # of the samples, coarse to fine
_STEPS = 3  # at each blur
_HOPELESS = 0.3  # correlation of blurred samples after the coarse steps, below which to give up
_LOCAL = 3.0  # Gaussian of the local mean, in samples
_MARGIN = 6  # samples at the border, whose local mean is one-sided, are left out
_FLAT = 0.4  # least standard deviation of the detail, in grey levels
_COMMON = 0.5  # of one picture at least must be seen in the other
_EDGE = 0.05  # of a subject: its share of the strongest detail
_NEARLY_ALL = 0.6  # of the detail, which a subject holds that is looked at by itself
_AROUND = 1.6  # of a subject's size: what is looked at with it
_SMALL = 0.7  # of the common part's side, at most, for a subject
_SOFT = 1.5  # Gaussian, in samples: finer than that a copy of another size differs in a subject
_STRICT = 8.0  # times less than otherwise a subject's correlation may be below 1: an O is no Q
_STRETCH = 2.5  # most and (inverse) least scale between the thumbnails, along either axis

_AXIS = ((2 * np.arange(_POINTS) + 1) / _POINTS - 1).astype(np.float32)
_ACROSS, _DOWN = np.meshgrid(_AXIS, _AXIS)


class Registered:
    """A thumbnail with its blurred levels, ready to be compared with others."""

    def __init__(self, thumbnail: NDArray[np.uint8]) -> None:
        self.levels = blurred(thumbnail.astype(np.float32))
        self.height, self.width = thumbnail.shape

    def mirrored(self) -> "Registered":
        """The same of the mirror image."""
        other = object.__new__(Registered)
        other.levels = np.ascontiguousarray(self.levels[:, :, ::-1])
        other.height, other.width = self.height, self.width
        return other


def correlation(
    a: Registered, b: Registered, place_a: NDArray[np.float32], place_b: NDArray[np.float32]
) -> float:
    """Correlation of detail in what both pictures show, -1 to 1; 0 where nothing can be decided.

    `place_a` and `place_b`, `(x, y, half width, half height)`, are where they show the same window.
    Where nearly all detail is in one small subject, its region alone makes the pictures correlate:
    then the subject is compared at its own size as well, and more strictly.
    """
    common = _common(a, b, place_a.astype(np.float64), place_b.astype(np.float64))
    if common is None:
        return 0.0
    part_a, part_b = common
    moved = _aligned(a, b, part_a, part_b, _BLURS)
    common = _common(a, b, part_a, moved) if moved is not None else None
    if common is None:
        return 0.0
    part_a, part_b = common
    found, detail = _correlated(a, b, part_a, part_b)
    subject = _subject(detail) if found > 0 else None
    if subject is None:
        return found
    part_a, part_b = _within(part_a, subject), _within(part_b, subject)
    moved = _aligned(a, b, part_a, part_b, _BLURS[1:])
    if moved is None:
        return 0.0
    alone = _correlated(a, b, part_a, moved, _SOFT)[0]
    return min(found, 1 - _STRICT * (1 - alone))


def _aligned(
    a: Registered,
    b: Registered,
    part_a: NDArray[np.float64],
    part_b: NDArray[np.float64],
    blurs: tuple[float, ...],
) -> NDArray[np.float64] | None:
    """`part_b` moved until b shows there what a does at `part_a`; None if that is hopeless."""
    for blur in blurs:
        target = _normalised(gaussian_filter(_samples(a, part_a), blur))
        for _ in range(_STEPS):
            found = _normalised(gaussian_filter(_samples(b, part_b), blur))
            if blur < blurs[0] and np.mean(target * found) < _HOPELESS:
                return None
            part_b = part_b + _step(target, found, part_b)
            if (part_b[2:] < 2).any():
                return None
    return part_b


def _correlated(
    a: Registered,
    b: Registered,
    part_a: NDArray[np.float64],
    part_b: NDArray[np.float64],
    blur: float = 0.0,
) -> tuple[float, NDArray[np.float32]]:
    """Correlation of detail, and where it is: the product of both pictures' detail."""
    detail = [_detail(_samples(*side)) for side in ((a, part_a), (b, part_b))]
    if blur:
        detail = [gaussian_filter(part, blur) for part in detail]
    product = detail[0] * detail[1]
    deviations = [float(part.std()) for part in detail]
    if min(deviations) < _FLAT:
        return 0.0, product
    return float(np.mean(product) / (deviations[0] * deviations[1])), product


def _subject(detail: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Where the one small subject is that holds nearly all detail, if there is one.

    `(x, y, half width, half height)` within the part, whose half sides are 1.
    """
    energy = gaussian_filter(detail.clip(0), 1)
    labels, _ = label(energy > _EDGE * energy.max())
    strongest = labels == labels[np.unravel_index(energy.argmax(), energy.shape)]
    if energy[strongest].sum() < _NEARLY_ALL * energy.sum():
        return None
    rows, columns = np.nonzero(strongest)
    first = np.array([columns.min(), rows.min()]) + _MARGIN
    last = np.array([columns.max(), rows.max()]) + _MARGIN + 1
    centre, half = (first + last) / 2, np.repeat((last - first).max() / 2 * _AROUND, 2)
    if half[0] > _SMALL * _POINTS / 2:
        return None
    return np.concatenate([centre * 2 / _POINTS - 1, half * 2 / _POINTS])


def _within(part: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """A place within a part, as a place in the picture."""
    return np.concatenate([part[:2] + place[:2] * part[2:], place[2:] * part[2:]])


def _common(
    a: Registered, b: Registered, place_a: NDArray[np.float64], place_b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The part both show, as a place in a and one in b; None if it is too little of either."""
    scale = place_b[2:] / place_a[2:]
    if (scale > _STRETCH).any() or (scale < 1 / _STRETCH).any():
        return None
    size_a, size_b = np.array([a.width, a.height]), np.array([b.width, b.height])
    # b's borders seen in a.
    first = np.maximum(place_a[:2] - place_b[:2] / scale, 0)
    last = np.minimum(place_a[:2] + (size_b - place_b[:2]) / scale, size_a)
    half = (last - first) / 2
    if (half < 4).any():
        return None
    part_a = np.concatenate([(first + last) / 2, half])
    part_b = np.concatenate([place_b[:2] + (part_a[:2] - place_a[:2]) * scale, half * scale])
    seen = 4 * max(half.prod() / size_a.prod(), (half * scale).prod() / size_b.prod())
    return (part_a, part_b) if seen >= _COMMON else None


def _samples(picture: Registered, place: NDArray[np.float64]) -> NDArray[np.float32]:
    return sample(picture.levels, place[None].astype(np.float32), _POINTS)[0]


def _step(
    target: NDArray[np.float32], found: NDArray[np.float32], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How to change `place`, at which `found` was sampled, to come nearer to `target`."""
    down, across = np.gradient(found)
    slopes = np.stack([across, down, across * _ACROSS, down * _DOWN]).reshape(4, -1)
    # A little more on the diagonal: on flat ground the equations are singular.
    normal = (slopes @ slopes.T).astype(np.float64) + 1e-3 * np.eye(4)
    change = np.linalg.solve(normal, slopes @ (target - found).ravel())
    # From samples to pixels; half of half a window at most, or a wild step would lead away.
    return np.clip(change * 2 / _POINTS, -0.25, 0.25) * np.concatenate([place[2:], place[2:]])


def _normalised(part: NDArray[np.float32]) -> NDArray[np.float32]:
    return (part - part.mean()) / max(float(part.std()), 1e-6)


def _detail(part: NDArray[np.float32]) -> NDArray[np.float32]:
    detail = (part - gaussian_filter(part, _LOCAL))[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return detail - detail.mean()
