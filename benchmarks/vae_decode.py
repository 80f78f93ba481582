"""Time of a whole decode: lean at F=16, beside the reference's split in four and stock F=8 tiling.

    python benchmarks/vae_decode.py                     # SD3's size, random weights, 2048x2048
    python benchmarks/vae_decode.py --model PATH/TO/vae --size 1024 --repeats 3

All three give an image of the same size, with the same weights. Stock F=8 sees latents of twice the
side, in the tiles that diffusers chooses.
"""

import argparse

import torch
from common import Comparison, compare, save
from vae_memory import PlainTail, autoencoder

from diffusion4k.vae import lean_decode


def main() -> None:
    """Measure each reference in turn with the lean decode, print the ratios and save them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sd3")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tile", type=int, default=512, help="side of a tile of F=8, pixels")
    options = parser.parse_args()
    partitioned = autoencoder(options.model, torch.float32)
    split = autoencoder(options.model, torch.float32)
    split.decoder.conv_out = PlainTail(split.decoder.conv_out, 4)
    tiled = partitioned.to_autoencoder()
    tiled.enable_tiling()
    tiled.tile_sample_min_size, tiled.tile_latent_min_size = options.tile, options.tile // 8
    channels, side = partitioned.config.latent_channels, options.size // 16
    latents = torch.randn(1, channels, side, side)
    latents_f8 = torch.randn(1, channels, 2 * side, 2 * side)

    results: dict[str, Comparison] = {}
    references = {
        "split_in_four": lambda: split.decode(latents),
        "stock_f8_tiled": lambda: tiled.decode(latents_f8),
    }
    with torch.inference_mode():
        for name, reference in references.items():
            results[name] = compare(
                lambda: lean_decode(partitioned, latents), reference, options.repeats, warmup=0
            )
            print(f"{name}: {results[name]}", flush=True)
    kept = {"model": options.model, "size": options.size, "tile": options.tile}
    save(f"vae_decode_{options.model.strip('/').split('/')[-1]}_{options.size}", kept | results)


if __name__ == "__main__":
    main()
