"""A transformer from one file, as its makers publish it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.families.quantization import check_weights_option, load_transformer
from tests.families.test_pixart import tiny_pixart


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_file_takes_the_place_of_the_folder_s(
    tiny_model: Path, tmp_path: Path, prefix: str
) -> None:
    family = family_of(tiny_model)
    other = family.load_transformer(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01)
    weights = {prefix + name: value for name, value in other.state_dict().items()}
    file = tmp_path / "other.safetensors"
    save_file(weights, file)
    check_weights_option(f"file:{file}")
    found = load_transformer(family, tiny_model, dtype=torch.float32, weights=f"file:{file}")
    assert found.state_dict().keys() == other.state_dict().keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: give a \.safetensors file"):
        check_weights_option(f"file:{tmp_path / 'absent.safetensors'}")
    with pytest.raises(UsageError, match="or file:FILE"):
        check_weights_option("file")
    file = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(1)}, file)
    model = tiny_pixart(tmp_path / "model") or tmp_path / "model"
    with pytest.raises(Diffusion4kError, match="no single files of a PixArtTransformer2DModel"):
        load_transformer(family_of(model), model, dtype=torch.float32, weights=f"file:{file}")
