"""How well a run uses its machine: images and floating-point operations a second, memory.

These figures are of the machine, not of the recipe, and belong to trackers, not to the curves that
a resumed run repeats to the bit.
"""

import time
from pathlib import Path

import torch

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import present_machine
from diffusion4k.support.devices import is_gpu, peak_memory
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.step_cost import training_setup, training_stages

__all__ = ["Throughput", "throughput_of"]


class Throughput:
    """Rates between two calls of `row`."""

    def __init__(self, flops: int, images: int, device: torch.device) -> None:
        """Measure steps of `flops` operations in this process and `images` images in all."""
        self._images, self._device = images, device
        self._flops, self._peak = flops, present_machine().flops
        self._time = time.monotonic()

    def row(self, steps: int) -> dict[str, float]:
        """Figures by name, after `steps` steps more; per process what is not of images.

        `utilisation` is of what one matrix product reached on this device, in bfloat16 on GPUs.
        """
        now = time.monotonic()
        seconds = max(now - self._time, 1e-9)
        self._time = now
        rate = steps * self._flops / seconds
        return {
            "images_per_second": steps * self._images / seconds,
            "teraflops": rate / 1e12,
            "utilisation": rate / self._peak,
            "memory_gib": peak_memory(self._device) / 2**30,
        }


def throughput_of(recipe: Recipe, model: Path, engine: Engine) -> Throughput:
    """Rates of the recipe's steps; one is run on shapes alone to count its operations."""
    blueprint = Blueprint(model, **recipe.model_options)
    setup = training_setup(recipe, present_machine(measured=False))
    step, *_ = training_stages(blueprint, setup, gpu=is_gpu(engine.device))
    images = recipe.batch_size * recipe.gradient_accumulation * engine.data_world
    return Throughput(step.flops, images, engine.device)
