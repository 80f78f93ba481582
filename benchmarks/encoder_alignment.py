"""Which untrained way to F=16 sits best on the pixels: PSNR of three on the same photographs.

    python benchmarks/encoder_alignment.py [FOLDER] [--vae pocket-f8] [--size 512]

- stride: the first convolution with stride 2 (`PartitionedAutoencoderKL`);
- average: its taps averaged over 2x2 shifts (start of `ScaleConsistentAutoencoderKL`);
- shifted: as stride, with the reference's decode, whose partitions are cropped one pixel off: the
  image comes out one pixel right and down. Its first row and column, for which that decode has
  other pixels, are left out, here and in the other two.

No autoencoder is trained; FOLDER is by default the bundled photographs.
"""

import argparse
from pathlib import Path

import numpy as np
from common import save

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.picture_files import list_images
from diffusion4k.metrics.fidelity import psnr
from diffusion4k.models.folder import (
    resolve_autoencoder,
)
from diffusion4k.reconstruction.evaluate import SquarePhotograph, reconstruct
from diffusion4k.vae import (
    PartitionedAutoencoderKL,
    ScaleConsistentAutoencoderKL,
    load_stock_autoencoder,
)


def measure(folder: str, vae: str, size: int) -> dict[str, float]:
    """Mean PSNR in dB of the central squares, by the way to F=16."""
    stock = load_stock_autoencoder(resolve_autoencoder(vae)).eval()
    stride = PartitionedAutoencoderKL.from_autoencoder(stock).eval()
    average = ScaleConsistentAutoencoderKL.from_autoencoder(stock, "average").eval()
    found: dict[str, list[float]] = {"stride": [], "average": [], "shifted": []}
    for path in list_images(photo_folder(folder)):
        image = SquarePhotograph(path, size, allow_enlarging=True).pixels()
        plain = reconstruct(stride, image)
        shifted = np.roll(plain, (1, 1), (0, 1))
        for name, back in (
            ("stride", plain),
            ("average", reconstruct(average, image)),
            ("shifted", shifted),
        ):
            found[name].append(psnr(back[1:, 1:], image[1:, 1:]))
    return {name: float(np.mean(values)) for name, values in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="pocket")
    parser.add_argument("--vae", default="pocket-f8")
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    result = measure(arguments.folder, arguments.vae, arguments.size)
    for name, value in result.items():
        print(f"{name:8} {value:.2f} dB")
    where = Path(arguments.folder).name
    save(f"encoder_alignment_{where}_{arguments.vae}_{arguments.size}", result)
