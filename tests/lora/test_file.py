"""Adapter files with parts missing or contradictory: each is refused, none applied in part."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError
from diffusion4k.lora import FILE_NAME, read_adapter

LAYERS = ("blocks.0.attn.to_q", "blocks.1.attn.to_q")
A, B = (f"transformer.{LAYERS[1]}.lora_{side}.weight" for side in "AB")


def lora(rank: int = 4) -> dict[str, Tensor]:
    return {
        f"transformer.{layer}.lora_{side}.weight": torch.ones(shape)
        for layer in LAYERS
        for side, shape in (("A", (rank, 12)), ("B", (16, rank)))
    }


def without(*names: str) -> dict[str, Tensor]:
    return {name: weight for name, weight in lora().items() if name not in names}


def said(**values: Any) -> dict[str, str]:
    return {"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in values.items()})}


WHOLE = {"r": 4, "lora_alpha": 8, "target_modules": ["attn.to_q"]}


@pytest.mark.parametrize(
    ("weights", "metadata", "reason"),
    [
        (without(A), {}, f"{LAYERS[1]} has lora_B, but no lora_A"),
        (without(B), {}, f"{LAYERS[1]} has lora_A, but no lora_B"),
        ({k: v for k, v in lora().items() if "lora_A" in k}, {}, "has lora_A, but no lora_B"),
        ({k: v for k, v in lora().items() if "lora_B" in k}, {}, "has lora_B, but no lora_A"),
        (lora() | {B: torch.ones(16, 8)}, {}, f"{LAYERS[1]}: lora_A has rank 4, lora_B 8"),
        (lora() | {B: torch.ones(16)}, {}, "has 1 dimension, allowed are 2"),
        ({name: torch.tensor(1.0) for name in lora()}, {}, "has 0 dimensions, allowed are 2"),
        (lora() | {B: torch.full((16, 4), torch.inf)}, {}, "holds numbers that are not finite"),
        (lora(), said(**WHOLE | {"r": 16}), "the header says rank 16, its weights have 4"),
        (lora(), said(**WHOLE, rank_pattern={"1.attn.to_q": 2}), "says rank 2, its weights have 4"),
        (lora(), said(**WHOLE, rank_pattern={"(": 2}), "rank_pattern is not a pattern"),
        (lora(), said(**WHOLE | {"r": "4"}), "r (Input should be a valid integer)"),
        (lora(), said(**WHOLE | {"lora_alpha": float("nan")}), "lora_alpha ("),
        (lora(), said(**WHOLE | {"r": 0}), "r ("),
        (lora(), said(**WHOLE | {"target_modules": [3]}), "target_modules"),
        (lora(), said(lora_alpha=8), "r is missing"),
        (lora(), {"lora_adapter_metadata": "[]"}, "lora_adapter_metadata is not an object"),
        (lora(), {"lora_adapter_metadata": "{"}, "lora_adapter_metadata is not JSON"),
        (lora(), {"lora_adapter_metadata": "[" * 10**5}, "lora_adapter_metadata is not JSON"),
        (lora(), {"diffusion4k": "[]"}, "diffusion4k is not an object"),
        (lora(), {"diffusion4k": '{"family": 3}'}, "diffusion4k: family is not a text"),
    ],
)
def test_what_is_incomplete_or_contradictory_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], metadata: dict[str, str], reason: str
) -> None:
    save_file(weights, tmp_path / FILE_NAME, metadata)
    with pytest.raises(Diffusion4kError) as refused:
        read_adapter(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / FILE_NAME))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        said(**WHOLE),
        said(**WHOLE | {"r": 2}, rank_pattern={"attn.to_q": 4}),
        said(**WHOLE | {"lora_alpha": 2.5}, use_rslora=True, lora_dropout=0.5),
    ],
)
def test_a_whole_one_is_read(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file(lora(), tmp_path / FILE_NAME, metadata)
    adapter = read_adapter(tmp_path)
    assert adapter.weights.keys() == {name.removeprefix("transformer.") for name in lora()}
    assert "lora_dropout" not in adapter.config
