"""Buckets keep the area, cover photographs, and lose or repeat none in a pass."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.data.buckets import (
    BucketOrder,
    bucket_sizes,
    buckets_of,
    cover_size,
    nearest_bucket,
    sizes_for,
)
from diffusion4k.data.cache import LatentCache
from diffusion4k.data.folder import read_folder
from diffusion4k.data.loader import LatentBatches
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.data.fake import Family, make_folder


def test_sizes_have_about_one_area_and_go_to_panoramas() -> None:
    sizes = bucket_sizes(4096)
    assert (4096, 4096) in sizes and len(sizes) == 19
    for width, height in sizes:
        assert width % 32 == height % 32 == 0
        assert abs(width * height / 4096**2 - 1) < 0.01
        assert 1 / 2.4 <= width / height <= 2.4
        assert (height, width) in sizes
    assert max(w / h for w, h in sizes) > 2.35


@given(width=st.integers(500, 9000), height=st.integers(500, 9000))
def test_nearest_and_cover(width: int, height: int) -> None:
    sizes = bucket_sizes(1024)
    size = sizes[nearest_bucket(width, height, sizes)]
    ratios = [max(w * height / (h * width), h * width / (w * height)) for w, h in sizes]
    ratio = max(size[0] * height / (size[1] * width), size[1] * width / (size[0] * height))
    assert ratio == pytest.approx(min(ratios))
    columns, rows = cover_size(width, height, size)
    assert columns >= size[0] and rows >= size[1]
    assert columns == size[0] or rows == size[1]
    assert columns % 32 == rows % 32 == 0


@settings(max_examples=50)
@given(
    bucket_of=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    batch=st.integers(1, 8),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_pass_has_each_photograph_once(bucket_of: list[int], batch: int, seed: int) -> None:
    batch = min(batch, len(bucket_of))
    order = BucketOrder(bucket_of, batch=batch, seed=seed)
    # Five epochs, whatever remains carried over.
    counts = Counter(bucket_of)
    steps = sum(5 * count // batch for count in counts.values())
    seen: dict[int, list[int]] = defaultdict(list)
    for step in range(steps):
        bucket, photos = order.step(step)
        assert len(photos) == batch
        assert {bucket_of[photo] for photo in photos} == {bucket}
        seen[bucket] += photos
        if step == steps // 2:  # a run that goes on here
            resumed = BucketOrder(bucket_of, batch=batch, seed=seed)
            assert resumed.step(step) == (bucket, photos)
    for bucket, count in counts.items():
        photos = seen[bucket]
        assert len(photos) == 5 * count // batch * batch
        for start in range(0, len(photos), count):
            part = photos[start : start + count]
            assert len(set(part)) == len(part)


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="3 photographs: fewer than one batch of 4"):
        BucketOrder([0, 0, 1], batch=4, seed=0)
    for longest in (0.5, 20, float("nan")):
        with pytest.raises(
            UsageError, match=rf"buckets: found {longest} as the longest .*, allowed 1"
        ):
            bucket_sizes(1024, longest)


@settings(max_examples=40)
@given(
    shapes=st.lists(st.tuples(st.integers(300, 3000), st.integers(300, 3000)), min_size=1),
    longest=st.floats(1, 3),
)
def test_the_bucket_is_found_again_from_what_is_stored(
    shapes: list[tuple[int, int]], longest: float
) -> None:
    sizes = sizes_for(16, 1024, longest)
    chosen = [nearest_bucket(*shape, sizes) for shape in shapes]
    stored = [cover_size(*shape, sizes[c]) for shape, c in zip(shapes, chosen, strict=True)]
    found = buckets_of(np.array(stored), sizes)
    for (width, height), index, wanted in zip(stored, found, chosen, strict=True):
        # Another size that it covers may leave even less over.
        area = sizes[index][0] * sizes[index][1]
        assert sizes[index][0] <= width and sizes[index][1] <= height
        assert area >= sizes[wanted][0] * sizes[wanted][1]


Build = Callable[..., object]
SHAPES = [(200, 128), (96, 96), (100, 220), (150, 130), (390, 100), (131, 149), (128, 192)]


def test_pictures_keep_their_shape_from_cache_to_batch(build: Build, tmp_path: Path) -> None:
    photographs = make_folder(tmp_path / "shapes", SHAPES)
    build(photos=read_folder(photographs), resolution=128, longest=2.4)
    cache = LatentCache(tmp_path / "cache")
    sizes = sizes_for(16, 128, 2.4)
    assert cache.longest == 2.4
    for index, (width, height) in enumerate(SHAPES):
        columns, rows = cache.latents_size(index)
        assert (columns * 16, rows * 16) == cover_size(
            width, height, sizes[nearest_bucket(width, height, sizes)]
        )
    loaders = [
        LatentBatches(cache, batch_size=4 // parts, crop=128, seed=3, gradient_accumulation=micros)
        for micros, parts in ((1, 1), (2, 2), (1, 4), (2, 4))
    ]
    seen: Counter[int] = Counter()
    for step in range(20):
        whole = loaders[0].batch(step)
        _, _, height, width = whole["latents"].shape
        assert (width * 16, height * 16) in sizes
        assert whole["places"].tolist() == list(range(4 * step, 4 * step + 4))
        seen.update(whole["indices"].tolist())
        for loader, micros, world in zip(loaders[1:], (2, 1, 2), (1, 4, 2), strict=True):
            parts = [loader.batch(step, m, r, world) for m in range(micros) for r in range(world)]
            for name in ("latents", "indices", "places"):
                assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
    assert len(seen) == len(SHAPES)
    lines = loaders[0].lines()
    assert sum(int(line.split(": ")[1].split()[0]) for line in lines) == len(SHAPES)
    assert any("cropped" in line for line in lines)


def test_a_cache_of_other_buckets_is_refused(build: Build, model: Path, tmp_path: Path) -> None:
    build(longest=2.4)
    cache = LatentCache(tmp_path / "cache")
    cache.require(model=model, family=Family(), resolution=64, longest=2.4)
    for longest in (None, 2.0):
        with pytest.raises(Diffusion4kError, match="greatest aspect of buckets"):
            cache.require(model=model, family=Family(), resolution=64, longest=longest)
