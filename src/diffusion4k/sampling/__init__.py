"""From prompts to images, through the stock pipeline of the model's family.

from diffusion4k.sampling import Request, generate

generate([Request("a lighthouse in the fog", seed=1)], model="pocket", out="images")
"""

from diffusion4k.sampling.batch import Output, generate
from diffusion4k.sampling.files import read_metadata
from diffusion4k.sampling.request import Request, Settings, read_prompts
from diffusion4k.sampling.sampler import Sampler

__all__ = ["Output", "Request", "Sampler", "Settings", "generate", "read_metadata", "read_prompts"]
