"""Batches are pure functions of their number, and epochs visit everything once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.data.cache import CacheReport, LatentCache
from diffusion4k.data.loader import LatentBatches
from diffusion4k.errors import UsageError


class Numbered:
    """Stands in for a `LatentCache`: latents say photograph, row, column and mirroring."""

    path, flip, factor, posterior, enlargement = Path("cache"), True, 16, False, None

    def __init__(self, count: int, size: tuple[int, int] = (10, 6)) -> None:
        self.file_names = [f"{index}.jpg" for index in range(count)]
        self._size = size

    longest = None

    def __len__(self) -> int:
        return len(self.file_names)

    def file_name(self, index: int) -> str:
        return self.file_names[index]

    @property
    def sizes(self) -> np.ndarray:
        return np.array([self._size] * len(self))

    def latents_size(self, index: int) -> tuple[int, int]:
        return self._size

    def latents(self, index: int, *, flipped: bool = False) -> torch.Tensor:
        width, height = self._size
        rows = torch.arange(height)[:, None].expand(height, width)
        columns = torch.arange(width).expand(height, width)
        constant = torch.ones(height, width)
        return torch.stack([constant * index, rows, columns, constant * flipped]).half()

    def conditioning(self, index: int) -> dict[str, torch.Tensor]:
        return {"embeds": torch.full((3,), float(index)).half(), "mask": torch.tensor([index])}

    @property
    def empty_conditioning(self) -> dict[str, torch.Tensor]:
        return {"embeds": torch.full((3,), -1.0).half(), "mask": torch.tensor([-1])}


def batches(count: int = 7, **settings: object) -> LatentBatches:
    defaults = {"batch_size": 2, "crop": (64, 32), "seed": 0, "flip": True}
    return LatentBatches(Numbered(count), **(defaults | settings))  # type: ignore[arg-type]


@given(
    count=st.integers(1, 23),
    batch_size=st.integers(1, 5),
    accumulation=st.integers(1, 3),
    world=st.integers(1, 4),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_epoch_visits_each_photograph_once(
    count: int, batch_size: int, accumulation: int, world: int, seed: int
) -> None:
    loader = batches(count, batch_size=batch_size, gradient_accumulation=accumulation, seed=seed)
    steps = -(-3 * count // (batch_size * accumulation * world))
    visited = [
        index
        for step in range(steps)
        for micro in range(accumulation)
        for rank in range(world)
        for index in loader.batch(step, micro, rank, world)["indices"].tolist()
    ]
    epochs = [visited[start : start + count] for start in range(0, 3 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 12:
        assert epochs[0] != epochs[1] != epochs[2]


@given(step=st.integers(0, 10**9), micro=st.integers(0, 2), rank=st.integers(0, 3))
def test_a_batch_depends_on_its_number_alone(step: int, micro: int, rank: int) -> None:
    fresh = batches(gradient_accumulation=3).batch(step, micro, rank, 4)
    used = batches(gradient_accumulation=3)
    for other in (step + 1, 0, step // 2):
        used.batch(other, 2, 0, 4)
    again = used.batch(step, micro, rank, 4)
    assert torch.equal(fresh["latents"], again["latents"])
    assert torch.equal(fresh["indices"], again["indices"])
    assert all(torch.equal(again["conditioning"][k], v) for k, v in fresh["conditioning"].items())


def test_the_same_pictures_however_a_step_is_divided() -> None:
    whole = batches(batch_size=12).batch(5)
    loader = batches(batch_size=2, gradient_accumulation=3)
    parts = [loader.batch(5, micro, rank, 2) for micro in range(3) for rank in range(2)]
    assert torch.equal(whole["latents"], torch.cat([part["latents"] for part in parts]))


def test_crops_mirroring_and_dropout_are_what_they_say() -> None:
    loader = batches(batch_size=4000, caption_dropout=0.25)
    batch = loader.batch(0)
    latents, indices = batch["latents"], batch["indices"]
    assert latents.shape == (4000, 4, 2, 4)  # 64x32 pixels: four columns, two rows.
    assert latents.dtype == torch.float32
    assert torch.equal(latents[:, 0, 0, 0].long(), indices)
    top, left = latents[:, 1, 0, 0], latents[:, 2, 0, 0]
    assert torch.equal(latents[:, 1, 1, 0], top + 1)
    assert torch.equal(latents[:, 2, 0, 3], left + 3)
    # Every position is reached, all equally often within five standard deviations.
    for offsets, choices in ((top, 5), (left, 7)):
        counts = torch.bincount(offsets.long(), minlength=choices).double()
        assert len(counts) == choices
        share = 1 / choices
        assert (counts / 4000 - share).abs().max() < 5 * (share * (1 - share) / 4000) ** 0.5
    assert abs(latents[:, 3, 0, 0].mean() - 0.5) < 5 * 0.5 / 4000**0.5
    dropped = batch["conditioning"]["mask"][:, 0] == -1
    assert abs(dropped.double().mean() - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5
    kept = batch["conditioning"]["embeds"][~dropped]
    assert torch.equal(kept[:, 0].long(), indices[~dropped])
    assert kept.dtype == torch.float32
    assert batch["conditioning"]["mask"].dtype == torch.int64


def test_without_flip_and_dropout_nothing_is_mirrored_or_dropped() -> None:
    batch = batches(batch_size=500, flip=False).batch(3)
    assert not batch["latents"][:, 3].any()
    assert (batch["conditioning"]["mask"] >= 0).all()


def test_another_seed_is_another_order() -> None:
    first, second = (batches(50, batch_size=50, seed=seed).batch(0)["indices"] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_requests_that_cannot_be_met() -> None:
    with pytest.raises(UsageError, match=r"crop width 40: .* nearest: 32 or 64"):
        batches(crop=(40, 32))
    with pytest.raises(UsageError, match=r"crop 96x128: larger than 0\.jpg, cached at 160x96"):
        batches(crop=(96, 128))
    with pytest.raises(ValueError, match="micro 1 of 1"):
        batches().batch(0, 1)


def test_from_a_real_cache(build: Callable[..., CacheReport], tmp_path: Path) -> None:
    build(flip=False)
    cache = LatentCache(tmp_path / "cache")
    with pytest.raises(UsageError, match="no mirrored photographs"):
        LatentBatches(cache, batch_size=2, crop=64, seed=0, flip=True)
    batch = LatentBatches(cache, batch_size=3, crop=64, seed=0, caption_dropout=0.5).batch(1)
    assert batch["latents"].shape == (3, 4, 4, 4)
    assert batch["conditioning"]["prompt_embeds"].shape == (3, 5, 8)
    index = int(batch["indices"][0])
    whole = cache.latents(index).float().unfold(1, 4, 1).unfold(2, 4, 1)
    crops = whole.permute(1, 2, 0, 3, 4).reshape(-1, 4, 4, 4)
    assert any(torch.equal(batch["latents"][0], crop) for crop in crops)
