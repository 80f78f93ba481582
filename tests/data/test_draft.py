"""Enlarged drafts: what a stage of sampling would start from, stored beside the photographs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.tiny import tiny_sd3
from diffusion4k.data.cache import CacheReport, LatentCache
from diffusion4k.data.draft import enlarged_draft, with_draft
from diffusion4k.data.loader import LatentBatches
from diffusion4k.data.plan import CacheSettings
from diffusion4k.data.sizes import kept_size
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.sampling.image_to_image import enlarge
from tests.data.fake import Family


@pytest.mark.parametrize(
    ("photograph", "resolution", "size"),
    [
        ((3000, 2056), 4096, (2976, 2048)),
        ((2056, 3000), 4096, (2048, 2976)),
        ((6000, 5000), 4096, (4896, 4096)),
        ((4096, 4096), 4096, (4096, 4096)),
    ],
)
def test_a_small_photograph_keeps_its_size(
    photograph: tuple[int, int], resolution: int, size: tuple[int, int]
) -> None:
    assert kept_size(*photograph, resolution) == size


def test_a_draft_is_what_two_stages_make_of_a_picture(tmp_path: Path) -> None:
    """Decoded as `generate` decodes a stage, enlarged as it enlarges it."""
    family = family_of(tiny_sd3(tmp_path / "model"))
    autoencoder = family.load_autoencoder(tmp_path / "model", dtype=torch.float32)
    image = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        found = enlarged_draft(family, autoencoder, image, 2)
        pair = with_draft(family, autoencoder, image, 2)
        own = family.encode_images(autoencoder, image)
        of_draft = family.encode_images(autoencoder, found)
        pixels = ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        small = torch.from_numpy(enlarge(pixels, 96, 64)).permute(2, 0, 1)[None] / 127.5 - 1
        latents = family.encode_images(autoencoder, small)
        strips = torch.cat(list(family.decode_strips(autoencoder, latents)), dim=2)
    picture = ((strips[0] / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    expected = torch.from_numpy(enlarge(picture, 192, 128)).permute(2, 0, 1)[None] / 127.5 - 1
    # A pixel at the border of two values may be rounded to either.
    assert (found - expected).abs().max() <= 2 / 127.5 + 1e-6
    assert (found != expected).float().mean() < 0.01
    assert torch.equal(pair, torch.cat([own, of_draft], dim=1))


def test_pairs_are_cached_cut_and_mirrored_together(
    build: Callable[..., CacheReport], tmp_path: Path
) -> None:
    """The fake autoencoder's latents are means of 16 pixels, and its decoder's picture is flat."""
    build(enlargement=2)
    cache = LatentCache(tmp_path / "cache")
    assert cache.enlargement == 2
    stored = {
        (index, flipped): cache.latents(index, flipped=flipped).float()
        for index in range(len(cache))
        for flipped in (False, True)
    }
    batches = LatentBatches(cache, batch_size=4, crop=32, seed=1, flip=True)
    for step in range(4):
        batch = batches.batch(step)
        assert batch["drafts"] is not None
        assert batch["drafts"].shape == batch["latents"].shape
        for index, latents, draft in zip(
            batch["indices"].tolist(), batch["latents"], batch["drafts"], strict=True
        ):
            pair = torch.cat([latents, draft])
            places = (
                whole[:, y : y + 2, x : x + 2]
                for flipped in (False, True)
                for whole in [stored[index, flipped]]
                for y in range(whole.shape[1] - 1)
                for x in range(whole.shape[2] - 1)
            )
            assert any(torch.equal(pair, place) for place in places)


def test_what_is_stored_decides_whether_a_cache_serves(
    build: Callable[..., CacheReport], model: Path, tmp_path: Path
) -> None:
    build(resolution=128, enlarge=False)
    cache = LatentCache(tmp_path / "cache")
    sizes = [cache.latents_size(index) for index in range(len(cache))]
    # 200x128, 96x96, 100x220 and 150x130 pixels, in latents of 16.
    assert sizes == [(12, 8), (6, 6), (6, 12), (8, 8)]
    with pytest.raises(Diffusion4kError, match="enlarge of this cache: found False"):
        cache.require(model=model, family=Family(), resolution=128)  # type: ignore[arg-type]
    with pytest.raises(
        Diffusion4kError, match="enlargement of the stage of this cache: found None"
    ):
        cache.require(
            model=model,
            family=Family(),  # type: ignore[arg-type]
            resolution=128,
            enlarge=False,
            enlargement=2,
        )


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    model = tiny_sd3(tmp_path / "model")
    family = family_of(model)
    with pytest.raises(UsageError, match="enlarge"):
        CacheSettings(model, family, 64, False, "float16", longest=2.0, enlarge=False)
    with pytest.raises(UsageError, match="posterior: found sample"):
        CacheSettings(model, family, 64, False, "float16", posterior=True, enlargement=2)
