"""The device that a command computes on, and what differs between kinds of devices.

| device | of | chosen by default | memory |
|---|---|---|---|
| `cuda` | NVIDIA, and AMD (torch's ROCm builds use the same name) | first | its own |
| `xpu` | Intel | second | its own |
| `mps` | Apple | third | the CPU's: nothing is gained by moving weights |
| `cpu` | | where there is none of these | |
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from diffusion4k.errors import Diffusion4kError, UsageError, first_line

__all__ = [
    "default_device",
    "device_name",
    "empty_cache",
    "enough_memory",
    "free_device_memory",
    "half_precision",
    "has_own_memory",
    "is_gpu",
    "is_out_of_memory",
    "is_rocm",
    "multiplies_bfloat16",
    "peak_memory",
    "synchronize",
    "usable_device",
    "widest_float",
]

_GPUS = ("cuda", "xpu", "mps")


def default_device() -> torch.device:
    """The first kind of GPU that is here, else the CPU."""
    found = (kind for kind in _GPUS if torch.get_device_module(kind).is_available())
    return torch.device(next(found, "cpu"))


def usable_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default `default_device`.

    Raises:
        UsageError: no such device, or none that works here.
    """
    name = name or default_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device {name}: cannot be used here ({first_line(error)}): try cpu"
        ) from None
    return device


def is_gpu(device: torch.device) -> bool:
    """Whether it is a GPU of any make."""
    return device.type in _GPUS


def is_rocm() -> bool:
    """Whether `cuda` is AMD's."""
    return torch.version.hip is not None


def has_own_memory(device: torch.device) -> bool:
    """Whether weights that leave it make room there; Apple's GPUs share the CPU's memory."""
    return device.type not in ("cpu", "mps")


def half_precision(device: torch.device) -> torch.dtype:
    """Type for computations: bfloat16 on a GPU that has it, else float32, as CPUs emulate it."""
    if not is_gpu(device):
        return torch.float32
    if device.type == "mps":
        has_it = torch.backends.mps.is_macos_or_newer(14, 0)
    else:
        has_it = torch.get_device_module(device).is_bf16_supported()
    return torch.bfloat16 if has_it else torch.float32


def widest_float(device: torch.device) -> torch.dtype:
    """The most exact type that the device has: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if is_gpu(device):
        _module(device).synchronize()


def empty_cache(device: torch.device) -> None:
    """Give back what torch keeps of the device's memory for tensors to come."""
    if is_gpu(device):
        _module(device).empty_cache()


def peak_memory(device: torch.device, *, restart: bool = False) -> int:
    """The most bytes of tensors on the device so far; `restart`: it counts from now on.

    Apple's driver tells what is held now, not the most; on the CPU it is the process's memory,
    which cannot be restarted.
    """
    if not is_gpu(device):
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    module = _module(device)
    if device.type == "mps":
        return int(module.driver_allocated_memory())
    if restart:
        module.reset_peak_memory_stats(device)
    return int(module.max_memory_allocated(device))


def free_device_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that are free."""
    module = _module(device)
    if device.type == "mps":
        return int(module.recommended_max_memory() - module.driver_allocated_memory())
    return int(module.mem_get_info(device)[0])


def device_name(device: torch.device) -> str | None:
    """What the GPU is called; None: it is the CPU."""
    if not is_gpu(device):
        return None
    return "Apple GPU" if device.type == "mps" else str(_module(device).get_device_name(device))


@contextmanager
def enough_memory(otherwise: str) -> Iterator[None]:
    """Turn running out of memory, on whichever device, into one line.

    Raises:
        Diffusion4kError: with `otherwise` as its text.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise Diffusion4kError(otherwise) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says so; the allocators of the CPU and of Apple's GPUs have no class."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "allocate memory" in text or "MPS backend out of memory" in text
    )


def multiplies_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (Intel's AMX): others emulate it, slowly."""
    return bool(torch.cpu._is_amx_tile_supported())


def _module(device: torch.device) -> Any:
    return torch.get_device_module(device)
