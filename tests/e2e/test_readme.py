"""README from top to bottom, in a fresh folder with a clone's recipes and no picture of one's own.

Commands run in their order, each upon what those before it have left, and word for word but for
sizes, steps, and full-size models, whose place a tiny pipeline of the same classes takes.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import diffusion4k.models.folder as model_folders
from diffusion4k.cli.main import main
from tests.e2e.test_docs import OVERRIDES, ROOT, blocks, models, small_autoencoder

__all__ = ["models"]

pytestmark = pytest.mark.e2e

SIZES = {"--width": "256", "--height": "256", "--resolution": "256", "--size": "128"}


def commands() -> list[list[str]]:
    lines = "\n".join(blocks(ROOT / "README.md", "bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def reduced(words: list[str], full_size: Path) -> list[str]:
    """What follows `diffusion4k`, at small sizes."""
    if words[0] == "plan":
        return words
    words = [SIZES.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if "--model" in words and words[0] == "generate":
        place = words.index("--model") + 1
        words[place] = str(full_size)
        words += ["--width", "64", "--height", "64", "--steps", "1"]
    if words[0] == "train":
        words += [f"{key}={value}" for key, value in OVERRIDES.items()]
        if not yaml.safe_load(Path(words[1]).read_text())["model"].startswith("pocket"):
            words.append(f"model={full_size}")
    if words[:2] == ["vae", "train"]:
        of_a_folder = small_autoencoder(Path(words[2]), full_size)
        words += [each for each in of_a_folder if not each.startswith("data=")]
    if words[0] == "benchmark":
        words += ["limit=1", "width=256", "height=256", "resamples=50", "distance_groups=0"]
    if words[0] == "evaluate":
        words += ["--patches-per-image", "2"]
    return words


def test_every_command_in_order(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_folders, "POCKET_FOLDER", models[0])
    shutil.copytree(ROOT / "recipes", "recipes")
    for words in commands():
        if words[0] == "make":
            made = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True)
            assert made.returncode == 0, made.stderr
            continue
        assert words[0] == "diffusion4k"
        monkeypatch.setattr(sys, "argv", ["diffusion4k", *reduced(words[1:], models[1])])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code in (0, None), (words, capsys.readouterr().err)
    assert len(list(Path("images").glob("*.png"))) == len(list(Path("images-lora").glob("*.png")))
    for path in ("dandelion.png", "runs/mine/report.html", "comparison/index.html", "links.csv"):
        assert Path(path).is_file()


def test_python(tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models[1].with_name("flux"), "flux")
    names: dict[str, Any] = {}
    for body in blocks(ROOT / "README.md", "python"):
        exec(compile(body, "README.md", "exec"), names)
    pipeline = names["pipeline"]
    assert "decode" in vars(pipeline.vae)
    images = pipeline("a harbour", width=64, height=64, num_inference_steps=1).images
    assert images[0].size == (64, 64)
