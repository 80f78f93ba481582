"""Training without a cache of latents: the run that a cache would have given."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe
from tests.training.process import join, said, start_many

Make = Callable[..., Recipe]
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("keys", [{"crop": 64}, {"crop": None, "buckets": True, "resolution": 96}])
def test_the_same_run_as_with_a_cache(recipe: Make, tmp_path: Path, keys: dict) -> None:
    runs = []
    for uncached in (False, True):
        wanted = recipe(
            **keys,
            steps=4,
            uncached=uncached,
            caption_dropout=0.3,
            validation={"every": 4, "samples": 3},
            cache=str(tmp_path / f"cache-{uncached}"),
            output=str(tmp_path / f"run-{uncached}"),
        )
        runs.append(train(wanted))
    one, other = (load_file(run / WEIGHTS) for run in runs)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    for curve in ("loss.csv", "validation.csv"):
        assert len({(run.parent / curve).read_bytes() for run in runs}) == 1
    shards = [path.name for path in (tmp_path / "cache-True" / "shards").iterdir()]
    assert shards and all(name.startswith("text-") for name in shards)


def test_in_two_processes(recipe: Make, tmp_path: Path) -> None:
    wanted = recipe(steps=2, batch_size=1, uncached=True, cache=str(tmp_path / "cache"))
    assert not any(join(start_many(wanted, 2))), said(wanted)
    alone = recipe(steps=2, output=str(tmp_path / "alone"))
    train(alone)
    one, other = (
        [float(line.split(",")[1]) for line in (run.output / "loss.csv").read_text().split()[1:]]
        for run in (wanted, alone)
    )
    assert one == pytest.approx(other, rel=1e-5)


def test_large_jpegs_are_decoded_smaller(tmp_path: Path) -> None:
    picture = Image.effect_mandelbrot((1600, 1200), (-2, -1.5, 1, 1.5), 100).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "large.jpg", quality=95, exif=exif)
    whole = open_rgb(tmp_path / "large.jpg")
    assert whole.size == (1200, 1600)
    assert open_rgb(tmp_path / "large.jpg", at_least=(1000, 1300)).size == (1200, 1600)
    half = open_rgb(tmp_path / "large.jpg", at_least=(500, 700))
    assert half.size == (600, 800)
    reduced = whole.resize((600, 800), Image.Resampling.BOX)
    one, other = (torch.tensor(list(image.tobytes())).float() for image in (half, reduced))
    assert (one - other).abs().mean() < 3


def test_a_broken_photograph_is_named(recipe: Make, photographs: Path, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    content = (data / "1.png").read_bytes()
    (data / "1.png").write_bytes(content[: len(content) // 2])
    wanted = recipe(
        data=str(data), cache=str(tmp_path / "cache"), uncached=True, steps=12, batch_size=1
    )
    with pytest.raises(Diffusion4kError, match=r"1\.png: damaged or truncated"):
        train(wanted)
