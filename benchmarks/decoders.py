"""Plain decoding, stock tiling and strips, for each autoencoder of diffusers' image families.

    python benchmarks/decoders.py                            # 2048x2048 in bfloat16, and errors
    python benchmarks/decoders.py dc --size 4096 --methods strips
    python benchmarks/decoders.py --dtype float32 --methods plain strips
    python benchmarks/decoders.py --planned                  # memory alone, nothing is decoded
    python benchmarks/decoders.py --table                    # of what was measured, in Markdown

Each decode runs in a process of its own, at the autoencoder's published size with random weights,
whose images have a standard deviation of about one; its peak is the operating system's figure.
CPU seconds stand beside those on the clock, as another program's work does not change them. Errors
in float32 are of a smaller image, `--error-size`. Results are kept by autoencoder, size and type:
a later run adds to them.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from common import GIB, RESULTS, peak_memory, resident_memory, save
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
)
from diffusers.models.autoencoders.autoencoder_kl_qwenimage21 import AutoencoderKLQwenImage21
from torch import Tensor, nn

from diffusion4k.accounting.computation import FusedAttention
from diffusion4k.accounting.tracker import CostTracker, cpu_workspace
from diffusion4k.models.published import published_config
from diffusion4k.vae import lean_decode
from diffusion4k.vae.cost import decode_cost
from diffusion4k.vae.layouts import layout_of

# Wan 2.2's, which FIBO uses.
WAN_22: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "temperal_downsample": [False, True, True],
}
AUTOENCODERS: dict[str, Callable[[], nn.Module]] = {
    "kl": lambda: AutoencoderKL(**_published("black-forest-labs/FLUX.1-dev")),
    "flux2": AutoencoderKLFlux2,
    "qwen": AutoencoderKLQwenImage,
    "dc": lambda: AutoencoderDC(
        **_published("Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers")
    ),
    "wan": AutoencoderKLWan,
    "wan22": lambda: AutoencoderKLWan(**WAN_22),
    "qwen21": AutoencoderKLQwenImage21,
}
DEFAULT = ("kl", "flux2", "qwen", "dc")
METHODS = ("plain", "tiled", "strips")


def _published(name: str) -> dict[str, Any]:
    config: dict[str, Any] = published_config(name, "vae")["config"]
    return config


def autoencoder(name: str, dtype: torch.dtype) -> Any:
    """One with random weights that keep the size of what passes through them."""
    with torch.device("meta"):
        made = AUTOENCODERS[name]().to(dtype)
    made = made.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for module in made.modules():
        for key, parameter in module.named_parameters(recurse=False):
            if key == "weight" and parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            else:
                nn.init.constant_(parameter, 0 if key == "bias" else 1)
    return made


def decode(name: str, method: str, options: argparse.Namespace) -> None:
    """Decode one random latent; print the memory before it and its seconds, and keep the image."""
    dtype = getattr(torch, options.dtype)
    vae = autoencoder(name, dtype)
    layout = layout_of(vae)
    side = options.size // layout.factor(vae)
    latents = torch.randn(1, layout.latent_channels(vae), side, side).to(dtype)
    latents = latents.unsqueeze(2) if layout.has_frames else latents
    if method == "tiled":
        vae.enable_tiling()
    idle = resident_memory()
    start, start_cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        if method == "strips":
            image = lean_decode(vae, latents, options.max_memory)
        else:
            image = vae.decode(latents).sample
    print(idle, time.perf_counter() - start, time.process_time() - start_cpu)
    torch.save(image.squeeze(2) if layout.has_frames else image, options.image)


def measure(name: str, method: str, image: Path, options: argparse.Namespace) -> dict[str, float]:
    """Memory and time of one decode in a process of its own."""
    arguments = [__file__, name, "--only", method, "--image", image, "--size", str(options.size)]
    arguments += ["--dtype", options.dtype, "--max-memory", options.max_memory]
    peak, output = peak_memory(arguments)
    idle, clock, cpu = map(float, output.split()[-3:])
    return {
        "peak_gib": round(peak, 2),
        "idle_gib": round(idle, 2),
        "seconds": round(clock, 1),
        "cpu_seconds": round(cpu, 1),
    }


def error(image: Path, plain: Path) -> dict[str, float]:
    """Largest and mean difference of two images, and the standard deviation of the plain one."""
    found, expected = (torch.load(path, weights_only=True).float() for path in (image, plain))
    difference = (found - expected).abs()
    return {
        "largest_error": float(f"{difference.max():.3g}"),
        "mean_error": float(f"{difference.mean():.3g}"),
        "deviation": float(f"{expected.std():.3g}"),
    }


@torch.inference_mode()
def error_in_float32(name: str, size: int) -> dict[str, float]:
    """The largest difference of strips and the plain result, in strips that divide badly."""
    vae = autoencoder(name, torch.float32)
    layout = layout_of(vae)
    factor = layout.factor(vae)
    shape = layout.latent_channels(vae), size // factor, size // factor - 1
    latents = torch.randn(1, *shape)
    latents = latents.unsqueeze(2) if layout.has_frames else latents
    expected: Tensor = vae.decode(latents).sample
    found = lean_decode(vae, latents, "512MiB")
    return {
        "height": size,
        "width": size - factor,
        "largest_error": float(f"{(found - expected).abs().max():.3g}"),
        "deviation": float(f"{expected.std():.3g}"),
    }


def benchmark(name: str, options: argparse.Namespace) -> None:
    """Measure one autoencoder, beside what is known of it already."""
    stem = f"decoders_{name}_{options.size}_{options.dtype}"
    path = RESULTS / f"{stem}.json"
    result: dict[str, Any] = json.loads(path.read_text())["result"] if path.is_file() else {}
    result |= {"autoencoder": name, "size": options.size, "dtype": options.dtype}
    with tempfile.TemporaryDirectory() as folder:
        images = {method: Path(folder) / f"{method}.pt" for method in METHODS}
        for method in options.methods:
            found: dict[str, Any] = measure(name, method, images[method], options)
            if method == "strips":
                found["max_memory"] = options.max_memory
            if method != "plain" and images["plain"].is_file():
                found |= error(images[method], images["plain"])
            result[method] = found
            print(name, method, found, flush=True)
            save(stem, result)
    if options.error_size:
        result["float32"] = error_in_float32(name, options.error_size)
        print(name, "float32", result["float32"], flush=True)
        save(stem, result)


def planned(names: Sequence[str], budget: str) -> None:
    """Peak of feature maps, and computations, of decodes that are run on sizes alone."""
    results: dict[str, Any] = {"max_memory": budget}
    for name in names:
        for dtype in (torch.bfloat16, torch.float32):
            with torch.device("meta"):
                vae = AUTOENCODERS[name]().to(dtype).eval()
            for size in (2048, 4096):
                results[f"{name}, {size}, {str(dtype)[6:]}"] = plan = plan_of(vae, size, budget)
                print(name, size, dtype, plan, flush=True)
    save("decoders_planned", results)


def plan_of(vae: Any, size: int, budget: str) -> dict[str, float]:
    """What plain decoding and strips take for one image, without the weights."""
    layout = layout_of(vae)
    side = size // layout.factor(vae)
    shape = (1, layout.latent_channels(vae), *([1] if layout.has_frames else []), side, side)
    with CostTracker(cpu_workspace) as plain, FusedAttention(), torch.no_grad():
        vae.decode(torch.empty(shape, dtype=vae.dtype, device="meta"))
    strips = decode_cost(vae, side, side, budget)
    return {
        "plain_gib": round(plain.peak / GIB, 2),
        "strips_gib": round(strips.memory / GIB, 2),
        "plain_tflop": round(plain.flops / 1e12, 1),
        "strips_tflop": round(strips.flops / 1e12, 1),
    }


def table(folder: Path) -> str:
    """What was measured, a line for each autoencoder, size and method."""
    lines = [
        "| autoencoder | image | | time | peak memory | largest error |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(folder.glob("decoders_*_*.json")):
        result = json.loads(path.read_text())["result"]
        plain = result.get("plain")
        for method in METHODS:
            if method not in result:
                continue
            found = result[method]
            time_ratio = f"{found['cpu_seconds']:.0f} s"
            memory = f"{found['peak_gib']:.2f} GiB"
            if plain and method != "plain":
                time_ratio += f" ({found['cpu_seconds'] / plain['cpu_seconds']:.2f}x)"
                memory += f" ({found['peak_gib'] / plain['peak_gib']:.0%})"
            worst = f"{found['largest_error']:.2g}" if "largest_error" in found else ""
            name = f"`{result['autoencoder']}` | {result['size']}, {result['dtype']}"
            lines.append(f"| {name} | {method} | {time_ratio} | {memory} | {worst} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(AUTOENCODERS)}")
    parser.add_argument("--size", type=int, default=2048, help="side of the image")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--max-memory", default="1GiB", help="of the strips")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--error-size", type=int, default=0, help="also the error in float32")
    parser.add_argument("--planned", action="store_true", help="memory by sizes alone")
    parser.add_argument("--table", action="store_true", help="print the published results")
    parser.add_argument("--only", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--image", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(Path(__file__).with_name("results")))
    elif options.planned:
        planned(options.names or list(AUTOENCODERS), options.max_memory)
    elif options.only:
        decode(options.names[0], options.only, options)
    else:
        for name in options.names or DEFAULT:
            benchmark(name, options)


if __name__ == "__main__":
    main()
