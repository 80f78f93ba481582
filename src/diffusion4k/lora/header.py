"""What the header of an adapter's file says of its weights: PEFT's configuration, and its origin.

Both are JSON under keys of their own, and checked before they are used: a header that contradicts
the weights would have them applied in part, or with another strength.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from diffusion4k.support.text_files import json_of
from diffusion4k.support.wording import counted

__all__ = ["CONFIG_KEY", "RECORD_KEY", "check_pairs", "config_of", "guessed", "origin_of"]

CONFIG_KEY, RECORD_KEY = "lora_adapter_metadata", "diffusion4k"

_A, _B = ".lora_A.weight", ".lora_B.weight"
_Rank = Annotated[int, Field(gt=0)]
_Alpha = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Config(BaseModel):
    """The part of PEFT's configuration that decides about the output of plain LoRA layers."""

    model_config = ConfigDict(strict=True)

    r: _Rank
    lora_alpha: _Alpha
    target_modules: str | list[str]
    rank_pattern: dict[str, _Rank] = {}
    alpha_pattern: dict[str, _Alpha] = {}
    use_rslora: bool = False

    def rank_of(self, layer: str) -> int:
        """Rank as PEFT finds it: by the first pattern that the end of the layer's name fits."""
        for pattern, rank in self.rank_pattern.items():
            if re.fullmatch(rf"(.*\.)?({pattern})", layer):
                return rank
        return self.r


def check_pairs(weights: dict[str, Tensor]) -> dict[str, int]:
    """The rank of each layer, whose two matrices are both there and fit.

    Raises:
        ValueError: names the layer and what is wrong.
    """
    for name, weight in weights.items():
        if weight.ndim != 2:
            raise ValueError(f"{name} has {counted(weight.ndim, 'dimension')}, allowed are 2")
        if not weight.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
    ranks = {name.removesuffix(_A): len(weights[name]) for name in weights if name.endswith(_A)}
    others = {
        name.removesuffix(_B): weights[name].shape[1] for name in weights if name.endswith(_B)
    }
    for layer in sorted(ranks.keys() | others.keys()):
        if layer not in others:
            raise ValueError(f"{layer} has lora_A, but no lora_B")
        if layer not in ranks:
            raise ValueError(f"{layer} has lora_B, but no lora_A")
        if ranks[layer] != others[layer]:
            raise ValueError(f"{layer}: lora_A has rank {ranks[layer]}, lora_B {others[layer]}")
    return ranks


def config_of(metadata: dict[str, str], prefix: str, ranks: dict[str, int]) -> dict[str, Any]:
    """The arguments of PEFT's `LoraConfig`, by the header or, where it says nothing, by `ranks`.

    Raises:
        ValueError: the header is not understood, or says other ranks.
    """
    said = {key.removeprefix(prefix): v for key, v in _object(metadata, CONFIG_KEY).items()}
    known = {key: value for key, value in said.items() if key in _Config.model_fields}
    if not known:
        return guessed(ranks)
    try:
        config = _Config(**known)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = "is missing" if first["type"] == "missing" else f"({first['msg']})"
        raise ValueError(f"the header's {CONFIG_KEY}: {place} {reason}") from None
    for layer, rank in ranks.items():
        try:
            expected = config.rank_of(layer)
        except re.error as error:
            raise ValueError(f"the header's rank_pattern is not a pattern ({error})") from None
        if rank != expected:
            raise ValueError(f"{layer}: the header says rank {expected}, its weights have {rank}")
    return known


def origin_of(metadata: dict[str, str]) -> dict[str, str]:
    """Family and base model, as far as the header says them.

    Raises:
        ValueError: it is not an object of texts.
    """
    record = _object(metadata, RECORD_KEY)
    for key, value in record.items():
        if not isinstance(value, str):
            raise ValueError(f"the header's {RECORD_KEY}: {key} is not a text")
    return record


def _object(metadata: dict[str, str], key: str) -> dict[str, Any]:
    try:
        value = json_of(metadata.get(key, "{}"))
    except ValueError as error:
        raise ValueError(f"the header's {key} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"the header's {key} is not an object")
    return value


def guessed(ranks: dict[str, int]) -> dict[str, Any]:
    """What diffusers takes where a file says nothing: alpha is the rank, of each layer alone."""
    usual = max(ranks.values(), default=1)
    others = {f"^{name}": rank for name, rank in ranks.items() if rank != usual}
    return {
        "r": usual,
        "lora_alpha": usual,
        "target_modules": sorted(ranks),
        "rank_pattern": others,
        "alpha_pattern": dict(others),
    }
