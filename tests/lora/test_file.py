"""Files that are damaged, incomplete or contradictory: each is refused, none applied in part."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora import FILE_NAME, check_adapter, load_adapter, read_adapter
from tests.lora import writers
from tests.lora.reference import W, pair

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
KOHYA = "lora_unet_double_blocks_0_img_attn_proj"


def kohya(**parts: Tensor) -> dict[str, Tensor]:
    pair = {"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2)}
    return {f"{KOHYA}.{name}": value for name, value in (pair | parts).items()}


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
        (lora() | {B: torch.full((16, 4), torch.nan)}, {}, "holds numbers that are not finite"),
        (lora(0), {}, f"{LAYERS[0]}: lora_A is empty (0, 12): its rank is 0"),
        ({k: v * 0 for k, v in lora().items()}, {}, "changes no weight"),
        (lora(), said(**WHOLE | {"r": 16}), "the header says rank 16, its weights have 4"),
        (lora(), said(**WHOLE, rank_pattern={"1.attn.to_q": 2}), "says rank 2, its weights have 4"),
        (lora(), said(**WHOLE, rank_pattern={"(": 2}), "rank_pattern is not a pattern"),
        (lora(), said(**WHOLE | {"r": "4"}), "r (Input should be a valid integer)"),
        (lora(), said(**WHOLE | {"lora_alpha": float("nan")}), "lora_alpha ("),
        (lora(), said(**WHOLE | {"lora_alpha": 0}), "lora_alpha ("),
        (lora(), said(**WHOLE | {"r": 0}), "r ("),
        (lora(), said(**WHOLE | {"target_modules": [3]}), "target_modules"),
        (lora(), said(lora_alpha=8), "r is missing"),
        (lora(), {"lora_adapter_metadata": "[]"}, "lora_adapter_metadata is not an object"),
        (lora(), {"lora_adapter_metadata": "{"}, "lora_adapter_metadata is not JSON"),
        (lora(), {"lora_adapter_metadata": "[" * 10**5}, "lora_adapter_metadata is not JSON"),
        (lora(), {"diffusion4k": "[]"}, "diffusion4k is not an object"),
        (lora(), {"diffusion4k": '{"family": 3}'}, "diffusion4k: family is not a text"),
        (kohya(alpha=torch.tensor(0.0)), {}, "has alpha 0: allowed is a number above 0"),
        (kohya(alpha=torch.ones(2)), {}, "has alpha of shape (2,)"),
        (kohya(dora_scale=torch.ones(3, 1)), {}, "dora_scale has shape (3, 1)"),
        (kohya(dora_scale=torch.full((8, 1), torch.nan)), {}, "not finite"),
        (kohya(diff=torch.ones(8, 8)), {}, "which is not one LoRA"),
        (kohya(weight=torch.ones(8, 8)), {}, f"found {KOHYA}.weight, which is no part of a LoRA"),
        ({f"{KOHYA}.lokr_w1": torch.ones(2, 2)}, {}, "has lokr_w1, but no lokr_w2"),
        ({f"{KOHYA}.alpha": torch.tensor(1.0)}, {}, "has no weights"),
        (
            {f"{KOHYA}.{end}.weight": torch.ones(2, 2, 1, 1) for end in ("lora_down", "lora_up")},
            {},
            "4 dimensions, allowed are 2",
        ),
        (lora() | kohya(), {}, "keys of 2 layouts in one file"),
        ({"lora_te1_a.lora_down.weight": torch.ones(2, 4)}, {}, "found nothing for a transformer"),
        (
            {"double_blocks.3.processor.ip_adapter_double_stream_k_proj.weight": torch.ones(2, 4)},
            {},
            "k_proj.weight, which is no part of a LoRA",
        ),
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
    assert adapter.tensors.keys() == {name.removeprefix("transformer.") for name in lora()}
    assert "lora_dropout" not in adapter.config


def test_rank_stabilised_lora_divides_by_the_root(tmp_path: Path) -> None:
    save_file(lora(), tmp_path / FILE_NAME, said(**WHOLE, use_rslora=True))
    change = read_adapter(tmp_path).changes[f"{LAYERS[0]}.weight"]
    assert change.factor == 8 / 4**0.5


def _whole(tmp_path: Path) -> bytes:
    save_file(lora(), tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["cut short", "long header", "no JSON", "empty"])
def test_a_damaged_file_is_refused(tmp_path: Path, kind: str) -> None:
    content = _whole(tmp_path)
    (length,) = struct.unpack("<Q", content[:8])
    damaged = {
        "cut short": content[:-9],
        "long header": struct.pack("<Q", len(content) + 1) + content[8:],
        "no JSON": content[:8] + b"x" * length + content[8 + length :],
        "empty": b"",
    }[kind]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged)
    with pytest.raises(Diffusion4kError, match=r"damaged\.safetensors: damaged") as refused:
        read_adapter(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["lora.pt", "lora.ckpt", "lora.safetensors"])
def test_a_pickle_is_refused_with_the_safe_way(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save(lora(), path)
    with pytest.raises(UsageError, match=r"pickle.*weights_only=True.*save_file"):
        read_adapter(path)
    path.with_suffix(".bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UsageError, match="pickle"):
        read_adapter(path.with_suffix(".bin"))


def test_folders_without_one_lora(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no LoRA in it"):
        read_adapter(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        read_adapter(tmp_path / "absent.safetensors")
    save_file(lora(), tmp_path / "one.safetensors")
    assert read_adapter(tmp_path).path == tmp_path / "one.safetensors"
    save_file(lora(), tmp_path / "two.safetensors")
    with pytest.raises(UsageError, match=r"holds 2 \.safetensors files"):
        read_adapter(tmp_path)


def test_what_a_model_has_not_or_in_another_size(tmp_path: Path) -> None:
    transformer = tiny_transformer()

    def refusal(weights: dict[str, Tensor], **header: str) -> str:
        path = tmp_path / "other.safetensors"
        save_file(weights, path, {"diffusion4k": json.dumps(header)} if header else {})
        with pytest.raises(Diffusion4kError) as refused:
            check_adapter(read_adapter(path), family="sd3", model="tiny", transformer=transformer)
        return str(refused.value)

    a, b = pair(32, 32)
    layer = "lora_unet_input_blocks_1"
    odd = {f"{layer}.lora_down.weight": a, f"{layer}.lora_up.weight": b}
    assert "its input_blocks_1 has in_features 32, tiny has no such linear layer" in refusal(odd)
    flux = refusal(writers.kohya_flux().tensors)
    assert "this LoRA has layers of flux, such as double_blocks_" in flux
    layer = "transformer.transformer_blocks.0.attn.to_q"
    a, b = pair(32, 64)
    wide = {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}
    assert "has in_features 64, tiny has in_features 32" in refusal(wide)
    other = refusal(writers.diffusers_sd3().tensors, family="flux", base_model="BASE")
    assert "this LoRA was made for flux (BASE); tiny is sd3" in other


def test_dora_of_columns_cannot_be_divided(tmp_path: Path) -> None:
    case = writers.dora_of_kohya()
    case.tensors = {k: v for k, v in case.tensors.items() if "img_attn_qkv" in k}
    case.tensors["lora_unet_double_blocks_0_img_attn_qkv.dora_scale"] = torch.ones(1, W)
    adapter = read_adapter(case.write(tmp_path))
    names = [f"transformer_blocks.0.attn.to_{each}" for each in "qkv"]
    with pytest.raises(Diffusion4kError, match="double_blocks_0_img_attn_qkv: its DoRA scales col"):
        adapter.fitted(names)


def test_a_merged_kind_asks_for_weights_of_full_precision(tmp_path: Path) -> None:
    adapter = read_adapter(writers.lycoris_lokr().write(tmp_path))
    transformer = tiny_transformer()
    layer = transformer.get_submodule("transformer_blocks.0.attn.to_q")
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(Diffusion4kError, match=r"LoKr is merged.*merge-lora"):
        load_adapter(transformer, adapter)
