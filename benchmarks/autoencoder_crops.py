"""Autoencoders on random crops of photographs: mean PSNR and EffNet-PD.

    python benchmarks/autoencoder_crops.py [FOLDER] --vae pocket-f8 --vae pocket

`diffusion4k vae eval` measures whole squares; these are 128 crops of 128x128 pixels of photographs
reduced to shorter side 1536, the crops on which `vae train` validates. The first autoencoder is
the one that the others are compared with. FOLDER is by default the bundled photographs.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save

from diffusion4k.data.crops import ImageCrops
from diffusion4k.data.folder import photo_folder, scan_folder
from diffusion4k.metrics.architectures.perceptual import EffNetDistance
from diffusion4k.models.folder import (
    resolve_autoencoder,
)
from diffusion4k.vae import load_autoencoder

CROP = 128


@torch.inference_mode()
def measure(crops: torch.Tensor, vae: str) -> dict[str, list[float]]:
    """PSNR in dB and EffNet-PD of every crop."""
    autoencoder = load_autoencoder(resolve_autoencoder(vae)).eval()
    distance = EffNetDistance()
    found: dict[str, list[float]] = {"psnr": [], "effnet_pd": []}
    for batch in crops.split(16):
        back = autoencoder.decode(autoencoder.encode(batch).latent_dist.mode()).sample.clamp(-1, 1)
        error = (back - batch).square().mean((1, 2, 3))
        found["psnr"] += (10 * torch.log10(4 / error)).tolist()
        found["effnet_pd"] += distance(back, batch).tolist()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="pocket")
    parser.add_argument("--vae", action="append", required=True)
    parser.add_argument("--resolution", type=int, default=1536)
    parser.add_argument("--crops", type=int, default=128)
    arguments = parser.parse_args()
    photos = scan_folder(photo_folder(arguments.folder)).usable(skip_bad=False)
    source = ImageCrops(photos, crop=(CROP, CROP), resolution=arguments.resolution, seed=0)
    crops = torch.stack([source.sample(place) for place in range(arguments.crops)])
    result: dict[str, Any] = {}
    for vae in arguments.vae:
        means = {name: float(np.mean(found)) for name, found in measure(crops, vae).items()}
        first = result.setdefault(Path(arguments.vae[0]).name, means)
        result[Path(vae).name] = means
        print(
            f"{vae}: PSNR {means['psnr']:.2f} dB "
            f"({means['psnr'] - first['psnr']:+.2f}), EffNet-PD {means['effnet_pd']:.3f} "
            f"({means['effnet_pd'] / first['effnet_pd']:.2f} of the first)"
        )
    where = Path(arguments.folder).name
    save(f"autoencoder_crops_{where}_{arguments.resolution}", result)
