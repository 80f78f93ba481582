"""Random numbers as a function of counters.

The noise of a sample depends only on the seed and on the sample's position in the run, never on
what was drawn before it: a resumed run needs no generator state to continue bit for bit. The
numbers are the same however a step is divided among processes and micro-batches, and on every
device, because they are drawn on the CPU.
"""

import hashlib
import struct

import torch
from torch import Tensor

from diffusion4k.data.sequence import Stream
from diffusion4k.timesteps import TimestepDistribution

__all__ = ["draw_noise", "generator_at"]


def generator_at(*counters: int) -> torch.Generator:
    """A CPU generator seeded by a hash of the counters (each in [0, 2^63))."""
    digest = hashlib.blake2b(struct.pack(f"<{len(counters)}q", *counters), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw_noise(
    seed: int, places: Tensor, shape: torch.Size, timesteps: TimestepDistribution
) -> tuple[Tensor, Tensor]:
    """Noise `(B, *shape)` and sigma `(B,)` of the samples at `places` `(B,)`; both float32."""
    generators = [generator_at(seed, Stream.NOISE, place) for place in places.tolist()]
    # The noise first: so it is the same under every distribution of sigma.
    noise = torch.stack([torch.randn(shape, generator=g) for g in generators])
    return noise, torch.cat([timesteps.sample(1, generator) for generator in generators])
