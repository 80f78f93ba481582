"""Weights of metric networks that no package brings: a file here, or a file on the hub."""

import re
from pathlib import Path

import torch
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = ["find_weights", "read_weights"]

_HUB_FILE = re.compile(
    r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/([\w./-]+\.(?:pth|pt|safetensors))"
)


def find_weights(name: str | Path) -> Path:
    """A local file, or `OWNER/NAME/FILE` from the hub (or its cache, where there is no network).

    Raises:
        UsageError: no such file, and no hub file by its form.
        Diffusion4kError: the hub has no such file or cannot be reached.
    """
    path = Path(name)
    if path.is_file():
        return path
    parts = _HUB_FILE.fullmatch(str(name))
    if parts is None or path.is_absolute():
        raise UsageError(
            f"{name}: no such file: give a .pth or .safetensors file, or OWNER/NAME/FILE on the hub"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(parts[1], parts[2]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise Diffusion4kError(
            f"{name}: not on this machine, and the hub does not give it ({type(error).__name__}): "
            "download the file where there is a network and give its path"
        ) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch state dict.

    Raises:
        Diffusion4kError: neither of them.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Diffusion4kError(f"{path}: cannot be read as weights: {reason}") from None
    if not isinstance(weights, dict):
        raise Diffusion4kError(f"{path}: holds a {type(weights).__name__}, no weights by name")
    return {name: value for name, value in weights.items() if isinstance(value, Tensor)}
