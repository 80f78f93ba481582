"""How many CPU cores this process may use."""

import os

__all__ = ["cores"]


def cores() -> int:
    """Those its affinity allows (containers, `taskset`), or all where a system keeps none."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
