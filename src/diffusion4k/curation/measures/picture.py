"""A photograph, and what several measures need of it, worked out once."""

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.measures.noise import noise_sigma
from diffusion4k.curation.measures.spectrum import NoiseFreeSpectrum, pooled_spectrum
from diffusion4k.errors import Diffusion4kError

__all__ = ["WHITE", "Photograph"]

WHITE = 253
"""Grey value, of 255, that a JPEG may leave of a channel that was clipped."""

Value = TypeVar("Value")


class _once(Generic[Value]):  # noqa: N801 (a decorator)
    """`functools.cached_property` without the lock that it has before Python 3.12.

    That lock is shared by all pictures, so that threads would measure one after the other.
    """

    def __init__(self, function: Callable[["Photograph"], Value]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, picture: "Photograph", kind: type) -> Value:
        value = picture.__dict__[self._function.__name__] = self._function(picture)
        return value


class Photograph:
    """An RGB photograph, uint8 `(H, W, 3)`.

    Raises:
        Diffusion4kError: an array of another kind.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise Diffusion4kError(
                f"image array of {pixels.dtype} {pixels.shape}: measures take uint8 (H, W, 3) RGB"
            )
        self.pixels = np.ascontiguousarray(pixels)

    @_once
    def _grey_and_counts(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
        from diffusion4k.curation.measures._kernels import grey_and_histogram

        grey = np.empty(self.pixels.shape[:2], np.uint8)
        histogram = np.zeros(256, np.int64)
        # A copy of what is read-only would be a second compiled kernel the cheaper way round.
        pixels = self.pixels if self.pixels.flags.writeable else self.pixels.copy()
        blown_out = grey_and_histogram(pixels, grey, histogram, WHITE)
        return grey, histogram, blown_out

    @property
    def grey(self) -> NDArray[np.uint8]:
        """Grey values `(H, W)`, with OpenCV's weights and rounding."""
        return self._grey_and_counts[0]

    @property
    def histogram(self) -> NDArray[np.int64]:
        """How many pixels have each of the 256 grey values."""
        return self._grey_and_counts[1]

    @property
    def blown_out(self) -> int:
        """How many pixels have a channel of `WHITE` or more."""
        return self._grey_and_counts[2]

    @_once
    def noise(self) -> float:
        """Standard deviation of the noise in grey values: see `noise.py`."""
        return noise_sigma(self.grey)

    @_once
    def spectrum(self) -> NoiseFreeSpectrum | None:
        """Energy by frequency and direction of the most detailed tiles; None without a tile."""
        return pooled_spectrum(self.grey, self.noise)

    @_once
    def steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean step in grey values, at most 16, from each column and from each row to the next."""
        from diffusion4k.curation.measures._kernels import step_profiles

        height, width = self.grey.shape
        across, down = np.zeros(width - 1, np.int64), np.zeros(height - 1, np.int64)
        step_profiles(self.grey, 16, across, down)
        return across / height, down / width
