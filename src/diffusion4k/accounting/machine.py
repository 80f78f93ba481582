"""The machine that a plan is for: described by the user, or the present one."""

import math
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.errors import UsageError
from diffusion4k.vae import parse_memory

if TYPE_CHECKING:
    import torch

__all__ = [
    "A100",
    "Machine",
    "described_machine",
    "existing_folder",
    "free_memory",
    "present_machine",
]

A100 = 312e12
"""FLOPs a second of an NVIDIA A100 in bfloat16 without sparsity, by its data sheet."""
_GPU_MEMORY = 80 * 2**30
_BANDWIDTH = 25e9
_UTILISATION = 0.4


@dataclass(frozen=True)
class Machine:
    """Sizes in bytes; None is not known and not checked."""

    gpus: int
    """0: the CPU computes, and `memory` is what is free of its own."""
    memory: int
    """Bytes of memory of each device."""
    ram: int | None
    disk: int | None
    bandwidth: float
    """Bytes a second between a GPU and main memory, or another GPU."""
    flops: float
    """Floating-point operations a second that a device could do at most."""
    utilisation: float
    """Share of them that is reached."""
    device: str = "cuda"
    """Kind of the GPUs, by torch's name (`cuda` is AMD's, too)."""

    @property
    def on_gpu(self) -> bool:
        """Whether GPUs compute."""
        return self.gpus > 0

    @property
    def has_own_memory(self) -> bool:
        """Whether GPUs compute in a memory of their own, to which weights can come and go."""
        return self.on_gpu and self.device != "mps"

    def of_run(self, processes: int) -> "Machine":
        """What a run of so many processes has, each with a device of its own.

        Where they are more than the GPUs of this machine, the others are of machines like it.
        """
        if not self.on_gpu:
            return self
        machines = math.ceil(processes / self.gpus)
        ram = None if self.ram is None else self.ram * machines
        return replace(self, gpus=processes, ram=ram)

    def seconds(self, flops: float) -> float:
        """Time that one device takes for so many floating-point operations."""
        return flops / (self.flops * self.utilisation)


def described_machine(
    *,
    gpus: int | None = None,
    gpu_memory: str | None = None,
    ram: str | None = None,
    disk: str | None = None,
    bandwidth: str | None = None,
    teraflops: float | None = None,
    utilisation: float | None = None,
) -> Machine:
    """A machine with GPUs; what is not said is one A100 of 80 GiB at PCIe 4.

    Raises:
        UsageError: no GPU, a memory that is no size, or a figure out of its range.
    """
    if gpus is not None and gpus < 1:
        raise UsageError(
            f"gpus {gpus}: give 1 or more, or leave the machine's options out to plan for this one"
        )
    rate = (bandwidth or "").lower().removesuffix("/s") or None
    return Machine(
        gpus=gpus or 1,
        memory=parse_memory(gpu_memory, "gpu-memory") or _GPU_MEMORY,
        ram=parse_memory(ram, "ram"),
        disk=parse_memory(disk, "disk"),
        bandwidth=parse_memory(rate, "bandwidth") or _BANDWIDTH,
        flops=_positive("teraflops", teraflops) * 1e12 if teraflops is not None else A100,
        utilisation=_share(utilisation),
    )


def present_machine(
    utilisation: float | None = None, *, folder: Path | None = None, measured: bool = True
) -> Machine:
    """This machine as it is now; free disk is that of `folder`.

    Its speed is that of one matrix product: a GPU's in bfloat16, the CPU's in float32; not
    `measured`, an A100's.

    Raises:
        UsageError: a utilisation that is no share.
    """
    import torch

    from diffusion4k.support.devices import default_device, free_device_memory, is_gpu

    share = _share(utilisation)
    device = default_device()
    on_gpu = is_gpu(device)
    return Machine(
        gpus=torch.get_device_module(device).device_count() if on_gpu else 0,
        memory=free_device_memory(device) if on_gpu else free_memory(),
        ram=free_memory(),
        disk=shutil.disk_usage(existing_folder(folder or Path.cwd())).free,
        bandwidth=_BANDWIDTH,
        flops=_measured_flops(device) if measured else A100,
        utilisation=share,
        device=device.type,
    )


def free_memory() -> int:
    """Bytes of main memory that programs can still have."""
    information = Path("/proc/meminfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _measured_flops(device: "torch.device") -> float:
    import torch

    from diffusion4k.support.devices import half_precision, is_gpu, synchronize

    dtype, side = half_precision(device), 8192 if is_gpu(device) else 1024
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        matrix @ matrix
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def existing_folder(folder: Path | str) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    folder = Path(folder).absolute()
    return folder if folder.exists() else existing_folder(folder.parent)


def _share(value: float | None) -> float:
    if value is None:
        return _UTILISATION
    if not 0 < value <= 1:
        raise UsageError(f"utilisation {value:g}: allowed is a share above 0, up to 1")
    return value


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} {value:g}: allowed is a number above 0")
    return value
