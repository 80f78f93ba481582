"""The decoder's last step: folded, against the split in four and plain upsampling; float32.

    python benchmarks/vae_tail.py                      # 128 channels, 1024 -> 2048
    python benchmarks/vae_tail.py --size 2048 --references split_in_four    # 2048 -> 4096, 7 GiB
    python benchmarks/vae_tail.py --channels 16 --size 2048     # the pocket's tail at 4096x4096

The split in four is how the reference bounds its memory: each quarter with a halo is upsampled and
convolved on its own. Times are medians of runs in turn; peaks are those of a process of its own,
beyond what its input and the libraries take.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from common import compare, peak_memory, resident_memory, save
from torch import Tensor, nn

from diffusion4k.vae import fold_upsample


def plain(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Nearest x2, then the convolution."""
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def split_in_four(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The same in 2x2 partitions with a halo of one pixel, cropped where they belong."""
    padded = F.pad(x, (1, 1, 1, 1))
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    rows = []
    for top in (0, h):
        row = []
        for left in (0, w):
            part = plain(padded[..., top : top + h + 2, left : left + w + 2], conv)
            row.append(part[..., 2 : 2 + 2 * h, 2 : 2 + 2 * w])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)


def folded(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """This project's tail."""
    return fold_upsample(conv)(x)


TAILS = {tail.__name__: tail for tail in (folded, split_in_four, plain)}
REFERENCES = ("split_in_four", "plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--size", type=int, default=1024, help="side of the input")
    parser.add_argument("--references", nargs="+", choices=REFERENCES, default=REFERENCES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=TAILS, help="run one tail once, nothing else")
    options = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(1, options.channels, options.size, options.size)
    conv = nn.Conv2d(options.channels, 3, 3, padding=1).requires_grad_(False)
    if options.peak:
        before = resident_memory()
        TAILS[options.peak](x, conv)
        print(before)
        return
    result = {"channels": options.channels, "input_side": options.size, "dtype": "float32"}
    result |= time_tails(x, conv, options.references, options.repeats)
    del x
    result |= measure_peaks(["folded", *options.references], options.channels, options.size)
    save(f"vae_tail_{options.channels}_{options.size}", result)


def time_tails(
    x: Tensor, conv: nn.Conv2d, references: Sequence[str], repeats: int
) -> dict[str, Any]:
    """Exactness of the folded tail (on a corner of the input), and its time against others."""
    corner = x[..., :256, :256]
    truth = plain(corner, conv)
    difference = float((folded(corner, conv) - truth).abs().max() / truth.abs().max())
    print(f"largest difference from upsampling and convolving: {difference:.1e} x max|y|")
    result: dict[str, Any] = {"max_difference_relative_to_max": difference}
    for name in references:
        timing = compare(partial(folded, x, conv), partial(TAILS[name], x, conv), repeats)
        result[f"against_{name}"] = timing
        print(f"{name}: {timing}", flush=True)
    return result


def measure_peaks(tails: Sequence[str], channels: int, size: int) -> dict[str, float]:
    """GiB that each tail takes beyond its input, in a process of its own."""
    result = {}
    for name in tails:
        options = ["--channels", str(channels), "--size", str(size), "--peak", name]
        peak, before = peak_memory([__file__, *options])
        extra = peak - float(before)
        result[f"extra_peak_gib_{name}"] = round(extra, 2)
        print(f"{name}: {extra:.2f} GiB beyond its input")
    return result


if __name__ == "__main__":
    main()
