"""Training in aspect buckets: every picture in its own shape, the same run at any process count."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion4k.errors import UsageError
from diffusion4k.training.log import Curve
from diffusion4k.training.loop import train
from diffusion4k.training.recipe import Recipe
from tests.data.fake import make_folder
from tests.training.process import join, said, start_many

Make = Callable[..., Recipe]
SHAPES = [
    (200, 128),
    (96, 96),
    (100, 220),
    (150, 130),
    (300, 128),
    (131, 149),
    (128, 192),
    (99, 98),
]


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, object]:
    return {
        "data": str(make_folder(tmp_path / "photographs", SHAPES)),
        "cache": str(tmp_path / "cache"),
        "buckets": True,
        "crop": None,
        "resolution": 96,
        "steps": 5,
        "optimizer": {"learning_rate": 1e-4},
        "validation": {"every": 5, "samples": 3},
    }


def test_the_same_run_in_one_process_and_two(
    recipe: Make, tmp_path: Path, keys: dict[str, object]
) -> None:
    losses = []
    for processes in (1, 2):
        output = str(tmp_path / f"run{processes}")
        wanted = recipe(**keys, batch_size=2 // processes, output=output)
        assert not any(join(start_many(wanted, processes))), said(wanted)
        assert "photographs (" in said(wanted) and "cropped" in said(wanted)
        rows = Curve.read(wanted.output / "loss.csv")
        losses.append(torch.tensor([float(row["loss"]) for row in rows]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    assert len(set(losses[0].tolist())) == 5


def test_a_step_larger_than_the_dataset_is_refused(
    recipe: Make, keys: dict[str, object], tmp_path: Path
) -> None:
    for changes in (keys, {}):
        with pytest.raises(UsageError, match="photographs, fewer than the 40 of a step"):
            train(recipe(**changes, batch_size=10, gradient_accumulation=4))
    assert not list((tmp_path / "run").glob("*.csv"))


def test_buckets_and_a_crop_are_two_ways(recipe: Make) -> None:
    with pytest.raises(ValueError, match="leave out"):
        recipe(buckets=True)


def test_the_widest_bucket_must_fit_the_model(recipe: Make, keys: dict[str, object]) -> None:
    # The tiny model's table of positions ends at 64 patches of 32 pixels.
    with pytest.raises(UsageError, match=r"buckets: found .*allowed at most 2048"):
        train(recipe(**(keys | {"resolution": 1504})))


def test_pictures_reach_the_cache_in_their_shape(recipe: Make, keys: dict[str, object]) -> None:
    from diffusion4k.data.cache import LatentCache

    wanted = recipe(**keys, batch_size=1)
    train(wanted)
    cache = LatentCache(wanted.cache_folder)
    for name, (width, height) in zip(cache.file_names, cache.sizes.tolist(), strict=True):
        with Image.open(Path(str(wanted.data)) / name) as image:
            # To a patch of 32 pixels: two latents.
            assert np.isclose(width / height, image.width / image.height, rtol=0.4)
            assert (width > height) == (image.width > image.height) or width == height
