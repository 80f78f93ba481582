"""The enlarged draft of a photograph: what a stage of sampling starts from, for training.

A stage of `generate --stages` begins with the picture of the stage before, enlarged. A photograph
plays that part when it is reduced, goes through the autoencoder, as the picture did, and is
enlarged again. How training uses the pair: see `training.stage`.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from diffusion4k.data.pixels import normalised, rounded
from diffusion4k.families.base import Family

__all__ = ["enlarged_draft", "with_draft"]


def with_draft(family: Family, autoencoder: nn.Module, images: Tensor, enlargement: int) -> Tensor:
    """Normalised latents of images `(B, 3, H, W)` and of their drafts, `(B, 2C, h, w)`."""
    drafts = enlarged_draft(family, autoencoder, images, enlargement)
    return torch.cat([family.encode_images(autoencoder, each) for each in (images, drafts)], dim=1)


def enlarged_draft(
    family: Family, autoencoder: nn.Module, images: Tensor, enlargement: int
) -> Tensor:
    """Images `(B, 3, H, W)` in [-1, 1], reduced, encoded, decoded and enlarged to their size.

    Resized by Lanczos and rounded to 8 bits, as between the stages of sampling. Reduced sides are
    whole latents.
    """
    height, width = images.shape[-2:]
    whole = family.factor
    small = [max(round(side / enlargement / whole), 1) * whole for side in (width, height)]
    reduced = _resized(images, small[0], small[1]).to(images.device, images.dtype)
    decoded = family.decode_latents(autoencoder, family.encode_images(autoencoder, reduced))
    return _resized(decoded, width, height).to(images.device, images.dtype)


def _resized(images: Tensor, width: int, height: int) -> Tensor:
    pictures = (
        Image.fromarray(rounded(image)).resize((width, height), Image.Resampling.LANCZOS)
        for image in images
    )
    return torch.cat([normalised(np.array(picture)) for picture in pictures])
