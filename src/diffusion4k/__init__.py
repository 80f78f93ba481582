"""Direct 4K text-to-image synthesis: fine-tune with wavelets, sample, measure.

The package follows the road from photographs to a measured image:
`data` -> `training` -> `sampling` -> `metrics`, on the ground floor of `wavelet`, `objectives`
and `vae`, with all that differs between base models kept in `families`.

Importing this package is cheap: nothing heavy is loaded until a module that needs it is imported.
"""

import importlib
import os

# Notices of a missing torchvision, which nothing here needs, are no news to our users. A level that
# somebody set stays.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

__version__ = "0.1.0"

__all__ = ["__version__"]

# A saved pipeline names `diffusion4k` as its autoencoder's library, and diffusers looks two names
# up there: the class, and the base class that tells how it is loaded.
_LAZY = {
    "ModelMixin": "diffusers",
    "PartitionedAutoencoderKL": "diffusion4k.vae",
    "ScaleConsistentAutoencoderKL": "diffusion4k.vae",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
