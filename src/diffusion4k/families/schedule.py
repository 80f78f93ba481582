"""The shift of a scheduler's noise levels, as its configuration says it."""

import math
from pathlib import Path
from typing import Any

from diffusion4k.errors import Diffusion4kError
from diffusion4k.models.folder import component_folder, read_json
from diffusion4k.support.text_files import shortened

__all__ = ["check_schedule", "least_steps_of", "scheduler_config", "shift_of"]

_MOST = 1 << 31
_LOW, _HIGH = "base_image_seq_len", "max_image_seq_len"
_SHIFTS = {
    **dict.fromkeys(("shift", "flow_shift", _LOW, _HIGH), 0),
    **dict.fromkeys(("base_shift", "max_shift"), -100),  # logarithms
}


def scheduler_config(model: Path) -> Path:
    """The file with the configuration of a model's scheduler."""
    return component_folder(model, "scheduler") / "scheduler_config.json"


def check_schedule(path: Path) -> None:
    """Refuse a scheduler's configuration whose shift of timesteps cannot be computed with.

    Raises:
        Diffusion4kError: no such file, or names the value and what is allowed.
    """
    config = read_json(path)
    for key, least in _SHIFTS.items():
        value: Any = config.get(key)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and least < value < _MOST):
            raise Diffusion4kError(
                f"{path}: {key} is {shortened(value)}: allowed is a number above {least} and below "
                f"{_MOST}"
            )
    low, high = _lengths(config)
    if low >= high:
        raise Diffusion4kError(
            f"{path}: {_HIGH} is {high}: allowed is a number above {_LOW}, which is {low}"
        )


def _lengths(config: dict[str, Any]) -> tuple[float, float]:
    """Tokens between which the shift grows, by default as stock pipelines have them."""
    return config.get(_LOW) or 256, config.get(_HIGH) or 4096


def shift_of(path: Path, tokens: int) -> float:
    """The shift for images of so many tokens.

    By the configuration's own words it depends on the tokens or not. If so, mu is linear in them,
    between `base_shift` and `max_shift`, and the shift exp(mu) (the `calculate_shift` of the stock
    pipelines).
    """
    config = read_json(path)
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", config.get("flow_shift", 1.0)))
    low, high = _lengths(config)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return math.exp(base + (most - base) * (tokens - low) / (high - low))


def least_steps_of(path: Path) -> int:
    """Steps of the shortest schedule: 2 where it is stretched between the first and a stated last.

    With one step that would divide nothing by nothing.
    """
    return 2 if read_json(path).get("shift_terminal") else 1
