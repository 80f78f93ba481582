"""ComfyUI of a checkout in this process, on the CPU, for checks and benchmarks."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

__all__ = ["ABSENT_IS_FINE", "start_comfyui"]

ABSENT_IS_FINE = ("torchvision", "torchaudio")
"""Imported by ComfyUI's models of video and sound, and by nothing that is checked here."""


class _Placeholder(ModuleType):
    """A package whose every name is there and means nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> MagicMock:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


def start_comfyui(checkout: Path) -> str:
    """Make ComfyUI's modules importable, with PyTorch's attention on the CPU; its version.

    Packages of `ABSENT_IS_FINE` that are not installed get a placeholder.

    Raises:
        SystemExit: `checkout` is no checkout of ComfyUI.
    """
    if not (checkout / "comfy" / "sd.py").is_file():
        raise SystemExit(f"{checkout}: no checkout of ComfyUI (comfy/sd.py is not there)")
    # These ask whether torchvision is there: before it seems to be.
    import diffusers
    import transformers.utils

    diffusers.utils.is_torchvision_available()
    transformers.utils.is_torchvision_available()
    for package in ABSENT_IS_FINE:
        if find_spec(package) is None:
            for name in (package, f"{package}.transforms", f"{package}.functional"):
                sys.modules[name] = _Placeholder(name)
    sys.path.insert(0, str(checkout))
    arguments = sys.argv
    sys.argv = ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args

    sys.argv = arguments
    import comfyui_version

    return str(comfyui_version.__version__)
