"""The cache that a run completes."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.data.cache import LatentCache, build_cache
from diffusion4k.data.folder import read_folder
from diffusion4k.data.loader import LatentBatches
from diffusion4k.data.pixels import to_tensor
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import family_of
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.pictures import complete_cache, training_batches
from diffusion4k.training.recipe.recipe import Recipe
from tests.families.test_flux import tiny_flux

Make = Callable[..., Recipe]


def test_a_cache_of_another_dtype_is_kept(
    recipe: Make, tiny_model: Path, photographs: Path, tmp_path: Path
) -> None:
    place, family = tmp_path / "own", family_of(tiny_model)
    build_cache(
        read_folder(photographs),
        model=tiny_model,
        family=family,
        cache=place,
        resolution=64,
        flip=recipe().flip,
        dtype="bfloat16",
    )
    before = {path.name: path.stat().st_mtime_ns for path in (place / "shards").iterdir()}
    wanted = recipe(cache=str(place))
    found = complete_cache(wanted, family, tiny_model, Engine(), skip_bad=False)
    assert isinstance(found, LatentCache) and found.dtype == "bfloat16"
    assert found.latents(0).dtype == torch.bfloat16
    assert before == {path.name: path.stat().st_mtime_ns for path in (place / "shards").iterdir()}
    other = recipe(cache=str(place), cache_dtype="float32")
    with pytest.raises(Diffusion4kError, match=r"found bfloat16, expected float32: .*cache_dtype"):
        complete_cache(other, family, tiny_model, Engine(), skip_bad=False)


def test_a_recipe_says_the_dtype_of_a_new_cache(
    recipe: Make, tiny_model: Path, tmp_path: Path
) -> None:
    wanted = recipe(cache=str(tmp_path / "own"), cache_dtype="bfloat16")
    found = complete_cache(wanted, family_of(tiny_model), tiny_model, Engine(), skip_bad=False)
    assert isinstance(found, LatentCache) and found.dtype == "bfloat16"


def test_latents_are_drawn_anew_each_time(
    recipe: Make, tiny_model: Path, photographs: Path, tmp_path: Path
) -> None:
    family, photos = family_of(tiny_model), read_folder(photographs)
    keys = {"posterior": "sample", "cache_dtype": "float32", "cache": str(tmp_path / "own")}
    drawn = []
    for uncached in (False, True):
        wanted = recipe(**keys, uncached=uncached)
        if uncached:
            wanted = wanted.model_copy(update={"cache": tmp_path / "captions"})
        cache = complete_cache(wanted, family, tiny_model, Engine(), skip_bad=False)
        assert cache.posterior
        batches = training_batches(wanted, cache)
        drawn.append([batches.batch(step) for step in range(len(photos))])
    for one, other in zip(*drawn, strict=True):
        # Without a cache latents are kept in half precision.
        torch.testing.assert_close(one["latents"], other["latents"], rtol=0, atol=0.01)
    # Stock diffusers' posterior of the same picture: mean and deviation of the draws.
    autoencoder = family.load_autoencoder(tiny_model, dtype=torch.float32)
    picture = to_tensor(Image.open(photos[0].path), (64, 64))
    with torch.no_grad():
        posterior = autoencoder.encode(picture).latent_dist
    config = autoencoder.config
    mean = (posterior.mean[0] - config.shift_factor) * config.scaling_factor
    deviation = posterior.std[0] * config.scaling_factor
    batches = LatentBatches(_One(mean, deviation), batch_size=64, crop=64, seed=1)
    found = batches.batch(0)["latents"]
    assert len({latents.sum().item() for latents in found}) == 64
    normal = (found - mean) / deviation
    assert abs(normal.mean()) < 0.1 and abs(normal.std() - 1) < 0.1


class _One:
    """A cache of one picture's posterior."""

    factor, longest, posterior, enlargement, flip, path = 16, None, True, None, False, "one"
    empty_conditioning: ClassVar[dict[str, torch.Tensor]] = {}

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        self._stored = torch.cat([mean, deviation])
        self.sizes = np.array([[4, 4]], np.int32)

    def __len__(self) -> int:
        return 1

    def latents_size(self, _: int) -> tuple[int, int]:
        return 4, 4

    def latents(self, _: int, *, flipped: bool) -> torch.Tensor:
        return self._stored

    def conditioning(self, _: int) -> dict[str, torch.Tensor]:
        return {}


def test_a_cache_of_means_is_none_to_draw_from(
    recipe: Make, tiny_model: Path, tmp_path: Path
) -> None:
    family, place = family_of(tiny_model), str(tmp_path / "own")
    complete_cache(recipe(cache=place), family, tiny_model, Engine(), skip_bad=False)
    with pytest.raises(
        Diffusion4kError, match=r"posterior of this cache: found mean, expected sample"
    ):
        complete_cache(
            recipe(cache=place, posterior="sample"), family, tiny_model, Engine(), skip_bad=False
        )


def test_the_length_of_texts_is_the_recipe_s(recipe: Make, tmp_path: Path) -> None:
    """T5 at 77 tokens, as the paper's scripts have it; a model so trained says so itself."""
    model = tiny_flux(tmp_path / "flux")
    wanted = recipe(model=str(model), max_sequence_length=77, steps=1, cache=str(tmp_path / "own"))
    family = family_of(model, **wanted.model_options)
    cache = complete_cache(wanted, family, model, Engine(), skip_bad=False)
    assert cache.conditioning(0)["prompt_embeds"].shape[0] == 77
    with pytest.raises(Diffusion4kError, match="text encoders of this cache"):
        cache.require(model=model, family=family_of(model), resolution=64)
    assert Blueprint(model, **wanted.model_options).family.text_tokens(model) == 77
    assert family.settings(model)["max_sequence_length"] == 77
