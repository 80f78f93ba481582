"""Telling models apart by content, in a moment even for weights of many gigabytes."""

import hashlib
import json
from pathlib import Path

from diffusion4k.families.base import model_settings
from diffusion4k.families.component import (
    loaded_files,
)
from diffusion4k.models.folder import (
    component_folder,
    components_of,
    parts_folder,
)
from diffusion4k.models.hub import INDEX

__all__ = ["fingerprint"]

_MIB = 1 << 20
_BLOCK = 4096
_WHOLE = 64 * _MIB
_SETTINGS = ("high_resolution", "max_sequence_length")  # those that change what a model computes


def fingerprint(model: Path) -> str:
    """Sixteen hexadecimal digits that name the content of a model folder's components.

    Files up to 64 MiB count in full; of larger ones the size and 4 KiB of every MiB, so that a
    change in any tensor of a MiB or more is seen. File times and the folder's own name and path
    do not count, nor do files beside the components (training state, model card), but for the
    settings of `diffusion4k.json` that change what the model computes.
    """
    digest = hashlib.sha256()
    index = model if (model / INDEX).is_file() else parts_folder(model)
    files = [(INDEX, index / INDEX)]
    for part in sorted(components_of(model)):
        folder = component_folder(model, part)
        files += [
            (f"{part}/{path.relative_to(folder).as_posix()}", path) for path in loaded_files(folder)
        ]
    for name, path in files:
        size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as handle:
            if size <= _WHOLE:
                while block := handle.read(_MIB):
                    digest.update(block)
            else:
                for offset in range(0, size, _MIB):
                    handle.seek(offset)
                    digest.update(handle.read(_BLOCK))
    if settings := {k: v for k, v in model_settings(model).items() if k in _SETTINGS}:
        digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:16]
