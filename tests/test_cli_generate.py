"""The verb `generate`: options to images, mistakes to one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from diffusion4k.cli import generate
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.sampling import read_metadata

app = typer.Typer()
app.callback()(lambda: None)
generate.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["generate", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


def test_options_reach_the_image(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    # fmt: off
    told = _run(
        "a cat", "--model", tiny_model, "--width", 96, "--height", 64, "--steps", 2,
        "--guidance", 3, "--seed", 9, "--negative-prompt", "blur", "--out", path,
    )
    # fmt: on
    assert told.split() == [str(path)]
    assert Image.open(path).size == (96, 64)
    expected = {"prompt": "a cat", "negative_prompt": "blur", "seed": 9, "steps": 2, "guidance": 3}
    assert expected.items() <= read_metadata(path).items()


def test_prompts_times_seeds_as_jpeg(tiny_model: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\na dog\n")
    # fmt: off
    told = _run(
        "--prompts", prompts, "--model", tiny_model, "--width", 64, "--height", 64, "--steps", 1,
        "--seed", 0, "--seed", 1, "--format", "jpeg", "--out", tmp_path / "images",
    )
    # fmt: on
    paths = [Path(line) for line in told.splitlines()]
    assert len(paths) == 4 and all(path.suffix == ".jpg" for path in paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one prompt"),
        (["a cat", "--prompts", "p.txt"], "give one prompt"),
        ([""], "the prompt is empty"),
        (["a cat", "--width", "1000"], "the nearest: 992 or 1024"),
        (["a cat", "--width", "4096"], "the largest size is 2048x2048"),
    ],
)
def test_mistakes_are_refused(
    tiny_model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _run("--model", tiny_model, "--height", 64, "--out", tmp_path / "out", *arguments)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match="no such model"):
        _run("a cat", "--model", tmp_path / "absent")


def test_importing_the_verb_is_cheap() -> None:
    code = "import sys, diffusion4k.cli.generate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
