"""Peak memory of decoding one image at F=16: lean, folded tail, plain upsampling, split in four.

    python benchmarks/vae_memory.py                           # the pocket autoencoder, 4096x4096
    python benchmarks/vae_memory.py --model PATH/TO/vae       # any AutoencoderKL folder
    python benchmarks/vae_memory.py --model sd3 --dtype bfloat16   # SD3's size, random weights

Each decode runs in a fresh process; its peak is the operating system's figure for that process,
libraries included (the line `idle` says what they and the weights take).
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import peak_memory, resident_memory, save, seconds
from torch import Tensor, nn

from diffusion4k.models.folder import (
    resolve_autoencoder,
)
from diffusion4k.vae import PartitionedAutoencoderKL, lean_decode, load_autoencoder

POCKET = "pocket-f8"  # the other tails need a last convolution of the stock kind
CHANNELS = {"sd3": (128, 256, 512, 512)}  # Stable Diffusion 3's autoencoder
TAILS = ("lean", "folded", "plain", "split_in_four")


class PlainTail(nn.Module):
    """Nearest x2, then the convolution: at once, or in 2x2 partitions with a halo of one pixel."""

    def __init__(self, conv: nn.Conv2d, partitions: int) -> None:
        super().__init__()
        # `SubPixelConv2d` is a `Conv2d` with another `forward`.
        self.weight, self.bias = conv.weight, conv.bias
        self.partitions = partitions

    def forward(self, x: Tensor) -> Tensor:
        if self.partitions == 1:
            return self._upsample(x)
        padded = F.pad(x, (1, 1, 1, 1))
        h, w = x.shape[-2] // 2, x.shape[-1] // 2
        rows = []
        for top in (0, h):
            row = []
            for left in (0, w):
                part = self._upsample(padded[..., top : top + h + 2, left : left + w + 2])
                row.append(part[..., 2 : 2 + 2 * h, 2 : 2 + 2 * w])
            rows.append(torch.cat(row, dim=-1))
        return torch.cat(rows, dim=-2)

    def _upsample(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(x, self.weight, self.bias, padding=1)


def autoencoder(model: str, dtype: torch.dtype) -> PartitionedAutoencoderKL:
    """The one in folder `model`, or one with random weights of a size in `CHANNELS`."""
    if model not in CHANNELS:
        return load_autoencoder(resolve_autoencoder(model), dtype)
    torch.manual_seed(0)
    channels = CHANNELS[model]
    return (
        PartitionedAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(channels[0], *channels),
            layers_per_block=2,
            norm_num_groups=32,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        .to(dtype)
        .eval()
    )


@torch.inference_mode()
def decode(model: str, tail: str, size: int, dtype: torch.dtype, max_memory: str | None) -> None:
    """Decode one random latent and print the memory before it, and its seconds."""
    vae = autoencoder(model, dtype)
    if tail in ("plain", "split_in_four"):
        vae.decoder.conv_out = PlainTail(vae.decoder.conv_out, 1 if tail == "plain" else 4)
    latents = torch.randn(1, vae.config.latent_channels, size // 16, size // 16, dtype=dtype)
    idle = resident_memory()
    if tail == "lean":
        print(idle, seconds(lambda: lean_decode(vae, latents, max_memory)))
    else:
        print(idle, seconds(lambda: vae.decode(latents).sample))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=POCKET)
    parser.add_argument("--size", type=int, default=4096, help="side of the image")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--max-memory", help="of the lean decode, for example 512MiB")
    parser.add_argument("--tails", nargs="+", choices=TAILS, default=TAILS)
    parser.add_argument("--only", choices=TAILS, help="decode once with this tail, nothing else")
    options = parser.parse_args()
    if options.only:
        dtype = getattr(torch, options.dtype)
        decode(options.model, options.only, options.size, dtype, options.max_memory)
        return
    name = "pocket" if options.model == POCKET else Path(options.model).name
    result: dict[str, Any] = {"model": name, "size": options.size, "dtype": options.dtype}
    arguments = ["--model", options.model, "--size", str(options.size), "--dtype", options.dtype]
    if options.max_memory:
        result["max_memory"] = options.max_memory
        arguments += ["--max-memory", options.max_memory]
    for tail in options.tails:
        peak, output = peak_memory([__file__, *arguments, "--only", tail])
        idle, elapsed = map(float, output.split())
        result[tail] = {"peak_gib": round(peak, 2), "idle_gib": round(idle, 2)}
        result[tail]["seconds"] = round(elapsed, 1)
        print(f"{tail}: peak {peak:.2f} GiB (idle {idle:.2f}), {elapsed:.1f} s", flush=True)
    budget = f"_{options.max_memory}" if options.max_memory else ""
    save(f"vae_memory_{name}_{options.size}_{options.dtype}{budget}", result)


if __name__ == "__main__":
    main()
