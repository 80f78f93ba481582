"""The bundled photographs through the pocket's autoencoder: what no image of the model can exceed.

python recipes/pocket/reconstruct.py --out runs/pocket/reconstructed
diffusion4k evaluate runs/pocket/reconstructed --reference pocket --all
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.pixels import normalised
from diffusion4k.sampling import Sampler

STEP = 32  # pixels a side of a token
MEMORY = 512 << 20  # of feature maps


@torch.no_grad()
def reconstruct(out: Path, model: str) -> None:
    """Encode and decode each photograph at its own size, cut to whole tokens."""
    sampler = Sampler(model, max_memory=MEMORY)
    family, pipeline = sampler.at_factor(16)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(photo_folder("pocket").glob("*.jpg")):
        with Image.open(path) as image:
            width, height = (side - side % STEP for side in image.size)
            pixels = np.array(image.convert("RGB").crop((0, 0, width, height)))
        parameter = next(pipeline.vae.parameters())
        images = normalised(pixels).to(parameter.device, parameter.dtype)
        latents = family.draw_latents(
            pipeline.vae, images, torch.Generator().manual_seed(0), MEMORY
        )
        made = np.concatenate(list(sampler.decode(latents, 16, width, height)))
        Image.fromarray(made).save(out / f"{path.stem}.png", compress_level=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/reconstructed"))
    parser.add_argument("--model", default="pocket")
    arguments = parser.parse_args()
    reconstruct(arguments.out, arguments.model)
