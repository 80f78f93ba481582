"""Direct 4K text-to-image synthesis: fine-tune with wavelets, sample, measure.

The package follows the road from photographs to a measured image:
`data` -> `training` -> `sampling` -> `metrics`, on the ground floor of `wavelet`, `objectives`
and `vae`, with all that differs between base models kept in `families`.

Importing this package is cheap: nothing heavy is loaded until a module that needs it is imported.
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusion4k.curation.build import build_dataset
    from diffusion4k.metrics.evaluate import evaluate
    from diffusion4k.objectives import WaveletFlow
    from diffusion4k.sampling import Request, generate
    from diffusion4k.training.loop import train
    from diffusion4k.training.recipe.recipe import load_recipe

# Notices of a missing torchvision, which nothing here needs, are no news to our users. A level that
# somebody set stays.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

__version__ = "0.1.0"

__all__ = [
    "Request",
    "WaveletFlow",
    "__version__",
    "build_dataset",
    "evaluate",
    "generate",
    "load_recipe",
    "train",
]

# The last three are for diffusers: a saved pipeline names `diffusion4k` as its autoencoder's
# library, where the class is looked up and the base class that tells how it is loaded.
_LAZY = {
    **dict.fromkeys(("Request", "generate"), "diffusion4k.sampling"),
    "WaveletFlow": "diffusion4k.objectives",
    "build_dataset": "diffusion4k.curation.build",
    "evaluate": "diffusion4k.metrics.evaluate",
    "load_recipe": "diffusion4k.training.recipe.recipe",
    "train": "diffusion4k.training.loop",
    "ModelMixin": "diffusers",
    "PartitionedAutoencoderKL": "diffusion4k.vae",
    "ScaleConsistentAutoencoderKL": "diffusion4k.vae",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
