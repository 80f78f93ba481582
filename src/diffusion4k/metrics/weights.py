"""Weights of metric networks that no package brings: files or folders here, or on the hub.

A name may end in `#sha256=` and 64 hexadecimal digits: the file is then used only with that
checksum. Files whose published checksum is known are checked by their name alone.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.files import sha256_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PUBLISHED", "find_weights", "fingerprint", "load_model", "one_line", "read_weights"]

PUBLISHED = {
    "pt_inception-2015-12-05-6726825d.pth": (
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    ),
    "alexnet-owt-7be5be79.pth": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "vgg16-397923af.pth": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "sac+logos+ava1-l14-linearMSE.pth": (
        "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"
    ),
}
"""SHA-256 of published files that carry these names everywhere."""

_HUB_FILE = re.compile(
    r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/([\w./+-]+\.(?:pth|pt|safetensors))"
)
_CHECKSUM = "#sha256="
_MODEL_FILES = ("model.safetensors", "pytorch_model.bin")


def find_weights(name: str | Path) -> Path:
    """A local file, or `OWNER/NAME/FILE` from the hub (or its cache, where there is no network).

    Raises:
        UsageError: no such file, and no hub file by its form.
        Diffusion4kError: the hub has no such file or cannot be reached, or the file is not the one
            of the checksum.
    """
    source, expected = _split(str(name))
    path = Path(source)
    if not path.is_file():
        path = _from_hub(source)
    expected = expected or PUBLISHED.get(path.name)
    if expected:
        _check(path, expected)
    return path


def read_weights(path: Path) -> "dict[str, Tensor]":
    """The tensors of a .safetensors file or of a PyTorch state dict.

    Raises:
        Diffusion4kError: neither of them.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise Diffusion4kError(f"{path}: cannot be read as weights: {one_line(error)}") from None
    if not isinstance(weights, dict):
        raise Diffusion4kError(f"{path}: holds a {type(weights).__name__}, not weights by name")
    return {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}


# The library's own types say of `from_pretrained` and `to` what does not hold.
def load_model(kind: Any, name: str, example: str) -> Any:
    """A transformers model of class `kind` in float32, from its folder or hub id.

    `example` is a hub id that would be right, for the message. A checksum in the name is that of
    the folder's `model.safetensors`, or `pytorch_model.bin`.

    Raises:
        Diffusion4kError: nothing there, broken or truncated, of another architecture, or not the
            file of the checksum.
    """
    import torch

    source, expected = _split(name)
    advice = f"give its folder or hub id, such as {example}"
    model_type = kind.config_class.model_type
    try:
        if expected:
            _check(_model_file(source), expected)
        found = kind.config_class.get_config_dict(source)[0].get("model_type")
        if found not in (model_type, None):
            raise ValueError(f"its config is that of a {found} model")
        model, report = kind.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    except Diffusion4kError:
        raise
    except Exception as error:
        raise Diffusion4kError(
            f"{source}: no {model_type} model can be loaded from there ({one_line(error)}): "
            f"{advice}"
        ) from None
    # transformers fills what a file lacks with random numbers.
    if report["missing_keys"]:
        lacking = sorted(report["missing_keys"])
        raise Diffusion4kError(
            f"{source}: not a {model_type} model: its weights lack {len(lacking)} tensors, "
            f"such as {lacking[0]}: {advice}"
        )
    return model.eval().requires_grad_(False)


def fingerprint(tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 of named tensors: equal for equal numbers, in whatever file they came."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tuple(tensors[name].shape)} {flat.dtype} ".encode())
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _split(name: str) -> tuple[str, str | None]:
    """Place and checksum."""
    source, sign, digits = name.partition(_CHECKSUM)
    if not sign:
        return source, None
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise UsageError(
            f"{source}: the checksum {digits!r} behind `{_CHECKSUM}` has {len(digits)} characters; "
            "SHA-256 is 64 hexadecimal digits, as `sha256sum FILE` prints them"
        )
    return source, digits.lower()


def _check(path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise Diffusion4kError(
            f"{path}: SHA-256 is {found}, expected {expected}: the file is damaged or another one; "
            "download it again"
        )


def _from_hub(name: str) -> Path:
    parts = _HUB_FILE.fullmatch(name)
    if parts is None or Path(name).is_absolute():
        raise UsageError(
            f"{name}: no such file: give a .pth or .safetensors file, or OWNER/NAME/FILE on the hub"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(parts[1], parts[2]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise Diffusion4kError(
            f"{name}: not on this machine, and not provided by the hub ({type(error).__name__}): "
            "download the file where there is a network and give its path"
        ) from None


def _model_file(source: str) -> Path:
    """The one file of weights of a model."""
    if Path(source).is_dir():
        for file in _MODEL_FILES:
            if (Path(source) / file).is_file():
                return Path(source) / file
        raise ValueError(f"none of {', '.join(_MODEL_FILES)} is in it to be checked")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(source, _MODEL_FILES[0]))


def one_line(error: Exception) -> str:
    """What a library's error says, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
