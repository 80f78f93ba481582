"""The stages of the work, each run on shapes alone: what it holds at its peak and computes.

A stage has the device to itself but for what it says it holds: text encoders are gone when the
transformer comes, as `generate` and `train` do it.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.computation import FusedAttention
from diffusion4k.accounting.tracker import CostTracker, cpu_workspace, gpu_workspace
from diffusion4k.families.base import meta_tensor
from diffusion4k.vae.cost import decode_cost, encode_cost

__all__ = [
    "PlannedStage",
    "WindowCount",
    "counting",
    "decoding_stage",
    "denoising_stage",
    "empty_conditioning",
    "empty_latents",
    "image_encoding_stage",
    "lean_encoding_stage",
    "stage_of",
    "tensors_of",
    "text_encoding_stage",
]


# Latents of the whole image that stand beside the windows, for each sample twice (what is cut, and
# what is put together) and once each: those of the sampler, of the stage before, and in between.
_BESIDE_WINDOWS = 3
_AUTOCAST = torch.autocast


@dataclass(frozen=True)
class PlannedStage:
    """One stage: bytes of each part on the device at the stage's peak, and its FLOPs."""

    name: str
    parts: dict[str, int]
    flops: int
    """FLOPs of doing it once."""
    times: int = 1
    """How often it is done, such as the steps of sampling."""
    moved: int = 0
    """Bytes of weights that come to the device each time."""

    @property
    def peak(self) -> int:
        """Most bytes on the device at once."""
        return sum(self.parts.values())

    def beside(self, **parts: int) -> "PlannedStage":
        """The same stage with more on the device."""
        return replace(self, parts={**parts, **self.parts})


@dataclass(frozen=True)
class WindowCount:
    """The windows in which a transformer sees an image in one step."""

    width: int
    height: int
    """Pixels of each."""
    count: float
    """Windows of the whole image; a mean where the number differs from step to step."""
    per_call: int
    """Windows that go through the network together."""


def text_encoding_stage(model: Blueprint, dtype: torch.dtype, *, gpu: bool) -> PlannedStage:
    """All text encoders on the device, and one caption of full length through them."""
    encoders = {name: model.build(name, dtype) for name in model.text_encoders}
    with counting(model, gpu) as tracker, torch.no_grad():
        for encoder in encoders.values():
            tracker.hold("weights", tensors_of(encoder))
        for encoder in encoders.values():
            limit = getattr(encoder.config, "max_position_embeddings", None)
            # CLIP is always given its 77 tokens.
            tokens = max(77, model.family.text_tokens(model.folder))
            ids = meta_tensor(1, min(tokens, limit or tokens), dtype=torch.int64)
            encoder(ids, output_hidden_states=True)
    return stage_of("text encoding", tracker)


def image_encoding_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype = torch.float32,
    *,
    gpu: bool,
) -> PlannedStage:
    """One picture of `width` x `height` pixels to latents, as a whole: the cache is built so."""
    autoencoder = model.autoencoder(dtype)
    with counting(model, gpu) as tracker, torch.no_grad():
        tracker.hold("weights", tensors_of(autoencoder))
        model.family.encode_images(autoencoder, meta_tensor(1, 3, height, width, dtype=dtype))
    return stage_of("image encoding", tracker)


def denoising_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype,
    *,
    guided: bool,
    windows: WindowCount | None = None,
    gpu: bool,
) -> PlannedStage:
    """One sampling step, the autoencoder waiting on the device.

    Args:
        guided: with two predictions.
        windows: in which the image is seen; None: whole.
    """
    transformer = model.build("transformer", dtype)
    autoencoder = model.autoencoder(dtype)
    predictions = 2 if guided else 1
    if windows:
        batch = min(windows.per_call, math.ceil(predictions * windows.count))
        width, height, whole = windows.width, windows.height, (width, height)
    else:
        batch = predictions
    with counting(model, gpu) as tracker, torch.no_grad():
        tracker.hold("weights", tensors_of(transformer))
        tracker.hold("autoencoder", tensors_of(autoencoder))
        if windows:
            beside = empty_latents(model, _BESIDE_WINDOWS + 2 * predictions, *whole)
            tracker.hold("latents", [beside])
        latents = empty_latents(model, 1, width, height).to(dtype)
        conditioning = empty_conditioning(model, batch, dtype)
        noisy = torch.cat([latents] * batch) if batch > 1 else latents
        model.family.velocity(transformer, noisy, meta_tensor(batch, dtype=dtype), conditioning)
    step = stage_of("denoising", tracker)
    if not windows:
        return step
    return replace(step, flops=int(step.flops * predictions * windows.count / batch))


def decoding_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype,
    *,
    max_memory: int | None = None,
    lean: bool = True,
    gpu: bool,
) -> PlannedStage:
    """Latents to an image: strip by strip within `max_memory` bytes, or plainly as a whole."""
    autoencoder = model.autoencoder(dtype)
    factor, family = model.family.factor, model.family
    name = "decoding" if lean else "plain decoding"
    weights = sum(map(_size, tensors_of(autoencoder)))
    if lean:
        size = height // factor, width // factor
        cost = decode_cost(autoencoder, *size, max_memory, gpu=gpu)
        return PlannedStage(name, {"autoencoder": weights, "activations": cost.memory}, cost.flops)
    with counting(model, gpu) as tracker, torch.no_grad():
        tracker.hold("autoencoder", tensors_of(autoencoder))
        latents = empty_latents(model, 1, width, height).to(dtype)
        family.decode_latents(autoencoder, latents)
    return stage_of(name, tracker)


def lean_encoding_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype,
    *,
    max_memory: int | None = None,
    gpu: bool,
) -> PlannedStage:
    """One picture to latents, strip by strip within `max_memory` bytes."""
    autoencoder = model.autoencoder(dtype)
    cost = encode_cost(autoencoder, height, width, max_memory, gpu=gpu)
    parts = {
        "autoencoder": sum(map(_size, tensors_of(autoencoder))),
        "activations": cost.memory,
        "picture": _size(meta_tensor(1, 3, height, width, dtype=dtype)),
    }
    return PlannedStage("encoding", parts, cost.flops)


def empty_latents(model: Blueprint, batch: int, width: int, height: int) -> Tensor:
    """Latents `(batch, C, h, w)` without contents, of images of `width` x `height` pixels."""
    factor = model.family.factor
    return meta_tensor(batch, model.latent_channels, height // factor, width // factor)


def empty_conditioning(model: Blueprint, batch: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Text embeddings without contents, by name, of captions of full length."""
    conditioning = model.family.empty_conditioning(model.folder, batch)
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in conditioning.items()}


@contextmanager
def counting(
    model: Blueprint, gpu: bool, *modes: TorchFunctionMode | None
) -> Iterator[CostTracker]:
    """What is run inside on the meta device is counted; `modes` are entered with it."""
    # Asked for once before anything is counted, as an autoencoder is built for the answer.
    _ = model.latent_channels
    with ExitStack() as stack:
        # Of slow paths, which do not matter without contents.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        tracker = stack.enter_context(CostTracker(gpu_workspace if gpu else cpu_workspace))
        stack.enter_context(FusedAttention())
        stack.enter_context(mock.patch.object(torch, "autocast", _autocast))
        for mode in modes:
            if mode is not None:
                stack.enter_context(mode)
        yield tracker


def _autocast(device_type: str, *args: Any, **options: Any) -> AbstractContextManager[object]:
    """`torch.autocast`, and nothing on the meta device, which it refuses even to turn it off."""
    return nullcontext() if device_type == "meta" else _AUTOCAST(device_type, *args, **options)


def stage_of(name: str, tracker: CostTracker) -> PlannedStage:
    """The stage that a tracker has counted."""
    return PlannedStage(
        name, {part: size for part, size in tracker.at_peak.items() if size}, tracker.flops
    )


def tensors_of(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
