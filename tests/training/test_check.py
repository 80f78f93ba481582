"""What is refused before a run starts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.support.lock import locked
from diffusion4k.training.check import check_recipe, require_space
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe

Make = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"resolution": 4096, "crop": [4096, 2048]}, "crop: found 4096, allowed at most 2048"),
        ({"validation": {"prompts": ["a"], "width": 8192}}, "validation.width: found 8192"),
        ({"objective": {"wavelet": "nonsense"}}, "objective: .*nonsense"),
        ({"timesteps": {"distribution": "mode", "scale": 9}}, "timesteps: .*scale"),
    ],
)
def test_what_the_model_does_not_take(
    recipe: Make, tiny_model: Path, keys: dict[str, object], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        check_recipe(recipe(**keys), StableDiffusion3(), tiny_model)
    assert "\n" not in str(error.value)


def test_a_disk_that_is_too_small(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = tiny_transformer()
    weights = 4 * sum(p.numel() for p in transformer.parameters())
    wanted = recipe(steps=6, checkpoint={"every": 1, "keep": 2}, ema=0.9)
    wanted.output.mkdir()
    # Two checkpoints that stay and one that is being written, four times the weights each.
    needed = 3 * 4 * weights + weights
    for free in (needed, needed - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if free == needed:
            require_space(wanted, transformer)
            continue
        with pytest.raises(Diffusion4kError, match=r"GB are free: make room"):
            require_space(wanted, transformer)


def test_two_runs_in_one_output(recipe: Make) -> None:
    wanted = recipe()
    with locked(wanted.output), pytest.raises(Diffusion4kError, match="another run is using it"):
        train(wanted)
    with locked(wanted.output):
        pass


def test_an_output_that_is_a_file(recipe: Make) -> None:
    wanted = recipe()
    wanted.output.touch()
    with pytest.raises(Diffusion4kError, match="a file, not a folder"):
        train(wanted)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model": "no/such/model"}, "no such model"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
        ({"crop": 96, "resolution": 96, "data": "EMPTY"}, "no captions in it"),
    ],
)
def test_inputs_that_are_not_there(
    recipe: Make, tmp_path: Path, keys: dict[str, object], problem: str
) -> None:
    if keys.get("data") == "EMPTY":
        keys = keys | {"data": str(tmp_path)}
    with pytest.raises(Diffusion4kError, match=problem):
        train(recipe(**keys))


def test_broken_photographs_are_skipped_on_demand(
    recipe: Make, photographs: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    (data / "1.png").write_bytes((data / "1.png").read_bytes()[:200])
    wanted = recipe(data=str(data), cache=str(tmp_path / "cache"), steps=1)
    with pytest.raises(Diffusion4kError, match=r"1\.png.*--skip-bad"):
        train(wanted)
    assert train(wanted, skip_bad=True).is_dir()
