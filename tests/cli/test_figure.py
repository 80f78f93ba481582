"""`diffusion4k figure`: every kind from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from diffusion4k.cli.figure import register
from diffusion4k.errors import UsageError
from tests.imagesets.conftest import picture


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., object]:
    """Two folders `a` and `b` of three captioned images, and the command."""
    prompts = {"x": "a lake", "y": "a lake", "z": 'a sign "open"'}
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for number, file in enumerate(prompts):
            picture(200 + 40 * seed, 160, 10 * seed + number).save(tmp_path / name / f"{file}.png")
        rows = [
            {"file_name": f"{file}.png", "text": text, "seed": n}
            for n, (file, text) in enumerate(prompts.items())
        ]
        (tmp_path / name / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    app = Typer()
    register(app)
    app.callback()(lambda: None)

    def call(*words: object) -> object:
        return CliRunner().invoke(app, ["figure", *map(str, words)])

    return call


@pytest.mark.parametrize(
    "words",
    [
        ("side-by-side", "{a}", "ours={b}", "--patch", "20,20,40", "--image", "y"),
        ("ablation", "{a}", "{b}", "--most", 1),
        ("gallery", "{a}", "--columns", 2),
        ("variations", "{a}"),
        ("text", "{a}"),
        ("reconstructions", "{a}", "--vae", "pocket", "--size", 128, "--most", 1),
    ],
    ids=lambda words: words[0],
)
def test_every_kind(run: Callable, tmp_path: Path, words: tuple) -> None:
    out = tmp_path / "figure.png"
    filled = [str(w).format(a=tmp_path / "a", b=tmp_path / "b") for w in words]
    result = run(*filled, "--width", 800, "--out", out)
    assert result.exit_code == 0, result.output or result.exception
    assert abs(Image.open(out).width - 800) < 8
    assert str(out) in result.output


def test_what_is_refused(run: Callable, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    (tmp_path / "empty").mkdir()
    for words, message in (
        (("gallery", a, "--out", "x.tif"), "--out x.tif"),
        (("gallery", a, "--width", 10), "--width 10"),
        (("gallery", a, "--image", "q"), "--image q: no such image"),
        (("side-by-side", a, b, "--match", "size"), "--match size"),
        (("side-by-side", a, b, "--patch", "1"), "--patch 1"),
        (("side-by-side", a), "1 image folder given"),
        (("side-by-side", a, b, "--image", "q"), "--image q"),
        (
            ("reconstructions", a, "--size", 100),
            "--size 100: not a multiple of 32; the nearest: 96",
        ),
        (("gallery", tmp_path / "empty"), "empty: no images in it: give a folder of images"),
    ):
        result = run(*words)
        assert isinstance(result.exception, UsageError), words
        assert message in str(result.exception)
