"""The device that a command computes on."""

import torch

from diffusion4k.errors import UsageError, first_line

__all__ = ["multiplies_bfloat16", "usable_device"]


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


def multiplies_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (Intel's AMX): others emulate it, slowly."""
    return bool(torch.cpu._is_amx_tile_supported())
