"""The LoRAs that images are made with: read, checked, and recorded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from diffusion4k.errors import UsageError
from diffusion4k.lora import Adapter, check_adapter, read_adapter
from diffusion4k.support.wording import counted

__all__ = ["Scales", "read_loras", "recorded"]

Scales: TypeAlias = float | Sequence[float] | None


def read_loras(
    places: str | Path | Sequence[str | Path] | None,
    scales: Scales,
    *,
    family: str,
    model: str,
    skeleton: Callable[[], nn.Module],
) -> list[tuple[Adapter, float]]:
    """LoRAs and their scales, checked against the model's transformer.

    Args:
        scales: one for each, or none: 1.
        skeleton: gives the transformer without its weights.

    Raises:
        UsageError: other numbers of scales than of LoRAs, or one that is not finite.
        Diffusion4kError: one cannot be read or was made for another model.
    """
    files = [places] if isinstance(places, (str, Path)) else list(places or ())
    numbers = [scales] if isinstance(scales, (int, float)) else list(scales or ())
    if not numbers:
        numbers = [1.0] * len(files)
    if len(numbers) != len(files):
        if not files:
            raise UsageError(f"LoRA scale {numbers[0]:g} without a LoRA")
        raise UsageError(
            f"{counted(len(files), 'LoRA')} and {counted(len(numbers), 'LoRA scale')}: give one "
            "scale for each, in the same order, or none"
        )
    if not files:
        return []
    transformer = skeleton()
    found = []
    for file, scale in zip(files, numbers, strict=True):
        adapter = read_adapter(file)
        check_adapter(adapter, family=family, model=model, transformer=transformer, scale=scale)
        found.append((adapter, scale))
    return found


def recorded(adapters: Sequence[tuple[Adapter, float]]) -> dict[str, Any]:
    """What an image's record says of them: of one its values, of several lists of them."""
    if not adapters:
        return {}
    values = {
        "lora": tuple(str(adapter.path) for adapter, _ in adapters),
        "lora_fingerprint": tuple(adapter.fingerprint for adapter, _ in adapters),
        "lora_scale": tuple(scale for _, scale in adapters),
    }
    return {name: each[0] if len(each) == 1 else each for name, each in values.items()}
