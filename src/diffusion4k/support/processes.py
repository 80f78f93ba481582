"""This process among those of a run, as its launcher says in the environment.

`accelerate launch` and torchrun set these variables; they can be read before torch is imported.
"""

import os

__all__ = ["is_first_here", "is_main", "process_count"]


def is_main() -> bool:
    """Whether this is the process that reports."""
    return os.environ.get("RANK", "0") == "0"


def is_first_here() -> bool:
    """Whether this is the first process of its machine, where something of its own may be wrong."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def process_count() -> int:
    """Number of processes of this run.

    Raises:
        ValueError: the variable holds no number.
    """
    return int(os.environ.get("WORLD_SIZE", "1"))
