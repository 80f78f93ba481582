"""The demo's settings: what may be asked for, and that they are the recipe's."""

from pathlib import Path

import pytest

from diffusion4k.demo.run import Demo, demo_recipe, run_demo
from diffusion4k.errors import UsageError
from diffusion4k.training.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "pocket-wlf.yaml"


def test_recipe_is_the_pocket_recipe() -> None:
    places = {"output", "cache", "crop"}
    ours = demo_recipe(Demo())
    theirs = load_recipe(RECIPE)
    assert ours.model_dump(exclude=places) == theirs.model_dump(exclude=places)
    assert ours.crop_size == theirs.crop_size


@pytest.mark.parametrize(
    ("side", "nearest"), [(4000, "3968 or 4096"), (100, "384 or 512"), (-128, "384 or 512")]
)
def test_side_must_fit(side: int, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"nearest: {nearest}"):
        Demo(side=side)


def test_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "photo.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and not of a demo"):
        run_demo(Demo(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.txt"]


def test_refuses_a_demo_with_other_settings(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"side": 512}')
    with pytest.raises(UsageError, match="other settings"):
        run_demo(Demo(tmp_path))
