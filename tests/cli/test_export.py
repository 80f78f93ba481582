"""The verb `export`: a transformer, an autoencoder and a LoRA, and mistakes to one line."""

from pathlib import Path

import pytest
import typer
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file
from typer.testing import CliRunner

from benchmarks.tiny import fill_zeros
from diffusion4k.cli import export
from diffusion4k.errors import UsageError
from diffusion4k.lora import add_adapter, write_adapter

app = typer.Typer()
app.callback()(lambda: None)
export.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["export", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


def test_one_file_and_shards(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    assert _run(tiny_model, file, "--dtype", "bf16").split() == [str(file)]
    assert "model.diffusion_model.pos_embed" in load_file(file)
    _run(file, tmp_path / "back", "--base", tiny_model, "--shard-size", "20KiB")
    assert len(list((tmp_path / "back" / "transformer").glob("*.safetensors"))) > 2
    vae = tmp_path / "vae.safetensors"
    _run(tiny_model, vae, "--part", "vae")
    assert "encoder.conv_in.weight" in load_file(vae)


def test_a_lora(tiny_model: Path, tmp_path: Path) -> None:
    transformer = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
    add_adapter(transformer, rank=1, alpha=1, targets=["to_q"], seed=0)
    fill_zeros(transformer)
    write_adapter(tmp_path, transformer, {"family": "sd3", "base_model": "tiny"})
    for layout, key in (
        (None, "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight"),
        ("kohya", "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight"),
        ("lycoris", "lycoris_transformer_blocks_0_attn_to_q.lora_down.weight"),
    ):
        out = tmp_path / f"{layout}.safetensors"
        _run(tmp_path, out, "--part", "lora", *(["--layout", layout] if layout else []))
        assert key in load_file(out)
    with pytest.raises(UsageError, match="--dtype: not of a LoRA"):
        _run(tmp_path, tmp_path / "x.safetensors", "--part", "lora", "--dtype", "bf16")
    with pytest.raises(UsageError, match="of a LoRA choose comfyui or kohya"):
        _run(tmp_path, tmp_path / "x.safetensors", "--part", "lora", "--layout", "original")
    with pytest.raises(UsageError, match="layout kohya: that of a LoRA"):
        _run(tiny_model, tmp_path / "x.safetensors", "--layout", "kohya")
    with pytest.raises(UsageError, match="shard-size 'x': give a size"):
        _run(tiny_model, tmp_path / "x", "--shard-size", "x")
