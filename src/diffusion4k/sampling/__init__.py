"""From prompts to images, through the stock pipeline of the model's family.

from diffusion4k.sampling import Request, generate

generate([Request("a lighthouse in the fog", seed=1)], model="pocket", out="images")
"""

from typing import TYPE_CHECKING

from diffusion4k.sampling.files import read_metadata
from diffusion4k.sampling.request import Request, SamplingSettings, read_prompts

if TYPE_CHECKING:
    from diffusion4k.sampling.batch import Output, generate
    from diffusion4k.sampling.sampler import Sampler

__all__ = [
    "Output",
    "Request",
    "Sampler",
    "SamplingSettings",
    "generate",
    "read_metadata",
    "read_prompts",
]


def __getattr__(name: str) -> object:
    # Who only reads prompts and records need not wait for diffusers.
    if name in ("Output", "generate"):
        from diffusion4k.sampling import batch

        return getattr(batch, name)
    if name == "Sampler":
        from diffusion4k.sampling.sampler import Sampler

        return Sampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
