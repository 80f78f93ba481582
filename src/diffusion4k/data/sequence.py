"""The endless sequence of a run's pictures, and its streams of random numbers.

A run takes its pictures from one endless sequence: epoch after epoch, each a permutation of all.
Micro-batch (step, micro, rank) takes the next `batch_size` positions of it, in the order step,
micro, rank. Whatever is random about a sample follows from the seed, a stream and its position
alone: a resumed run needs no state, and the same pictures come in a step however it is divided
among processes and micro-batches.
"""

from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

import numpy as np

__all__ = ["EndlessSequence", "Step", "Stream", "places_of", "random_at"]

Step: TypeAlias = list[range]
"""For each micro-batch of a step, the positions of its pictures."""


class Stream(IntEnum):
    """What random numbers are drawn for: the counter after the seed, so that no two are the same.

    There are two kinds of generators, and a number may stand once for each: NumPy's of `random_at`,
    for what is chosen, and torch's of `training.engine.randomness.generator_at`, for noise.
    """

    # random_at(seed, stream, ...)
    EPOCH = 0  # the order of all pictures, epoch by epoch
    SAMPLE = 1  # crop, mirroring and caption dropout, position by position
    POSTERIOR = 2  # latents of the autoencoder's posterior, position by position
    BUCKET_EPOCH = 2  # the order of the buckets' batches, epoch by epoch
    BUCKET_PASS = 3  # the order of a bucket's pictures, pass by pass

    # generator_at(seed, stream, ...)
    NOISE = 0  # noise and noise level, position by position
    VALIDATION = 1  # both for the validation loss, by the validation's own seed
    DISCRIMINATOR = 1  # first weights, in the autoencoder's training
    ADAPTER = 2  # first weights
    VELOCITY_ERROR = 3  # noise of an ablation's measure, picture by picture and level by level


def random_at(seed: int, stream: Stream, *counters: int) -> np.random.Generator:
    """A generator that follows from the counters (each in [0, 2^63)) alone."""
    return np.random.default_rng([seed, stream, *counters])


class EndlessSequence:
    """Which of `count` pictures stands at each position."""

    def __init__(self, count: int, seed: int) -> None:
        """`count` is at least 1, `seed` not negative."""
        self.count, self._seed = count, seed
        self._permutation = lru_cache(maxsize=2)(self._permutation_of)

    def __getitem__(self, place: int) -> int:
        """The picture at a position, from 0."""
        epoch, position = divmod(place, self.count)
        return int(self._permutation(epoch)[position])

    def epoch_from(self, place: int) -> np.ndarray:
        """All pictures of the epoch: that of the position first, those before it last."""
        epoch, position = divmod(place, self.count)
        return np.roll(self._permutation(epoch), -position)

    def random(self, place: int, stream: Stream = Stream.SAMPLE) -> np.random.Generator:
        """The generator of the sample at a position."""
        return random_at(self._seed, stream, place)

    def _permutation_of(self, epoch: int) -> np.ndarray:
        return random_at(self._seed, Stream.EPOCH, epoch).permutation(self.count)


def places_of(
    step: int, *, batch_size: int, gradient_accumulation: int, rank: int, world: int
) -> Step:
    """For each micro-batch of a step, the positions that process `rank` of `world` takes."""
    numbers = [
        (step * gradient_accumulation + micro) * world + rank
        for micro in range(gradient_accumulation)
    ]
    return [range(n * batch_size, (n + 1) * batch_size) for n in numbers]
