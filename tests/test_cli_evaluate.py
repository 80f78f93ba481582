"""`diffusion4k evaluate` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from diffusion4k.cli.evaluate import register
from diffusion4k.errors import Diffusion4kError, UsageError


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for n in range(2):
        shades = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(shades).resize((256, 256)).save(tmp_path / f"[b]{n}.jpg", quality=95)
    return tmp_path


def test_table_and_results(folder: Path) -> None:
    out = folder / "results" / "results.json"
    done = run(folder, "--reference", folder, "--out", out, "--patches-per-image", "1")
    assert done.exit_code == 0, done.output
    # A file name is no markup.
    assert "[b]0.jpg" in done.stdout and "256x256" in done.stdout
    assert "FD-EffNet: 0.00 (2 samples against 2)" in done.stdout
    assert "measured 4/4" in done.stderr
    results = json.loads(out.read_text())
    assert results["distances"]["FD-EffNet-patch"]["samples"] == 2
    assert results["extractor"]["name"] == "EfficientNet-Lite0"


def test_bad_image_fails_but_keeps_the_rest(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    out = folder / "results.json"
    done = run(folder, "--out", out)
    assert isinstance(done.exception, Diffusion4kError)
    assert done.exception.exit_code == 1
    assert "1 of 3 images could not be measured" in str(done.exception)
    assert str(folder / "bad.jpg") in str(done.exception)
    assert json.loads(out.read_text())["evaluated"]["n_images"] == 2


def test_skip_bad_counts(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    done = run(folder, "--skip-bad")
    assert done.exit_code == 0
    assert "skipped 1 of 3 images" in done.stderr and "bad.jpg" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "does not exist"),
        (["."], "holds no images"),
        ([".", "--patch-size", "0"], "at least 1"),
        ([".", "--out", "."], "is a folder"),
    ],
)
def test_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
