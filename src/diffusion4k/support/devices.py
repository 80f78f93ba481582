"""The device that a command computes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffusion4k.errors import Diffusion4kError, UsageError, first_line

__all__ = ["enough_memory", "multiplies_bfloat16", "usable_device"]


def usable_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default the first GPU if there is one, else the CPU.

    Raises:
        UsageError: no such device, or none that works here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device {name}: cannot be used here ({first_line(error)}): try cpu"
        ) from None
    return device


@contextmanager
def enough_memory(otherwise: str) -> Iterator[None]:
    """Turn running out of memory, on whichever device, into one line.

    Raises:
        Diffusion4kError: with `otherwise` as its text.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason: BaseException = error
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # PyTorch's CPU allocator has no class of its own.
            raise
        reason = error
    else:
        return
    raise Diffusion4kError(otherwise) from reason


def multiplies_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (Intel's AMX): others emulate it, slowly."""
    return bool(torch.cpu._is_amx_tile_supported())
