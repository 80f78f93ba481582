"""A teacher or photographs that are replaced under the same path."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from diffusion4k.errors import UsageError
from diffusion4k.training.autoencoder.loop import train_autoencoder
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe


def test_what_was_replaced_is_named(
    recipe: Callable[..., AutoencoderRecipe],
    tiny_model: Path,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, data = tmp_path / "model", tmp_path / "data"
    shutil.copytree(tiny_model, model)
    shutil.copytree(photographs, data)
    keys = {"model": str(model), "data": str(data)}
    train_autoencoder(recipe(**keys, steps=1))
    path = model / "vae/diffusion_pytorch_model.safetensors"
    save_file({n: 1.01 * v for n, v in load_file(path).items()}, path, {"format": "pt"})
    Image.effect_noise((96, 128), 60).convert("RGB").save(data / "0.png")
    told = (
        "model: other weights than at step 1; "
        "data: 12 photographs, 12 at step 1: 1 with another picture"
    )
    with pytest.raises(UsageError, match=f"changed since: {told}: put"):
        train_autoencoder(recipe(**keys, steps=2))
    train_autoencoder(recipe(**keys, steps=2), changed_inputs=True)
    assert told in capsys.readouterr().err
    train_autoencoder(recipe(**keys, steps=3))
