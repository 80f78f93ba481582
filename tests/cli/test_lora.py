"""The group `lora`: what it prints, and mistakes to one line."""

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from diffusion4k.cli import lora
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.lora import writers
from tests.lora.reference import FLUX_THEIRS

app = typer.Typer()
lora.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["lora", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout + result.stderr


def test_inspect_says_what_there_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = writers.onetrainer().write(tmp_path)
    told = _run("inspect", path, "--figure", tmp_path / "norms.png")
    for line in (
        "layout: onetrainer (OneTrainer)",
        "family: flux",
        "trigger words: ohwx",
        "not loaded: 3 tensors, such as bundle_emb.ohwx.clip_l: it is of a text encoder",
        f"convert it: diffusion4k lora convert {path} ",
    ):
        assert f"  {line}" in told
    bars = [line for line in told.splitlines() if "█" in line]
    assert len(bars) == 5 and bars[0].split()[0] == "proj_out"
    assert (tmp_path / "norms.png").stat().st_size > 5000
    content = json.loads(_run("inspect", path, "--json"))
    assert content["layout"] == "onetrainer" and len(content["layers"]) == 6


def test_convert_prints_the_proof(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = writers.kohya_flux().write(tmp_path)
    out = tmp_path / "out.safetensors"
    told = _run("convert", path, out, "--layout", "diffusers")
    assert told.count("largest difference") == len(FLUX_THEIRS) + 1
    assert "double_blocks.1.img_attn.qkv.weight: largest difference " in told
    assert str(out) in told.splitlines() and out.exists()


def test_mistakes(tmp_path: Path) -> None:
    path = writers.diffusers_sd3().write(tmp_path)
    with pytest.raises(UsageError, match=r"norms\.pdf: give the figure a name that ends in \.png"):
        _run("inspect", path, "--figure", tmp_path / "norms.pdf")
    with pytest.raises(UsageError, match="no such file"):
        _run("convert", tmp_path / "absent.safetensors", tmp_path / "o.safetensors", "--layout",
             "kohya")  # fmt: skip
    torch.save({}, tmp_path / "lora.pt")
    with pytest.raises(UsageError, match="pickle"):
        _run("inspect", tmp_path / "lora.pt")
    case = writers.diffusers_sd3()
    case.tensors = {name: tensor * 0 for name, tensor in case.tensors.items()}
    assert "changes nothing" in _run("inspect", case.write(tmp_path / "zeros"))
    with pytest.raises(Diffusion4kError, match="changes no weight"):
        _run("convert", tmp_path / "zeros", tmp_path / "o.safetensors", "--layout", "kohya")
