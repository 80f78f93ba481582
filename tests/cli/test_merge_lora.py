"""The verb `merge-lora`: a folder that says where it is, mistakes to one line."""

from pathlib import Path

import pytest
import typer
from diffusers import SD3Transformer2DModel
from typer.testing import CliRunner

from benchmarks.tiny import fill_zeros
from diffusion4k.cli import merge_lora
from diffusion4k.errors import UsageError
from diffusion4k.families import family_of
from diffusion4k.lora import add_adapter, write_adapter

app = typer.Typer()
app.callback()(lambda: None)
merge_lora.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["merge-lora", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


def test_the_result_is_a_model_of_the_family(tiny_model: Path, tmp_path: Path) -> None:
    transformer = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
    add_adapter(transformer, rank=1, alpha=1, targets=["to_q"], seed=0)
    fill_zeros(transformer)
    write_adapter(tmp_path, transformer, {"family": "sd3", "base_model": "tiny"})
    out = tmp_path / "merged"
    told = _run(tmp_path, "--model", tiny_model, "--out", out, "--scale", 0.5)
    assert told.split() == [str(out)]
    assert family_of(out).name == "sd3"
    with pytest.raises(UsageError, match="already exists"):
        _run(tmp_path, "--model", tiny_model, "--out", out)


def test_a_lora_that_is_not_there_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        _run(tmp_path / "absent", "--model", tiny_model, "--out", tmp_path / "merged")
