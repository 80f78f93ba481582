"""Sampling on the device: a step, its memory, and what makes it faster or smaller."""

import statistics
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu.models import PROMPT, RandomModel, RandomSampler
from benchmarks.gpu.setting import GIB, Setting, measured
from diffusion4k.sampling import Request
from diffusion4k.support.devices import is_gpu, synchronize
from diffusion4k.training.engine.engine import blocks_of

__all__ = ["compiled", "decoding", "image", "step_cache", "windows"]

BF16 = torch.bfloat16


def image(setting: Setting, name: str, memory: str, weights: str | None = None) -> dict[str, Any]:
    """Steps of an image and its decoding, as `generate --memory --weights` makes it."""
    with RandomModel(name, setting) as model:
        held = model.text_encoders(BF16) if memory == "high" else []
        sampler = RandomSampler(model, memory=memory, weights=weights)
        found = {"placement": str(sampler.placement)} | _denoised(sampler, setting, keep := [])
        size = keep[0].factor, setting.side, setting.side
        decoded = measured(setting.device, lambda: [None for _ in sampler.decode(keep[1], *size)])
        del held
    found |= {f"decoding_{key}": value for key, value in decoded.items()}
    peaks = [found[key] for key in ("denoising_peak_gib", "decoding_peak_gib") if key in found]
    return found | ({"peak_gib": max(peaks)} if peaks else {})


def compiled(setting: Setting, name: str) -> dict[str, Any]:
    """Steps with compiled blocks, beside steps without; the first has the compiling in it."""
    with RandomModel(name, setting) as model:
        sampler = RandomSampler(model)
        plain = _denoised(sampler, setting)
        # On a CPU the compiler for it takes a minute: there, all but its last stage.
        backend = "aot_eager" if setting.tiny else "inductor"
        for block in blocks_of(sampler.pipeline.transformer):
            block.compile(backend=backend)
        found = _denoised(sampler, setting)
    return found | {
        "backend": backend,
        "uncompiled_step_seconds": plain["step_seconds"],
        "gain": plain["step_seconds"] / found["step_seconds"],
    }


def step_cache(setting: Setting, name: str, kind: str) -> dict[str, Any]:
    """Twelve steps with a cache between them, beside twelve without."""
    steps = 4 if setting.tiny else 12
    with RandomModel(name, setting) as model:
        sampler = RandomSampler(model)
        plain = _denoised(sampler, setting, steps=steps)
        found = _denoised(sampler, setting, steps=steps, cache=kind)
    gain = plain["denoising_seconds"] / found["denoising_seconds"]
    uncached = plain["denoising_seconds"]
    return found | {"steps": steps, "uncached_denoising_seconds": uncached, "gain": gain}


def windows(setting: Setting, name: str) -> dict[str, Any]:
    """The last stage of an image in stages: windows at full size, from a draft."""
    stages = (setting.side // 4, setting.side)
    with RandomModel(name, setting) as model:
        sampler = RandomSampler(model, factor=16)
        return _denoised(sampler, setting, steps=2, stages=stages)


def decoding(setting: Setting, name: str) -> dict[str, Any]:
    """An image decoded plainly, with the last convolution folded, and in strips."""
    found: dict[str, Any] = {}
    with RandomModel(name, setting) as model:
        family, device = model.family, setting.device
        autoencoder = family.load_autoencoder(model.folder, dtype=BF16)
        side = setting.side // family.factor
        latents = torch.randn(1, model.blueprint.latent_channels, side, side, dtype=BF16)
        latents = latents.to(device)
        folded = autoencoder.decoder.conv_out
        for way in ("strips", "strips_1gib", "folded", "plain"):
            limit = "1GiB" if way == "strips_1gib" and not setting.tiny else None
            if way == "plain":
                autoencoder.decoder.conv_out = PlainTail(folded)

            def decode(way: str = way, limit: str | None = limit) -> None:
                with torch.no_grad():
                    if way.startswith("strips"):
                        for _ in family.decode_strips(autoencoder, latents, limit):
                            pass
                    else:
                        family.decode_latents(autoencoder, latents)

            try:
                decode()  # cuDNN chooses its algorithms
                found |= {f"{way}_{key}": v for key, v in measured(device, decode).items()}
            except torch.OutOfMemoryError as error:
                found[f"{way}_error"] = f"out of memory: {str(error).splitlines()[0]}"
    return found


class PlainTail(nn.Module):
    """Nearest x2, then the convolution: what the folded tail stands for."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        # `SubPixelConv2d` is a `Conv2d` with another `forward`.
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(x, self.weight, self.bias, padding=1)


def _denoised(
    sampler: RandomSampler,
    setting: Setting,
    keep: list[Any] | None = None,
    *,
    steps: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Seconds of a step (the median but for the first) and the most memory of all steps."""
    device, times = setting.device, []
    options = {"stages": ()} | options
    size = {"width": setting.side, "height": setting.side, "steps": steps or setting.steps + 1}
    settings = sampler.settle(Request(PROMPT, **size, **options))
    sampler.load()
    synchronize(device)
    weights = torch.get_device_module(device).memory_allocated() if _counts(device) else None

    def on_step() -> None:
        synchronize(device)
        times.append(perf_counter())

    def run() -> None:
        times.append(perf_counter())
        latents = sampler.denoise(settings, on_step)
        if keep is not None:
            keep[:] = settings, latents

    whole = measured(device, run)
    first, *others = [after - before for before, after in pairwise(times)]
    found = {
        "first_step_seconds": first,
        "step_seconds": statistics.median(others or [first]),
        "denoising_seconds": whole["seconds"],
    }
    if "peak_gib" in whole:
        found["denoising_peak_gib"] = whole["peak_gib"]
    if weights is not None:
        found["weights_gib"] = weights / GIB
    return found


def _counts(device: torch.device) -> bool:
    return is_gpu(device) and device.type != "mps"
