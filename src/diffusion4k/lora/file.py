"""Adapter files: the layout of diffusers, and in the header what they were made for.

`pytorch_lora_weights.safetensors` holds `transformer.<layer>.lora_A.weight (rank, in)` and
`...lora_B.weight (out, rank)`. The factor alpha / rank is in B, and alpha is written as the rank:
where programs look for alpha differs, and all of them take it for the rank, or the factor for one,
where they find none. Its metadata hold PEFT's configuration under diffusers' own key, and
under `diffusion4k` the family, the base model and versions.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.header import (
    CONFIG_KEY,
    RECORD_KEY,
    check_pairs,
    config_of,
    guessed,
    origin_of,
)
from diffusion4k.lora.other_layouts import dotted, to_diffusers
from diffusion4k.support.files import atomic_path

__all__ = ["FILE_NAME", "Adapter", "check_adapter", "read_adapter", "write_adapter"]

FILE_NAME = "pytorch_lora_weights.safetensors"

_PREFIX = "transformer."
_ENDS = (".lora_A.weight", ".lora_B.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter as it stands in a file.

    `config` are the arguments of PEFT's `LoraConfig`, empty for a file of another layout until it
    is `fitted`; `made_for` names family and base model, as far as the file tells.
    """

    path: Path
    weights: dict[str, Tensor] = field(repr=False)
    config: dict[str, Any]
    made_for: dict[str, str]

    def fitted(self, transformer: nn.Module) -> "Adapter":
        """The adapter with layers named as in the transformer, as diffusers' layout has them."""
        if self.config:
            return self
        known = [name for name, part in transformer.named_modules() if isinstance(part, nn.Linear)]
        weights = {
            dotted(name.removesuffix(end), known) + end: weight
            for name, weight in self.weights.items()
            for end in _ENDS
            if name.endswith(end)
        }
        return replace(self, weights=weights, config=guessed(check_pairs(weights)))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the weights and what scales them."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, weight in sorted(self.weights.items()):
            digest.update(f"\0{name}\0".encode())
            digest.update(weight.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def write_adapter(folder: Path, transformer: Any, made_for: dict[str, str]) -> Path:
    """Write the adapters in `transformer` to `folder` for diffusers' `load_lora_weights`.

    `made_for` names at least `family` and `base_model`.
    """
    from peft import get_peft_model_state_dict

    (config,) = transformer.peft_config.values()
    said = {
        "r": config.r,
        "lora_alpha": config.r,
        "target_modules": sorted(config.target_modules),
    }
    weights = get_peft_model_state_dict(transformer)
    factors = dict(zip(_ENDS, (1.0, config.lora_alpha / config.r), strict=True))
    tensors = {
        _PREFIX + name: w.detach().cpu().contiguous() * factors[end]
        for name, w in weights.items()
        for end in _ENDS
        if name.endswith(end)
    }
    metadata = {
        "format": "pt",
        CONFIG_KEY: json.dumps(
            {_PREFIX + key: value for key, value in said.items()}, sort_keys=True
        ),
        RECORD_KEY: json.dumps(made_for, sort_keys=True),
    }
    with atomic_path(folder / FILE_NAME) as path:
        save_file(tensors, path, metadata)
    return folder / FILE_NAME


def read_adapter(place: str | Path) -> Adapter:
    """The adapter in a folder, or in a .safetensors file, of diffusers' or another known layout.

    Raises:
        UsageError: no such file.
        Diffusion4kError: a damaged one, one of an unknown layout, or one whose parts are missing
            or contradict one another.
    """
    path = Path(place)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path}: no such file: give the folder that holds {FILE_NAME}")
    try:
        weights = load_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, ValueError) as error:
        raise Diffusion4kError(
            f"{path}: damaged safetensors file ({error}): copy or download it again"
        ) from None
    odd = [key for key in weights if not (key.startswith(_PREFIX) and key.endswith(_ENDS))]
    if odd or not weights:
        try:
            converted = to_diffusers(weights)
            check_pairs(converted)
        except ValueError as error:
            reason = str(error)
        else:
            if converted:
                return Adapter(path, converted, {}, {})
            reason = "found nothing for a transformer"
        raise Diffusion4kError(
            f"{path}: not a LoRA of a transformer in a known layout: {reason}; allowed are "
            f"{_PREFIX}LAYER{_ENDS[0]} and {_ENDS[1]}, and what kohya-ss/sd-scripts, OneTrainer, "
            "ComfyUI, PEFT and XLabs' x-flux write"
        )
    weights = {key.removeprefix(_PREFIX): value for key, value in weights.items()}
    try:
        config = config_of(metadata, _PREFIX, check_pairs(weights))
        return Adapter(path, weights, config, origin_of(metadata))
    except ValueError as error:
        raise Diffusion4kError(
            f"{path}: an incomplete or contradictory LoRA: {error}: copy or download it again"
        ) from None


def check_adapter(
    adapter: Adapter, *, family: str, model: str, transformer: nn.Module, scale: float = 1.0
) -> None:
    """Refuse an adapter of another family or of layers of other sizes, and a `scale` that is none.

    `transformer` is that of `model`, and may be on the "meta" device.

    Raises:
        UsageError: a scale that is not finite.
        Diffusion4kError: says what the adapter was made for.
    """
    if not math.isfinite(scale):
        raise UsageError(f"LoRA scale {scale:g}: allowed is a finite number")
    adapter = adapter.fitted(transformer)
    made_for = adapter.made_for
    origin = (
        f"made for {made_for['family']} ({made_for['base_model']})"
        if {"family", "base_model"} <= made_for.keys()
        else "made for another model"
    )
    if made_for.get("family", family) != family:
        raise Diffusion4kError(f"{adapter.path}: this LoRA was {origin}; {model} is {family}")
    layers = {name: m for name, m in transformer.named_modules() if isinstance(m, nn.Linear)}
    for key, weight in adapter.weights.items():
        name, _, matrix = key.removesuffix(".weight").rpartition(".")
        side, wanted = (1, "in_features") if matrix == "lora_A" else (0, "out_features")
        found = getattr(layers.get(name), wanted, None)
        if found != weight.shape[side]:
            here = f"{wanted} {found}" if found else "no such linear layer"
            raise Diffusion4kError(
                f"{adapter.path}: this LoRA was {origin}: its {name} has {wanted} "
                f"{weight.shape[side]}, {model} has {here}"
            )
