"""Starting from an image: a 2K image refined at 4K (SDEdit, Meng et al., arXiv 2108.01073).

The image is enlarged, encoded, noised up to the sigma where the last `strength` of the sampling
steps begins, and denoised from there by the family's stock image-to-image pipeline.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from diffusion4k.data.images import open_rgb
from diffusion4k.data.pixels import normalised

__all__ = ["image_to_image", "initial_image"]


def initial_image(path: str | Path, width: int, height: int) -> Tensor:
    """The image at `width` x `height` pixels, `(1, 3, height, width)` in [-1, 1].

    Of another aspect ratio the middle is taken.

    Raises:
        Diffusion4kError: no such file, no image, or a damaged one.
    """
    image = ImageOps.fit(open_rgb(path), (width, height), Image.Resampling.LANCZOS)
    return normalised(np.array(image))


def image_to_image(pipeline: Any, pipeline_class: str) -> Any:
    """The stock image-to-image pipeline of that class, of the same parts; it takes latents too."""
    import diffusers

    found = getattr(diffusers, pipeline_class)(**pipeline.components)
    # By their channels it tells latents from images; not all classes say how many there are.
    channels = pipeline.vae.config.latent_channels
    found.image_processor.register_to_config(vae_latent_channels=channels)
    found.set_progress_bar_config(disable=True)
    return found
