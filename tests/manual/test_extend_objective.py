"""`docs/extend-objective.md`: its class trains, and is what its docstring says."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from PIL import Image

import diffusion4k
from tests.manual.pages import modules, run_command, write_modules

PAGE = "extend-objective.md"


def test_the_page_s_class_is_an_objective(place: Path, tiny_model: Path) -> None:
    write_modules(PAGE, place)
    folder = place / "photographs"
    folder.mkdir()
    for number in range(2):
        Image.effect_noise((128, 96), 60).convert("RGB").save(folder / f"{number}.png")
    rows = [{"file_name": f"{n}.png", "text": f"noise {n}"} for n in range(2)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = {
        **{"model": tiny_model, "data": "photographs", "resolution": 64, "crop": 64},
        **{"steps": 2, "batch_size": 1, "schedule.warmup_steps": 0, "validation.every": "null"},
    }
    run_command(PAGE, *(f"{key}={value}" for key, value in small.items()))
    assert (place / "runs" / "spectral" / "model" / "model_index.json").is_file()
    card = (place / "runs" / "spectral" / "model" / "README.md").read_text()
    assert "my_objectives:SpectralL1" in card and "high: 2" in card


def test_the_page_s_loss_is_the_weighted_spectrum(place: Path, monkeypatch) -> None:
    write_modules(PAGE, place)
    monkeypatch.syspath_prepend(str(place))
    objective = importlib.import_module("my_objectives").SpectralL1(high=3)
    velocity, latents, noise = torch.randn(3, 2, 4, 8, 6)
    found = objective(velocity, latents=latents, noise=noise, sigma=torch.tensor([0.2, 0.9]))
    error = (velocity - noise + latents).numpy().astype(np.float64)
    spectrum = np.abs(scipy.fft.rfft2(error, norm="ortho"))
    for row in range(8):
        for column in range(4):
            frequency = max(min(row, 8 - row) / 8, column / 6)
            spectrum[..., row, column] *= 3 if frequency > 0.25 else 1
    np.testing.assert_allclose(found, spectrum.mean(axis=(1, 2, 3)), rtol=1e-5)


IN_THE_PACKAGE = """
import yaml
from diffusion4k.config.part import known_parts
from diffusion4k.config.problems import describe_problems
from diffusion4k.objectives import Objective
from diffusion4k.training.recipe.build import build_objective
from diffusion4k.training.recipe.recipe import Recipe

def recipe(**objective):
    least = {"model": "pocket", "data": "pocket", "output": "out", "resolution": 64, "steps": 2}
    return Recipe.model_validate(least | {"objective": objective})

assert "spectral-l1" in [part.name for part in known_parts(Objective)]
found = recipe(name="spectral-l1", high=2)
print(build_objective(found))
assert Recipe.model_validate(yaml.safe_load(found.as_yaml())) == found
try:
    recipe(name="spectral-l1", high=0)
except ValueError as error:
    print(describe_problems(error, Recipe, {"objective": {"name": "spectral-l1", "high": 0}}))
"""


def test_in_the_package_the_file_is_all(place: Path) -> None:
    """A package with this file more, and not a letter of another changed, has the objective."""
    ours = Path(diffusion4k.__file__).parent
    package = place / "package" / "diffusion4k"
    (package / "objectives").mkdir(parents=True)
    for folder in (ours, ours / "objectives"):
        for each in folder.iterdir():
            if each.name not in ("objectives", "__pycache__"):
                (package / each.relative_to(ours)).symlink_to(each)
    (package / "objectives" / "spectral.py").write_text(modules(PAGE)["my_objectives"])
    told = subprocess.run(
        [sys.executable, "-c", IN_THE_PACKAGE],
        env=os.environ | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [
        "SpectralL1(high=2.0)",
        "objective.high: found 0, allowed a number above 0",
    ]
