"""What the header of an adapter's file says of its weights: PEFT's configuration, and its origin.

Both are JSON under keys of their own, and checked before they are used: a header that contradicts
the weights would have them applied in part, or with another strength.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffusion4k.support.text_files import json_of

__all__ = ["CONFIG_KEY", "RECORD_KEY", "alpha_of", "config_of", "guessed", "origin_of"]

CONFIG_KEY, RECORD_KEY = "lora_adapter_metadata", "diffusion4k"

_T = TypeVar("_T")
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
        return _by_pattern(self.rank_pattern, layer, self.r)

    def alpha_of(self, layer: str) -> float:
        """Alpha, found in the same way."""
        return _by_pattern(self.alpha_pattern, layer, self.lora_alpha)


def alpha_of(config: dict[str, Any], layer: str, rank: int) -> float:
    """The alpha that a layer of that rank has by a configuration, so that alpha / rank scales it.

    `config` is what `config_of` gave.
    """
    checked = _Config(**config)
    # Rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank.
    return checked.alpha_of(layer) * (rank**0.5 if checked.use_rslora else 1)


def config_of(metadata: Mapping[str, str], prefix: str, ranks: dict[str, int]) -> dict[str, Any]:
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


def _by_pattern(patterns: dict[str, _T], layer: str, usual: _T) -> _T:
    fitting = (p for p in patterns if re.fullmatch(rf"(.*\.)?({p})", layer))
    return patterns.get(next(fitting, ""), usual)


def origin_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Family and base model, as far as the header says them.

    Raises:
        ValueError: it is not an object of texts.
    """
    record = _object(metadata, RECORD_KEY)
    for key, value in record.items():
        if not isinstance(value, str):
            raise ValueError(f"the header's {RECORD_KEY}: {key} is not a text")
    return record


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
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
