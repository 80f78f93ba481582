"""A transformer whose blocks are compiled, each kind of block once.

Whole networks take minutes to compile; the blocks of a transformer are alike, so that one of them
stands for all (regional compilation). What the compiler makes is kept on disk, for the next run.
"""

import os
from pathlib import Path

from torch import nn

__all__ = ["compile_blocks"]

_FOLDER = "compiled"


def compile_blocks(transformer: nn.Module) -> None:
    """Compile the blocks of a transformer when they are first called.

    The compiler's files go where `TORCHINDUCTOR_CACHE_DIR` says, by default beside our other
    caches, and not to the system's temporary files.
    """
    home = Path(os.environ.get("DIFFUSION4K_CACHE") or "~/.cache/diffusion4k").expanduser()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / _FOLDER))
    for part in transformer.children():
        if isinstance(part, nn.ModuleList):
            for block in part:
                block.compile()
