"""The verb `plan`: figures for recipes and images, mistakes in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from diffusion4k.cli import plan
from diffusion4k.errors import Diffusion4kError, UsageError

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "pocket-wlf.yaml"

app = typer.Typer()
app.callback()(lambda: None)
plan.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["plan", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


def test_a_recipe() -> None:
    told = _run(RECIPE, "batch_size=1", "crop=256")
    assert "training of all weights at 256x256, batch 1, 160 steps" in told
    assert "fits: needs" in told.splitlines()[-1]


def test_an_image_as_json(tiny_model: Path) -> None:
    # fmt: off
    told = _run(
        "--model", tiny_model, "--width", 96, "--height", 64, "--steps", 3, "--gpus", 2,
        "--gpu-memory", "24GB", "--ram", "64GiB", "--disk", "2TB", "--bandwidth", "10GB/s",
        "--teraflops", 100, "--utilisation", 0.5, "--json",
    )
    # fmt: on
    content = json.loads(told)
    assert content["machine"] == {
        "gpus": 2,
        "memory": 24 * 2**30,
        "ram": 64 * 2**30,
        "disk": 2 * 2**40,
        "bandwidth": 10 * 2**30,
        "flops": 1e14,
        "utilisation": 0.5,
        "device": "cuda",
    }
    assert content["steps"] == 3 and content["fits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", 0], "gpus 0: give 1 or more"),
        (["--gpu-memory", "much"], "gpu-memory 'much': give a size"),
        (["--gpu-memory", "0GiB"], "must be positive"),
        (["--utilisation", 1.5], "utilisation 1.5: allowed"),
        (["--teraflops", -1], "teraflops -1: allowed"),
        (["--width", 1000], "the nearest: 992 or 1024"),
        (["--direct", "--width", 8192], "the largest size is"),
        (["--model", "sd9"], "no such folder, and not a model whose sizes are known"),
        (["--model", "sd3-medium", "--factor", 12], "factor 12"),
        (["--dtype", "int4"], "dtype int4: allowed"),
        (["--memory", "tiny"], "memory tiny: allowed"),
        (["--weights", "int1"], "weights int1: allowed"),
        (["--max-memory", "1KiB"], "cannot hold one strip"),
        (["--images", 5], "--images belongs to a training run"),
        (["absent.yaml"], "cannot be read"),
        ([RECIPE, "--width", 64], "--width belongs to an image"),
        ([RECIPE, "--draft", 512], "--draft belongs to an image"),
        ([RECIPE, "--direct"], "--direct belongs to an image"),
        (["--stages", "512,x"], "stages 512,x: give longer sides in pixels"),
        (["--stages", "512", "--direct"], "--direct contradicts --stages"),
        (["--width", 512, "--height", 512, "--stages", "1024"], "larger than the image"),
        ([RECIPE, "--images", 0], "images 0: give 1 or more"),
        ([RECIPE, "crop=8192", "resolution=8192"], "crop: found 8192"),
        ([RECIPE, "batch=1"], "batch"),
    ],
)
def test_mistakes_are_refused(arguments: list[object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _run(*arguments)


def test_a_broken_model_folder(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "OtherPipeline"}')
    with pytest.raises(Diffusion4kError, match="OtherPipeline is not supported"):
        _run("--model", tmp_path)


def test_importing_the_verb_is_cheap() -> None:
    code = "import sys, diffusion4k.cli.plan; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
