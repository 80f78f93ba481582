"""Training in aspect buckets: every picture in its own shape, the same run at any process count."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion4k.data.cache import LatentCache
from diffusion4k.data.loader import LatentBatches
from diffusion4k.errors import UsageError
from diffusion4k.families import family_of
from diffusion4k.planning.preflight import look_over
from diffusion4k.training.loop import train
from diffusion4k.training.method import build_method
from diffusion4k.training.pictures import validation_batches
from diffusion4k.training.recipe.recipe import Recipe, ValidationRecipe
from diffusion4k.training.validation import build_validation
from diffusion4k.training.watch.curve import Curve
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
    keys = keys | {"resolution": 1504}
    refused = (
        r"buckets.longest: found 2.4, .* up to 2304 .* allowed at most 2048.* lower it to 1.85"
    )
    with pytest.raises(UsageError, match=refused):
        train(recipe(**keys))
    fitting = recipe(**keys | {"buckets": {"longest": 1.85}})
    assert not [text for text in look_over(fitting).problems if "longest" in text]


def test_validation_sees_all_shapes(
    recipe: Make, keys: dict[str, object], tiny_model: Path
) -> None:
    """Its loss is the mean over pictures of several sizes, each of them once."""
    wanted = recipe(**keys, batch_size=2).model_copy(
        update={"validation": ValidationRecipe(every=1, samples=len(SHAPES))}
    )
    train(wanted.model_copy(update={"steps": 1}))
    cache = LatentCache(wanted.cache_folder)
    batches = validation_batches(wanted, cache)
    assert len({batch["latents"].shape[2:] for batch in batches}) == len(batches) > 2
    seen = torch.cat([batch["indices"] for batch in batches])
    assert sorted(seen.tolist()) == list(range(len(SHAPES)))
    family = family_of(tiny_model)
    network = family.load_transformer(tiny_model, dtype=torch.float32)
    method = build_method(wanted, family, tiny_model, torch.device("cpu"))
    validation = build_validation(wanted, method, tiny_model, cache)
    alone = []
    for batch in batches:
        for row in range(len(batch["places"])):
            latents = batch["latents"][row : row + 1]
            alone.append((batch["indices"][row].item(), latents))
    shown: list[torch.Tensor] = []
    with (
        torch.no_grad(),
        mock.patch(
            "diffusion4k.training.method.denoising_loss",
            side_effect=lambda *_, latents, **__: shown.append(latents) or torch.ones(len(latents)),
        ),
    ):
        assert validation.loss(network) == 1.0
    assert sum(map(len, shown)) == len(alone)
    for one, (_, other) in zip(torch.cat([t.flatten(1).sum(1) for t in shown]), alone, strict=True):
        torch.testing.assert_close(one, other.sum())


def test_pictures_reach_the_cache_in_their_shape(recipe: Make, keys: dict[str, object]) -> None:
    wanted = recipe(**keys, batch_size=1)
    train(wanted)
    cache = LatentCache(wanted.cache_folder)
    for name, (width, height) in zip(cache.file_names, cache.sizes.tolist(), strict=True):
        with Image.open(Path(str(wanted.data)) / name) as image:
            # To a patch of 32 pixels: two latents.
            assert np.isclose(width / height, image.width / image.height, rtol=0.4)
            assert (width > height) == (image.width > image.height) or width == height


def test_pictures_that_cover_no_bucket_are_refused(
    recipe: Make, keys: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(**keys, batch_size=1)
    train(wanted.model_copy(update={"steps": 1}))
    cache = LatentCache(wanted.cache_folder)
    # As of a cache by other rules.
    monkeypatch.setattr(LatentCache, "sizes", cache.sizes // 2)
    with pytest.raises(UsageError, match=r"covers none of the aspect buckets up to 2.4:1"):
        LatentBatches(cache, batch_size=1, crop=96, seed=0)
