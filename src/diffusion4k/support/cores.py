"""How many CPU cores this process may use."""

import os

__all__ = ["cores"]


def cores() -> int:
    """Number of cores that the affinity allows (containers, `taskset`), or of all cores."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
