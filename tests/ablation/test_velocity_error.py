"""The velocity's error against a computation of its own, without wavelets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion4k.ablation.arms import runs_of
from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.ablation.setup import prepare
from diffusion4k.ablation.velocity_error import levels_of, network_of, velocity_errors
from diffusion4k.data.loader import LatentBatches
from diffusion4k.families import family_of, resolve

CPU = torch.device("cpu")


def test_the_mean_of_the_sub_bands_is_the_squared_error(
    study: Callable[..., AblationRecipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = study(velocity={"pictures": 3, "levels": 4})
    setup, [run, *_] = prepare(wanted), runs_of(wanted)
    network = network_of(run.recipe, CPU, trained=False)
    family = family_of(resolve(run.recipe.model))
    seen: list[tuple[float, float]] = []
    velocity = type(family).velocity

    def watched(
        self: object, network: object, noisy: torch.Tensor, sigma: torch.Tensor, text: object
    ) -> torch.Tensor:
        found: torch.Tensor = velocity(self, network, noisy, sigma, text)  # type: ignore[arg-type]
        x = pictures[len(seen) // 4 % 3]
        noise = (noisy - (1 - sigma) * x) / sigma
        seen.append((float(sigma), float((found - (noise - x)).square().mean())))
        return found

    batches = LatentBatches(setup.cache, batch_size=1, crop=(64, 64), seed=0)
    pictures = batches.first(3)[0]["latents"][:, None]
    monkeypatch.setattr(type(family), "velocity", watched)
    errors = velocity_errors(wanted, run.recipe, setup.velocity_cache, network, CPU)
    assert errors.shape == (3, 4, 4)
    sigmas, plain = (np.array(each).reshape(3, 4) for each in zip(*seen, strict=True))
    assert np.allclose(sigmas, levels_of(wanted)) and np.allclose(levels_of(wanted)[0], 0.125)
    assert np.allclose(errors.mean(-1), plain, rtol=1e-4)
    again = velocity_errors(wanted, run.recipe, setup.velocity_cache, network, CPU)
    assert np.array_equal(errors, again)


def test_pictures_that_are_not_trained_on_have_a_cache_of_their_own(
    study: Callable[..., AblationRecipe], pictures: Path
) -> None:
    setup = prepare(study(velocity={"data": str(pictures), "pictures": 2, "levels": 2}))
    assert setup.velocity_cache.path != setup.cache.path
    assert setup.velocity_cache.checksum() == setup.cache.checksum()
