"""How well a run uses its machine: images and floating-point operations a second, memory.

These figures are of the machine, not of the recipe, and belong to trackers, not to the curves that
a resumed run repeats to the bit.
"""

import resource
import time
from functools import cached_property

import torch

from diffusion4k.planning.blueprint import Blueprint
from diffusion4k.planning.machine import present_machine
from diffusion4k.planning.stages import training_stages
from diffusion4k.planning.training import training_setup
from diffusion4k.training.recipe import Recipe

__all__ = ["Throughput"]


class Throughput:
    """Rates between two calls of `row`."""

    def __init__(self, recipe: Recipe, images_per_step: int, device: torch.device) -> None:
        self._recipe, self._images, self._device = recipe, images_per_step, device
        self._time, self._steps = time.monotonic(), 0

    def row(self, steps: int) -> dict[str, float]:
        """Figures by name, after `steps` steps more; per process what is not of images.

        `utilisation` is of what one matrix product reached on this device, in bfloat16 on GPUs.
        """
        if not self._steps:
            _ = self._flops_per_step, self._peak  # not in the time of the next row
        now = time.monotonic()
        seconds = max(now - self._time, 1e-9)
        self._time, self._steps = now, self._steps + steps
        rate = steps * self._flops_per_step / seconds
        return {
            "images_per_second": steps * self._images / seconds,
            "teraflops": rate / 1e12,
            "utilisation": rate / self._peak,
            "memory_gib": _memory(self._device) / 2**30,
        }

    @cached_property
    def _flops_per_step(self) -> int:
        """By running a step on shapes alone."""
        blueprint = Blueprint(
            self._recipe.model, high_resolution=self._recipe.high_resolution_options
        )
        gpu = self._device.type == "cuda"
        setup = training_setup(self._recipe, present_machine(measured=False))
        return training_stages(blueprint, setup, gpu=gpu)[0].flops

    @cached_property
    def _peak(self) -> float:
        return present_machine().flops


def _memory(device: torch.device) -> int:
    """The most bytes so far: of the GPU by torch, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
