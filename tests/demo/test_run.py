"""The demo's settings and what it refuses to mix."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_sd3
from diffusion4k.demo.claim import claim
from diffusion4k.demo.run import run_demo
from diffusion4k.demo.settings import Demo, demo_recipe, metric_settings
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.training.recipe.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "pocket-wlf.yaml"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3(tmp_path_factory.mktemp("model") / "tiny")


def test_recipe_is_the_pocket_recipe() -> None:
    places = {"output", "cache", "crop", "precision"}
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


def test_photographs_give_as_many_patches_as_images() -> None:
    assert metric_settings(Demo(side=512)).patches_per_image == 4
    assert metric_settings(Demo()).patches_per_image == 64


def test_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "photo.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and not a demo"):
        run_demo(Demo(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.txt"]


def test_unknown_model_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match="no such model"):
        run_demo(Demo(tmp_path / "out", model="nonsense"))
    assert not (tmp_path / "out").exists()


def test_claim_is_for_one_demo(tiny: Path, tmp_path: Path) -> None:
    out, family = tmp_path / "out", family_of(tiny)
    claim(Demo(out, str(tiny), 512), tiny, family)
    claim(Demo(out, str(tiny), 512), tiny, family)
    with pytest.raises(
        UsageError, match=r"demo\.json: belongs to another demo: side was 512, is 384: choose"
    ):
        claim(Demo(out, str(tiny), 384), tiny, family)


def test_claim_is_for_one_model(tiny: Path, tmp_path: Path) -> None:
    """Images of new weights must not join those of old ones, though the name has not changed."""
    model = shutil.copytree(tiny, tmp_path / "model")
    demo, family = Demo(tmp_path / "out", str(model), 512), family_of(model)
    claim(demo, model, family)
    shutil.copytree(tiny_sd3(tmp_path / "other", seed=1), model, dirs_exist_ok=True)
    with pytest.raises(UsageError, match="model_fingerprint was"):
        claim(demo, model, family)


def test_claim_is_for_one_set_of_defaults(tiny: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    demo, family = Demo(tmp_path / "out", str(model), 512), family_of(model)
    claim(demo, model, family)
    (model / "diffusion4k.json").write_text(json.dumps({"steps": 3}))
    with pytest.raises(UsageError, match="model_defaults was"):
        claim(demo, model, family)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_damaged_note_is_refused(content: str, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(UsageError, match="another demo"):
        claim(Demo(tmp_path, str(tiny), 512), tiny, family_of(tiny))
