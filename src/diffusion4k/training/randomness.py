"""Random numbers as a function of counters.

The noise of a micro-batch depends on (seed, step, micro-batch, rank) alone, never on what was
drawn before it: a resumed run needs no generator state to go on bit for bit, and the same numbers
come out on every device as they are drawn on the CPU.
"""

import hashlib
import struct

import torch

__all__ = ["generator_at"]


def generator_at(*counters: int) -> torch.Generator:
    """A CPU generator seeded by a hash of the counters (each in [0, 2^63))."""
    digest = hashlib.blake2b(struct.pack(f"<{len(counters)}q", *counters), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
