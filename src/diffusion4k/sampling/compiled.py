"""A transformer whose blocks are compiled, each kind of block once.

Whole networks take minutes to compile; the blocks of a transformer are alike, so that one of them
stands for all (regional compilation). What the compiler makes is kept on disk, for the next run.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from diffusion4k.errors import Diffusion4kError

__all__ = ["check_compiler", "compile_blocks"]

_FOLDER = "compiled"


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where nothing is there to do it.

    Raises:
        Diffusion4kError: says what to install.
    """
    if device.type == "cpu":
        compilers = (os.environ.get("CXX"), "g++", "clang++", "c++")
        if not any(name and shutil.which(name) for name in compilers):
            raise Diffusion4kError(
                "compile: there is no C++ compiler: install g++, or leave the option out"
            )
    elif find_spec("triton") is None:
        raise Diffusion4kError(
            f"compile: {device} needs the package triton: install it, or leave the option out"
        )


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
