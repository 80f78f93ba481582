"""Equal results on the CPU and on the device to be checked, with tiny models of every family.

Latents of two steps are compared by their relative error, the norm of the difference over the norm.
A device that is right differs by the order of its sums alone: every rounding is off by u at most
(2^-24 in float32, 2^-9 in bfloat16), and of N roundings one after another the errors add up as a
random walk, to sqrt(N) u. With some thousand operations between noise and latents that is 64 u,
which is allowed: 3.8e-6 and 0.125. Nothing but roundings may differ between offload levels and in a
run that is resumed, where the same device does the same sums: they have to be equal to the bit.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.gpu.models import PROMPT, RandomModel, RandomSampler
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import recipe_of
from benchmarks.tiny import tiny_sd3
from diffusion4k.lora import add_adapter
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.memory import LEVELS
from diffusion4k.training.checkpoint.export import export_adapter
from diffusion4k.training.loop import train

__all__ = ["TOLERANCE", "Unequal", "images", "lora_images", "resumed"]

TOLERANCE = {"float32": 64 * 2.0**-24, "bfloat16": 64 * 2.0**-9}
SIDE = 64
EXACT_GUIDANCE = 4.0
"""Where the network takes it as an input, it does so in thousandths: 3500 is 3504 in bfloat16."""
CPU = torch.device("cpu")


class Unequal(Exception):
    """Two results differ by more than their arithmetic explains."""


def images(setting: Setting, name: str) -> dict[str, Any]:
    """Latents and images of one family's tiny pipeline here and there."""
    _without_tf32()
    tiny = replace(setting, tiny=True)
    expected, _ = _random(name, replace(tiny, device_name="cpu"))
    found: dict[str, Any] = {"tolerances": TOLERANCE}
    for dtype in ("float32", "bfloat16"):
        latents, _ = _random(name, tiny, dtype)
        found[f"error_{dtype}"] = _close(f"{name} in {dtype}", latents, expected, dtype)
    made = {memory: _random(name, tiny, memory=memory)[1] for memory in LEVELS}
    for memory in LEVELS:
        if not np.array_equal(made[memory], made["high"]):
            raise Unequal(f"{name}: memory {memory} makes another image than memory high")
    return found | {"levels_equal": True, "strips_differ_by": _strips(name, tiny)}


def lora_images(setting: Setting) -> dict[str, Any]:
    """The same with a LoRA."""
    _without_tf32()
    model = tiny_sd3(setting.folder / "sd3")
    lora = _adapter(model, setting.folder / "lora")
    plain, expected, latents = (
        _image(Sampler(model, device=device, dtype="float32", lora=with_it))[0]
        for device, with_it in ((CPU, None), (CPU, lora), (setting.device, lora))
    )
    return {
        "error_float32": _close("LoRA", latents, expected, "float32"),
        "tolerances": TOLERANCE,
        "effect": _error(plain, expected),
    }


def resumed(setting: Setting) -> dict[str, Any]:
    """A run that is stopped half-way and resumed, on the device, and from the CPU to the device."""
    _without_tf32()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    model = tiny_sd3(setting.folder / "sd3")

    def run(output: str) -> dict[str, Tensor]:
        _new_processes()
        recipe = recipe_of(
            setting,
            str(model),
            output=setting.folder / output,
            cache=setting.folder / "cache",
            resolution=SIDE,
            crop=SIDE,
            steps=4,
            report=False,
            batch_size=2,
            precision="fp32",
            optimizer={"learning_rate": 1e-3},
            checkpoint={"every": 2, "keep": 2},
        )
        (weights,) = (train(recipe) / "transformer").glob("*.safetensors")
        return load_file(weights)

    whole = run("run")
    _forget_second_half(setting.folder / "run")
    again = run("run")
    if any(not torch.equal(again[name], value) for name, value in whole.items()):
        raise Unequal("a run that was resumed differs from one that was not")
    with mock.patch.dict(os.environ, ACCELERATE_USE_CPU="true"):
        run("from_cpu")
    _forget_second_half(setting.folder / "from_cpu")
    moved = run("from_cpu")
    everything = [torch.cat([t.flatten() for t in w.values()]) for w in (moved, whole)]
    return {
        "resumed_equal": True,
        "error_from_cpu": _close("from the CPU to the device", *everything, "float32"),
        "tolerances": TOLERANCE,
    }


def _random(
    name: str, setting: Setting, dtype: str = "float32", memory: str = "balanced"
) -> tuple[Tensor, Any]:
    """The same of a model with random weights, the same ones everywhere."""
    with RandomModel(name, setting, seed=0) as model:
        return _image(RandomSampler(model, dtype, memory=memory))


def _strips(name: str, setting: Setting) -> int:
    """Most steps of 255 between an image in strips and the same decoded plainly."""
    with RandomModel(name, setting, seed=0) as model:
        sampler = RandomSampler(model, "float32")
        latents, strips = _image(sampler)
        with torch.no_grad():
            vae = sampler.pipeline.vae
            plain = sampler.family.decode_latents(vae, latents.to(setting.device))[0]
    plain = ((plain.float().cpu().permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round()
    most = int(np.abs(strips.astype(int) - plain.numpy().astype(int)).max())
    if most > 1:
        raise Unequal(f"{name}: an image in strips differs by {most} of 255 from a plain one")
    return most


def _image(sampler: Sampler) -> tuple[Tensor, Any]:
    """Latents on the CPU in float32, and the image."""
    embedded = sampler.family.guidance_kind(sampler.folder) == "embedded"
    request = Request(
        *(PROMPT, 0),
        width=SIDE,
        height=SIDE,
        steps=2,
        stages=(),
        guidance=EXACT_GUIDANCE if embedded else None,
    )
    settings = sampler.settle(request)
    latents = sampler.denoise(settings)
    strips = sampler.decode(latents, settings.factor, SIDE, SIDE)
    return latents.float().cpu(), np.concatenate(list(strips))


def _close(what: str, found: Tensor, expected: Tensor, dtype: str) -> float:
    error, allowed = _error(found, expected), TOLERANCE[dtype]
    if not error <= allowed:
        raise Unequal(f"{what}: relative error {error:.2g}, allowed {allowed:.2g}")
    return error


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _adapter(model: Path, folder: Path) -> Path:
    sampler = Sampler(model, device=CPU)
    transformer: Any = sampler.family.load_transformer(model, dtype=torch.float32)
    targets = sampler.family.lora_targets
    add_adapter(transformer, rank=4, alpha=4, targets=targets, seed=0)
    for name, parameter in transformer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    made_for = {"family": sampler.family.name, "base_model": str(model)}
    export_adapter(folder, transformer, card="", made_for=made_for)
    return folder


def _without_tf32() -> None:
    """TF32 has eleven bits: convolutions use it unless they are told not to."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)


def _forget_second_half(output: Path) -> None:
    shutil.rmtree(output / "checkpoints" / "step-000004")
    shutil.rmtree(output / "model")


def _new_processes() -> None:
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
