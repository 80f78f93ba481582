"""From prompts to images, through the stock pipeline of the model's family.

from diffusion4k.sampling import Request, generate

generate([Request("a lighthouse in the fog", seed=1)], model="pocket", out="images")
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusion4k.sampling.batch import Output, generate
    from diffusion4k.sampling.files import read_metadata
    from diffusion4k.sampling.options import LoadingOptions, SamplingOptions
    from diffusion4k.sampling.request import Request, SamplingSettings, read_prompts
    from diffusion4k.sampling.sampler import Sampler

__all__ = [
    "LoadingOptions",
    "Output",
    "Request",
    "Sampler",
    "SamplingOptions",
    "SamplingSettings",
    "generate",
    "read_metadata",
    "read_prompts",
]

_MODULES = {
    **dict.fromkeys(("LoadingOptions", "SamplingOptions"), "options"),
    **dict.fromkeys(("Request", "SamplingSettings", "read_prompts"), "request"),
    **dict.fromkeys(("Output", "generate"), "batch"),
    "Sampler": "sampler",
    "read_metadata": "files",
}


def __getattr__(name: str) -> object:
    # The command line's help reads the options, and need not wait for diffusers.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
