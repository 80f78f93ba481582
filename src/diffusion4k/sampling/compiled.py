"""A transformer whose blocks are compiled, each kind of block once.

Whole networks take minutes to compile; the blocks of a transformer are alike, so that one of them
stands for all (regional compilation). What the compiler makes is kept on disk, for the next run.
"""

import hashlib
import os
import platform
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


def compile_blocks(transformer: nn.Module, device: torch.device) -> None:
    """Compile the blocks of a transformer, for that device, when they are first called.

    The compiler's files go where `TORCHINDUCTOR_CACHE_DIR` says, by default beside our other
    caches, and not to the system's temporary files.
    """
    home = Path(os.environ.get("DIFFUSION4K_CACHE") or "~/.cache/diffusion4k").expanduser()
    folder = os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / _FOLDER))
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        _check_instructions_once(Path(folder))
    for part in transformer.children():
        if isinstance(part, nn.ModuleList):
            for block in part:
                block.compile()


def _check_instructions_once(folder: Path) -> None:
    """Let a run trust what an earlier one found out about the CPU's vector instructions.

    For each kind that the CPU names the compiler starts a process of its own, in every run, to see
    whether code with them can be loaded: that takes longer than to read its cache.
    """
    from torch._inductor import config, cpu_vec_isa

    flags = " ".join(sorted(cpu_vec_isa.x86_isa_checker()))
    key = hashlib.sha256(f"{torch.__version__} {flags}".encode()).hexdigest()[:16]
    checked = folder / f"instructions-{key}"
    if not checked.exists():
        found = cpu_vec_isa.valid_vec_isa_list()
        with config.patch({"cpp.vec_isa_ok": True}):
            named = cpu_vec_isa.valid_vec_isa_list.__wrapped__()
        if found != named:  # Some do not work here: they are left out by asking each time.
            return
        folder.mkdir(parents=True, exist_ok=True)
        checked.touch()
    config.cpp.vec_isa_ok = True
