"""What `lora inspect` says is what is in the file, without torch or diffusers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError
from diffusion4k.interchange.inspect import inspect
from diffusion4k.interchange.norm_figure import bar, write_norms
from diffusion4k.lora.layouts import layouts
from tests.lora import writers
from tests.lora.reference import Case, pair
from tests.lora.writers import CASES

DORA = ("dora_of_kohya", "dora_of_peft")


@pytest.mark.parametrize("written", CASES, ids=lambda case: case.__name__)
def test_the_norm_of_all_is_that_of_the_reference(
    tmp_path: Path, written: Callable[[], Case]
) -> None:
    torch.manual_seed(1)
    case = written()
    summary = inspect(case.write(tmp_path))
    assert case.family in summary.families
    assert not [key for key in summary.not_loaded if not key.startswith(("lora_te", "bundle"))]
    if written.__name__ not in DORA:  # theirs depends on the weights
        wanted = sum(delta.double().square().sum() for delta in case.deltas.values()) ** 0.5
        found = sum(norm**2 for norm in summary.norms.values()) ** 0.5
        assert found == pytest.approx(float(wanted), rel=1e-5)


def test_what_is_said_of_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = writers.onetrainer()
    a, b = pair(32, 32)
    case.tensors["lora_transformer_mid_block_1.lora_down.weight"] = a
    case.tensors["lora_transformer_mid_block_1.lora_up.weight"] = b
    case.metadata = {
        "modelspec.trigger_phrase": "ohwx style",
        "ss_tag_frequency": json.dumps({"10_x": {"lake": 3, "ohwx": 9}, "2_y": {"lake": 1}}),
        "ss_num_epochs": "12",
        "diffusion4k": json.dumps({"family": "flux", "base_model": "BASE"}),
    }
    summary = inspect(case.write(tmp_path))
    assert summary.layout == layouts()["onetrainer"]
    assert summary.families == ("flux",) and summary.width == 32 and summary.models == ()
    assert summary.triggers == ("ohwx style", "ohwx", "ohwx", "lake")
    assert summary.record == {"family": "flux", "base_model": "BASE", "ss_num_epochs": "12"}
    assert summary.ranks["LoRA, rank 3, alpha 0.5"] == 1
    assert summary.modules["attn.to_q"] == summary.modules["proj_mlp"] == 1
    reasons = set(summary.not_loaded.values())
    assert "no flux model has a layer mid_block_1" in reasons
    assert "it is of a text encoder, and text encoders are left as they are" in reasons
    assert summary.command.endswith("lora-diffusers.safetensors --layout diffusers")
    json.dumps(summary.as_json())


def test_the_published_models_of_a_width(tmp_path: Path) -> None:
    layer = "lora_unet_double_blocks_18_img_attn_qkv"
    pair = torch.ones(2, 3072), torch.ones(9216, 2)
    names = (f"{layer}.lora_{end}.weight" for end in ("down", "up"))
    save_file(dict(zip(names, pair, strict=True)), tmp_path / "a.safetensors")
    assert "black-forest-labs/FLUX.1-dev" in inspect(tmp_path / "a.safetensors").models


@pytest.mark.parametrize(
    ("tensors", "metadata", "reason"),
    [
        ({"lora_unet_a.lora_down.weight": torch.ones(2, 4)}, {}, "has lora_A, but no lora_B"),
        ({"lora_te_a.lora_down.weight": torch.ones(2, 4)}, {}, "nothing for a transformer"),
        (pair(2, 2), {"diffusion4k": "no JSON"}, "diffusion4k is not JSON"),
    ],
)
def test_what_is_no_lora(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], reason: str
) -> None:
    if isinstance(tensors, tuple):
        tensors = {
            f"transformer.x.y.lora_{s}.weight": t for s, t in zip("AB", tensors, strict=True)
        }
    save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(Diffusion4kError, match=reason):
        inspect(tmp_path / "a.safetensors")


def test_neither_torch_nor_diffusers_is_imported(tmp_path: Path) -> None:
    path = writers.kohya_flux().write(tmp_path)
    program = (
        "import sys; from diffusion4k.interchange.inspect import inspect; inspect(sys.argv[1]);"
        "print([name for name in ('torch', 'diffusers', 'peft') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_figure_and_bars(tmp_path: Path) -> None:
    assert bar(0.5, 4) == "██  " and bar(1.0, 4) == "████" and bar(0.0, 4) == "    "
    assert bar(0.28125, 4) == "█▏  "
    norms = {f"double_blocks.{n}": float(n) for n in range(19)} | {"img_in": 2.0}
    path = write_norms(norms, tmp_path / "norms.png", "lora.safetensors: change by block")
    with Image.open(path) as image:
        assert image.width > 500 and len(image.convert("L").getcolors(256)) > 20
