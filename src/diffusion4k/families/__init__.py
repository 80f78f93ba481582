"""Base-model families: the only code that knows what differs between them.

`resolve(model)` finds the local folder of a model, or makes one for a transformer in one file, and
`family_of(folder)` finds who can handle it. Every file of this package whose class names a
`pipeline_class` is a family; there is no other list.
"""

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion4k.errors import Diffusion4kError
from diffusion4k.models import folder
from diffusion4k.models.folder import model_index

if TYPE_CHECKING:
    from diffusion4k.families.base import Checkpoint, Defaults, Family

_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

__all__ = [
    "Checkpoint",
    "Defaults",
    "Family",
    "families",
    "family_of",
    "resolve",
    "unchecked_family_of",
]


def __getattr__(name: str) -> Any:
    # Who only looks for a model's folder need not wait for torch.
    if name in ("Checkpoint", "Defaults", "Family"):
        return getattr(importlib.import_module(f"{__name__}.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resolve(model: str | Path, parts: Collection[str] | None = None) -> Path:
    """The local folder of a model: as `models.folder.resolve` has it, or a .safetensors file.

    Raises:
        UsageError: no such model, or a file whose other parts are not known.
        Diffusion4kError: the hub is out of reach, or what was found is damaged or incomplete.
    """
    if Path(model).suffix in _FILES and Path(model).is_file():
        found: Path = importlib.import_module(f"{__name__}.file_model").model_folder(
            Path(model), parts
        )
        return found
    return folder.resolve(model, parts)


@cache
def families() -> dict[str, Any]:
    """The class of each family, by the pipeline class that its folders name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and "pipeline_class" in vars(value):
                found[vars(value)["pipeline_class"]] = value
    return found


def family_of(
    model: Path,
    factor: int | None = None,
    high_resolution: Mapping[str, Any] | None = None,
    max_sequence_length: int | None = None,
) -> "Family":
    """The family of a model folder, by the `_class_name` in its `model_index.json`.

    Args:
        factor: pixels a side of one latent; by default the family's own choice (16 where the
            autoencoder can do it).
        high_resolution: options of `models.high_resolution` in place of the folder's, by key.
        max_sequence_length: tokens of the longest text in place of the folder's.

    Raises:
        Diffusion4kError: no `model_index.json`, a pipeline class that no family handles, or a
            folder that is not complete.
        UsageError: a factor or an option of high resolution that the family cannot do.
    """
    family = unchecked_family_of(model, factor, high_resolution, max_sequence_length)
    family.check(model)
    return family


def unchecked_family_of(
    model: Path,
    factor: int | None = None,
    high_resolution: Mapping[str, Any] | None = None,
    max_sequence_length: int | None = None,
) -> "Family":
    """Family of a folder that may hold no more than configurations; see `family_of`.

    Raises:
        Diffusion4kError: no `model_index.json`, or a pipeline class that no family handles.
        UsageError: a factor that the family cannot do.
    """
    name = model_index(model)["_class_name"]
    for kind in families().values():
        if does := kind.relatives.get(name):
            raise Diffusion4kError(
                f"{model}: a {name} {does}, and images are made from text alone here: take a model "
                f"of a {kind.pipeline_class}, like {kind.checkpoints[0].hub_id}"
            )
    if name not in families():
        raise Diffusion4kError(
            f"{model}: pipeline class {name} is not supported; supported: "
            f"{', '.join(sorted(families()))}"
        )
    family: Family = families()[name](factor, high_resolution, max_sequence_length)
    return family
