"""Where and how large the parts of the check run, and how they are measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from diffusion4k.support.devices import is_gpu, peak_memory, synchronize, usable_device

__all__ = ["GIB", "Setting", "measured"]

GIB = 2**30


@dataclass(frozen=True)
class Setting:
    """What all parts of one run have in common; `folder` is of one part, and is removed after it.

    `tiny`: networks of some thousand parameters and images of 64 pixels, on whichever device.
    """

    folder: Path
    tiny: bool
    device_name: str | None = None

    @cached_property
    def device(self) -> torch.device:
        """The device to check."""
        return usable_device(self.device_name)

    @property
    def side(self) -> int:
        """Pixels a side of the images."""
        return 64 if self.tiny else 4096

    @property
    def steps(self) -> int:
        """Sampling steps that are timed, after one that is not."""
        return 1 if self.tiny else 3


def measured(device: torch.device, run: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call, and on a GPU the most bytes of tensors meanwhile, in GiB."""
    on_gpu = is_gpu(device)
    if on_gpu:
        peak_memory(device, restart=True)
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    found = {"seconds": time.perf_counter() - start}
    return found | ({"peak_gib": peak_memory(device) / GIB} if on_gpu else {})
