"""Conversions: every layout to every other, exact where nothing has to be rounded, proven each."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.interchange import convert as module
from diffusion4k.interchange.convert import convert
from diffusion4k.lora import add_adapter, load_adapter, merge_adapter, read_adapter, write_adapter
from diffusion4k.lora.changes import LowRank
from tests.disk import largest_file
from tests.lora import writers
from tests.lora.reference import Case, pair
from tests.lora.test_layouts import assert_same, expected, small
from tests.lora.writers import CASES

LOW_RANK = [
    case
    for case in CASES
    if not case.__name__.startswith(("lycoris", "full_difference", "black_forest", "dora_of_kohya"))
]


def applied(family: str, path: Path) -> dict[str, Tensor]:
    transformer = small(family)
    load_adapter(transformer, read_adapter(path))
    merge_adapter(transformer)
    return transformer.state_dict()


def target(folder: Path, layout: str) -> Path:
    return folder / ("peft-lora" if layout == "peft" else f"{layout}.safetensors")


@pytest.mark.parametrize("written", LOW_RANK, ids=lambda case: case.__name__)
def test_each_changes_the_same_weights_in_each_layout(
    tmp_path: Path, written: Callable[[], Case]
) -> None:
    torch.manual_seed(1)
    case = written()
    source = case.write(tmp_path)
    before = small(case.family).state_dict()
    for layout in ("comfyui", "kohya", "diffusers", "peft"):
        if layout in ("comfyui", "kohya") and case.family == "sd3" and "dora" in written.__name__:
            continue  # DoRA of to_k alone: see below
        conversion = convert(source, target(tmp_path, layout), layout, family=case.family)
        assert conversion.worst.relative <= 1e-6
        assert_same(applied(case.family, conversion.path), expected(case, before))


@pytest.mark.parametrize(
    "written",
    [writers.lycoris_lokr_of_a_fused_layer, writers.lycoris_loha, writers.full_difference,
     writers.black_forest_labs, writers.dora_of_kohya],
    ids=lambda case: case.__name__,
)  # fmt: skip
def test_other_kinds_keep_the_names_of_the_authors(
    tmp_path: Path, written: Callable[[], Case]
) -> None:
    torch.manual_seed(1)
    case = written()
    source = case.write(tmp_path)
    before = small(case.family).state_dict()
    for layout in ("comfyui", "kohya"):
        conversion = convert(source, target(tmp_path, layout), layout)
        assert_same(applied(case.family, conversion.path), expected(case, before))
    with pytest.raises(Diffusion4kError, match=r"choose comfyui or kohya, or merge it|columns"):
        convert(source, tmp_path / "d.safetensors", "diffusers")
    assert not (tmp_path / "d.safetensors").exists()


@pytest.mark.parametrize("family", ["flux", "sd3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("through", ["comfyui", "kohya", "peft"])
def test_there_and_back_is_bit_identical(
    tmp_path: Path, family: str, dtype: torch.dtype, through: str
) -> None:
    """Of what is trained here, all layers, also those whose B is still zero."""
    transformer = small(family)
    targets = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "add_q_proj"]
    targets += ["add_v_proj", "proj_mlp", "proj_out", "norm_out.linear", "norm1_context.linear"]
    add_adapter(transformer, rank=4, alpha=8, targets=targets, seed=0)
    for name, parameter in transformer.named_parameters():
        if "lora_B" in name and "to_k" not in name:
            torch.nn.init.normal_(parameter)
    write_adapter(tmp_path / "trained", transformer, {"family": family, "base_model": "BASE"})
    source = tmp_path / "source.safetensors"
    tensors = load_file(tmp_path / "trained" / "pytorch_lora_weights.safetensors")
    with safe_open(tmp_path / "trained" / "pytorch_lora_weights.safetensors", "pt") as file:
        metadata = file.metadata()
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, source, metadata)
    there = convert(source, target(tmp_path, through), through)
    back = convert(there.path, tmp_path / "back.safetensors", "diffusers")
    assert there.worst.relative == back.worst.relative == 0.0
    again = load_file(back.path)
    assert again.keys() == tensors.keys()
    for name, tensor in load_file(source).items():
        assert tensor.dtype == again[name].dtype and torch.equal(tensor, again[name]), name
    assert read_adapter(back.path).made_for == {"family": family, "base_model": "BASE"}


def test_peft_loads_what_is_written_for_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = writers.kohya_sd3()
    convert(case.write(tmp_path), tmp_path / "for-peft", "peft")
    transformer = small("sd3")
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    merged = PeftModel.from_pretrained(transformer, tmp_path / "for-peft").merge_and_unload()
    assert_same(merged.state_dict(), expected(case, before))


def test_a_factor_that_half_precision_would_round_makes_float32(tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = writers.kohya_flux()
    case.tensors = {k: v if k.endswith("alpha") else v.bfloat16() for k, v in case.tensors.items()}
    conversion = convert(case.write(tmp_path), tmp_path / "d.safetensors", "diffusers")
    assert conversion.worst.relative <= 1e-6
    dtypes = {name[-8]: tensor.dtype for name, tensor in load_file(conversion.path).items()}
    assert dtypes == {"A": torch.bfloat16, "B": torch.float32}


def test_a_conversion_that_changes_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    source = writers.diffusers_sd3().write(tmp_path)
    honest = module.write_layout

    def slightly_wrong(changes, *arguments):
        name, change = next(iter(changes.items()))
        assert isinstance(change, LowRank)
        tensors = dict(change.tensors)
        tensors["lora_B.weight"] = tensors["lora_B.weight"] * (1 + 3e-5)
        return honest({**changes, name: LowRank(tensors, change.alpha)}, *arguments)

    monkeypatch.setattr(module, "write_layout", slightly_wrong)
    with pytest.raises(
        Diffusion4kError, match=r"joint_blocks.* would change otherwise than .* by 3\.\de-05"
    ):
        convert(source, tmp_path / "out.safetensors", "comfyui", family="sd3")
    monkeypatch.setattr(
        module, "write_layout", lambda changes, *rest: honest(dict([*changes.items()][1:]), *rest)
    )
    with pytest.raises(Diffusion4kError, match="only this file changes"):
        convert(source, tmp_path / "out.safetensors", "comfyui", family="sd3")
    assert sorted(each.name for each in tmp_path.iterdir()) == [source.name]


def test_what_leads_nowhere_or_is_open_is_said(tmp_path: Path) -> None:
    torch.manual_seed(1)
    a, b = pair(32, 32)
    nowhere = {f"lora_unet_{end}": t for end, t in zip(
        ("input_blocks_1.lora_down.weight", "input_blocks_1.lora_up.weight"), (a, b), strict=True
    )}  # fmt: skip
    save_file(nowhere, tmp_path / "nowhere.safetensors")
    with pytest.raises(Diffusion4kError, match="input_blocks_1 loads nowhere"):
        convert(tmp_path / "nowhere.safetensors", tmp_path / "out.safetensors", "diffusers")
    shared = {f"transformer.transformer_blocks.0.attn.to_q.lora_{s}.weight": t
              for s, t in zip("AB", (a, b), strict=True)}  # fmt: skip
    save_file(shared, tmp_path / "shared.safetensors")
    with pytest.raises(UsageError, match=r"those of flux and of sd3: say which with --family"):
        convert(tmp_path / "shared.safetensors", tmp_path / "out.safetensors", "comfyui")
    header = {"modelspec.architecture": "stable-diffusion-3-medium/lora"}
    save_file(shared, tmp_path / "said.safetensors", header)
    convert(tmp_path / "said.safetensors", tmp_path / "out.safetensors", "comfyui")
    assert "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight" in load_file(
        tmp_path / "out.safetensors"
    )
    with pytest.raises(Diffusion4kError, match=r"DoRA would have to cover all parts of joint"):
        convert(writers.dora_of_peft().write(tmp_path / "dora"), tmp_path / "o.safetensors",
                "comfyui", family="sd3")  # fmt: skip
    with pytest.raises(Diffusion4kError, match=r"its LoKr is of layers that are one there"):
        convert(writers.lycoris_lokr().write(tmp_path / "lokr"), tmp_path / "o.safetensors",
                "kohya", family="sd3")  # fmt: skip


@pytest.mark.parametrize(
    ("out", "layout", "family", "reason"),
    [
        ("there.safetensors", "kohya", None, "already exists"),
        ("new.pt", "kohya", None, r"ends in \.safetensors"),
        ("new.safetensors", "peft", None, "PEFT's layout is a folder"),
        ("new.safetensors", "xlabs", None, "allowed are comfyui, diffusers, kohya, lycoris, peft"),
        ("new.safetensors", "kohya", "sdxl", "family sdxl: allowed are flux"),
    ],
)
def test_wrong_requests(
    tmp_path: Path, out: str, layout: str, family: str | None, reason: str
) -> None:
    source = writers.diffusers_sd3().write(tmp_path)
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(UsageError, match=reason):
        convert(source, tmp_path / out, layout, family=family)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_without_room_leaves_nothing(tmp_path: Path) -> None:
    source = writers.diffusers_sd3().write(tmp_path)
    for layout in ("kohya", "peft"):
        out = target(tmp_path / "full", layout)
        with largest_file(2000), pytest.raises(OSError) as refused:
            convert(source, out, layout, family="sd3")
        assert refused.value.filename == str(out)
        assert not list((tmp_path / "full").iterdir())
