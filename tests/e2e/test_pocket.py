"""`make pocket` from top to bottom: its commands as they stand in the Makefile, in their order.

What Debian's packages hold is replaced by the bundled photographs, and steps and counts are the
smallest that run; sizes and networks are those of the real run, which takes hours.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "src/diffusion4k/pocket"
COMMAND = [sys.executable, "-c", "from diffusion4k.cli.main import main; main()"]
SIDE = 1536  # the largest shorter side that the scripts ask for

# What is added to each command, to make it small.
SMALL = {
    "dataset.py": "",
    "train_text_encoders.py": "--steps 2",
    "train_autoencoder.py": "--linear-steps 2 --steps 2",
    "tiles.py": "--count 4",
    "vae train": "steps=2 batch_size=1 schedule.warmup_steps=0 adversarial.start=1 "
    "checkpoint.every=1 validation.every=1 validation.samples=1",
    "train_transformer.py": "--steps 2",
    "export.py": "",
    "train": "steps=2 batch_size=1 schedule.warmup_steps=0 checkpoint.every=1 validation.every=1 "
    "validation.samples=1",
}


def commands() -> list[tuple[str, list[str]]]:
    """The name and the words of every command of the target, made small."""
    listed = ["make", "--dry-run", "--always-make", "--old-file=setup", "pocket"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for line in done.stdout.splitlines():
        program, *words = shlex.split(line)
        assert program in (".venv/bin/python", ".venv/bin/diffusion4k"), line
        if program.endswith("python"):
            name, start = Path(words[0]).name, [sys.executable]
        else:
            name, start = " ".join(words[: 1 + (words[0] == "vae")]), COMMAND
        found.append((name, [*start, *words, *SMALL[name].split()]))
    return found


def run(words: list[str], place: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(place / "src")}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def unpacked(place: Path) -> None:
    """The wallpaper packages as `dataset.py` unpacks them, of the bundled photographs."""
    photographs = []
    for path in sorted((BUNDLED / "photographs").glob("*.jpg")):
        with Image.open(path) as image:
            scale = SIDE / min(image.size)
            image = image.resize((round(scale * image.width), round(scale * image.height)))
            image.save(place / path.name, quality=90)
        photographs.append(place / path.name)
    captions = (place / "recipes/pocket/captions.jsonl").read_text().splitlines()
    for number, row in enumerate(map(json.loads, captions)):
        path = place / "runs/pocket/packages" / row["package"] / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(photographs[number % len(photographs)])


def shapes(folder: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of all tensors of a model folder, by file."""
    return {
        str(path.relative_to(folder)): {k: tuple(v.shape) for k, v in load_file(path).items()}
        for path in sorted(folder.rglob("*.safetensors"))
    }


def test_make_pocket(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copytree(ROOT / "src", tmp_path / "src")
    unpacked(tmp_path)
    import time
    for name, words in commands():
        t = time.time()
        out = run(words, tmp_path)
        print(name, round(time.time() - t, 1), "s\n", out[-1500:], flush=True)
