"""The stages of the work, each run on shapes alone: what it holds at its peak and computes.

A stage has the device to itself but for what it says it holds: text encoders are gone when the
transformer comes, as `generate` and `train` do it.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.accounting.computation import Autocast, FusedAttention
from diffusion4k.accounting.tracker import Tracker, cpu_workspace, gpu_workspace
from diffusion4k.families.stock import meta_tensor
from diffusion4k.lora import add_adapter
from diffusion4k.objectives import Objective
from diffusion4k.planning.blueprint import Blueprint
from diffusion4k.training.engine.engine import blocks_of
from diffusion4k.training.engine.recompute import Recompute, recompute
from diffusion4k.training.step import denoising_loss
from diffusion4k.vae.cost import decode_cost, encode_cost

__all__ = [
    "Stage",
    "TrainingSetup",
    "WindowCount",
    "decoding_stage",
    "denoising_stage",
    "image_encoding_stage",
    "lean_encoding_stage",
    "text_encoding_stage",
    "training_stages",
]


# Latents of the whole image that stand beside the windows, for each sample twice (what is cut, and
# what is put together) and once each: those of the sampler, of the stage before, and in between.
_BESIDE_WINDOWS = 3


@dataclass(frozen=True)
class Stage:
    """One stage: bytes of each part on the device at the stage's peak, and its FLOPs."""

    name: str
    parts: dict[str, int]
    flops: int
    """Of one time."""
    times: int = 1
    """How often it is done, such as the steps of sampling."""
    moved: int = 0
    """Bytes of weights that come to the device each time."""

    @property
    def peak(self) -> int:
        """Most bytes on the device at once."""
        return sum(self.parts.values())

    def beside(self, **parts: int) -> "Stage":
        """The same stage with more on the device."""
        return replace(self, parts={**parts, **self.parts})


@dataclass(frozen=True)
class WindowCount:
    """The windows in which a transformer sees an image in one step."""

    width: int
    height: int
    """Pixels of each."""
    count: float
    """Of the whole image; a mean where it differs from step to step."""
    per_call: int
    """As many go through the network together."""


@dataclass(frozen=True)
class TrainingSetup:
    """What decides what a training step takes on one device."""

    width: int
    height: int
    batch_size: int
    objective: Objective
    gradient_checkpointing: Recompute
    gradient_accumulation: int = 1
    bfloat16: bool = False
    """Computations in bfloat16 by autocast; weights stay float32."""
    average: bool = False
    lora_rank: int | None = None
    """Of adapters that are trained in place of all weights, which are frozen then."""
    lora_targets: tuple[str, ...] | None = None
    """Layers that are adapted; None: the family's."""
    processes: int = 1
    weights: torch.dtype = torch.float32
    """Of trained weights, as `train` has them, and of all that goes with them."""
    moments: float = 2
    """Averages that the optimizer keeps of each weight: AdamW's two."""


def text_encoding_stage(model: Blueprint, dtype: torch.dtype, *, gpu: bool) -> Stage:
    """All text encoders on the device, and one caption of full length through them."""
    encoders = {name: model.build(name, dtype) for name in model.text_encoders}
    with _running(model, gpu) as tracker, torch.no_grad():
        for encoder in encoders.values():
            tracker.hold("weights", _tensors(encoder))
        for encoder in encoders.values():
            limit = getattr(encoder.config, "max_position_embeddings", None)
            # CLIP is always given its 77 tokens.
            tokens = max(77, model.family.text_tokens(model.folder))
            ids = meta_tensor(1, min(tokens, limit or tokens), dtype=torch.int64)
            encoder(ids, output_hidden_states=True)
    return _stage("text encoding", tracker)


def image_encoding_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype = torch.float32,
    *,
    gpu: bool,
) -> Stage:
    """One picture of `width` x `height` pixels to latents, as a whole: the cache is built so."""
    autoencoder = model.autoencoder(dtype)
    with _running(model, gpu) as tracker, torch.no_grad():
        tracker.hold("weights", _tensors(autoencoder))
        model.family.encode_images(autoencoder, meta_tensor(1, 3, height, width, dtype=dtype))
    return _stage("image encoding", tracker)


def denoising_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype,
    *,
    guided: bool,
    windows: WindowCount | None = None,
    gpu: bool,
) -> Stage:
    """One sampling step, the autoencoder waiting on the device.

    Arguments:
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
    with _running(model, gpu) as tracker, torch.no_grad():
        tracker.hold("weights", _tensors(transformer))
        tracker.hold("autoencoder", _tensors(autoencoder))
        if windows:
            beside = _latents(model, _BESIDE_WINDOWS + 2 * predictions, *whole)
            tracker.hold("latents", [beside])
        latents = _latents(model, 1, width, height).to(dtype)
        conditioning = _conditioning(model, batch, dtype)
        noisy = torch.cat([latents] * batch) if batch > 1 else latents
        model.family.velocity(transformer, noisy, meta_tensor(batch, dtype=dtype), conditioning)
    step = _stage("denoising", tracker)
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
) -> Stage:
    """Latents to an image: strip by strip within `max_memory` bytes, or plainly as a whole."""
    autoencoder = model.autoencoder(dtype)
    factor, family = model.family.factor, model.family
    name = "decoding" if lean else "plain decoding"
    weights = sum(map(_size, _tensors(autoencoder)))
    if lean and family.decodes_in_strips:
        size = height // factor, width // factor
        cost = decode_cost(autoencoder, *size, max_memory, gpu=gpu)
        return Stage(name, {"autoencoder": weights, "activations": cost.memory}, cost.flops)
    with _running(model, gpu) as tracker, torch.no_grad():
        tracker.hold("autoencoder", _tensors(autoencoder))
        latents = _latents(model, 1, width, height).to(dtype)
        family.decode_latents(autoencoder, latents)
    return _stage(name, tracker)


def lean_encoding_stage(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype,
    *,
    max_memory: int | None = None,
    gpu: bool,
) -> Stage:
    """One picture to latents, strip by strip within `max_memory` bytes where the family can."""
    if not model.family.decodes_in_strips:
        return image_encoding_stage(model, width, height, dtype, gpu=gpu)
    autoencoder = model.autoencoder(dtype)
    cost = encode_cost(autoencoder, height, width, max_memory, gpu=gpu)
    parts = {
        "autoencoder": sum(map(_size, _tensors(autoencoder))),
        "activations": cost.memory,
        "picture": _size(meta_tensor(1, 3, height, width, dtype=dtype)),
    }
    return Stage("encoding", parts, cost.flops)


def training_stages(model: Blueprint, setup: TrainingSetup, *, gpu: bool) -> list[Stage]:
    """Forward and backward of a step, and the optimizer's update, in the steady state."""
    transformer = _trained(model, setup).train()
    parameters = [p for p in transformer.parameters() if p.requires_grad]
    autocast = Autocast(gpu=gpu) if setup.bfloat16 else None
    if setup.gradient_checkpointing:
        again = partial(_again, autocast)
        blocks = blocks_of(transformer)
        transformer.enable_gradient_checkpointing(
            recompute(setup.gradient_checkpointing, blocks, again)
        )
    with _running(model, gpu, autocast) as tracker:
        if autocast:
            autocast.copying = partial(tracker.as_part, "weight copies")
        tracker.hold("weights", _tensors(transformer))
        copies = {"optimizer": setup.moments, "average": float(setup.average)}
        # Data-parallel buckets, in which gradients travel, are a copy of all of them.
        copies["gradient buckets"] = float(setup.processes > 1)
        held = [_copies(tracker, part, parameters, n) for part, n in copies.items()]
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(
                lambda p: tracker.hold("gradients", [p.grad])
            )
        # Peak and computations of the third micro-batch are the second's.
        for _ in range(min(setup.gradient_accumulation, 2)):
            before = tracker.flops
            _micro_batch(model, transformer, setup, autocast)
        flops = tracker.flops - before
        step = replace(_stage("training step", tracker), flops=flops * setup.gradient_accumulation)
        tracker.forget_peak()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if setup.moments != 2:  # AdamW's kernel changes all in place
            with tracker.as_part("temporary"):
                _of_update(parameters, gpu)
        update = replace(_stage("optimizer step", tracker), flops=0)
        del held
    return [step, update]


def _trained(model: Blueprint, setup: TrainingSetup) -> Any:
    """The transformer as `train` has it: whole in float32, or frozen under adapters."""
    if setup.lora_rank is None:
        return model.build("transformer", setup.weights).requires_grad_(True)
    transformer = model.build("transformer", torch.bfloat16 if setup.bfloat16 else torch.float32)
    targets = setup.lora_targets or model.family.lora_targets
    add_adapter(transformer, rank=setup.lora_rank, alpha=setup.lora_rank, targets=targets, seed=0)
    return transformer


def _micro_batch(
    model: Blueprint,
    transformer: nn.Module,
    setup: TrainingSetup,
    autocast: Autocast | None,
) -> None:
    latents = _latents(model, setup.batch_size, setup.width, setup.height)
    latents = latents.to(setup.weights)
    noise, sigma = torch.empty_like(latents), meta_tensor(setup.batch_size, dtype=setup.weights)
    conditioning = _conditioning(model, setup.batch_size, setup.weights)
    with autocast.forward() if autocast else nullcontext():
        loss = denoising_loss(
            model.family,
            transformer,
            setup.objective,
            latents=latents,
            conditioning=conditioning,
            noise=noise,
            sigma=sigma,
        ).mean()
    loss.backward()


def _copies(
    tracker: Tracker, part: str, parameters: list[nn.Parameter], number: float
) -> list[Tensor]:
    with tracker.as_part(part):
        return [p.new_empty(int(number * p.numel())) for p in parameters]


@contextmanager
def _again(autocast: Autocast | None) -> Iterator[None]:
    # torch leaves our modes out when a block is computed for the second time.
    with FusedAttention(), autocast or nullcontext():
        yield


def _of_update(parameters: list[nn.Parameter], gpu: bool) -> list[Tensor]:
    """Numbers beside them: for all parameters at once on GPUs, one by one on the CPU."""
    largest = max(parameters, key=lambda p: p.numel())
    return [torch.empty_like(p) for p in (parameters if gpu else [largest, largest])]


def _latents(model: Blueprint, batch: int, width: int, height: int) -> Tensor:
    factor = model.family.factor
    return meta_tensor(batch, model.latent_channels, height // factor, width // factor)


def _conditioning(model: Blueprint, batch: int, dtype: torch.dtype) -> dict[str, Tensor]:
    conditioning = model.family.empty_conditioning(model.folder, batch)
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in conditioning.items()}


@contextmanager
def _running(model: Blueprint, gpu: bool, *modes: Any) -> Iterator[Tracker]:
    # Asked for once before anything is counted, as an autoencoder is built for the answer.
    _ = model.latent_channels
    with ExitStack() as stack:
        # Of slow paths, which do not matter without contents.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        tracker = stack.enter_context(Tracker(gpu_workspace if gpu else cpu_workspace))
        stack.enter_context(FusedAttention())
        for mode in modes:
            if mode is not None:
                stack.enter_context(mode)
        yield tracker


def _stage(name: str, tracker: Tracker) -> Stage:
    return Stage(
        name, {part: size for part, size in tracker.at_peak.items() if size}, tracker.flops
    )


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
