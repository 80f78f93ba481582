"""Base-model families: the only place that knows what differs between them.

`resolve(model)` finds the local folder of a model and `family_of(folder)` who can handle it.
"""

import importlib
from pathlib import Path

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.base import Defaults, Family
from diffusion4k.families.folder import model_index, resolve

__all__ = ["Defaults", "Family", "family_of", "resolve"]

# Pipeline class in model_index.json -> module and class of the family; imported when asked for.
_FAMILIES = {"StableDiffusion3Pipeline": ("diffusion4k.families.sd3", "StableDiffusion3")}


def family_of(model: Path) -> Family:
    """The family of a model folder, by the `_class_name` in its `model_index.json`.

    Raises:
        Diffusion4kError: no `model_index.json`, or a pipeline class that no family handles.
    """
    name = model_index(model)["_class_name"]
    if name not in _FAMILIES:
        raise Diffusion4kError(
            f"{model}: pipeline class {name} is not supported; supported: {', '.join(_FAMILIES)}"
        )
    module, family = _FAMILIES[name]
    return getattr(importlib.import_module(module), family)()
