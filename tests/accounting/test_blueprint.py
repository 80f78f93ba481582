"""Models known by their configurations alone."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.stages import denoising_stage
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.models.published import build_published, published_models


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


def test_components_are_those_of_the_folder(tiny_model: Path) -> None:
    blueprint, family = Blueprint(tiny_model), family_of(tiny_model)
    assert blueprint.components == ["transformer", "vae", "text_encoder", "text_encoder_2"]
    built = blueprint.build("transformer", torch.bfloat16)
    loaded = family.load_transformer(tiny_model, dtype=torch.bfloat16)
    assert shapes(built) == shapes(loaded)
    assert all(p.is_meta and p.dtype == torch.bfloat16 for p in built.parameters())
    loaded = family.load_autoencoder(tiny_model, dtype=torch.float32)
    assert shapes(blueprint.build("vae")) == shapes(loaded)
    assert type(blueprint.build("vae")) is type(loaded)


def test_weights_need_not_be_there(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    assert shapes(Blueprint(folder).transformer) == shapes(Blueprint(tiny_model).transformer)
    (folder / "transformer" / "config.json").unlink()
    with pytest.raises(Diffusion4kError, match=r"transformer.*config\.json"):
        Blueprint(folder).build("transformer")


@pytest.mark.parametrize(
    "name", ["sd3-medium", "SD3-Medium", "stabilityai/stable-diffusion-3-medium-diffusers"]
)
def test_published_models_by_their_names(name: str) -> None:
    blueprint = Blueprint(name)
    expected = build_published("stabilityai/stable-diffusion-3-medium-diffusers", "transformer")
    assert shapes(blueprint.transformer) == shapes(expected)
    assert blueprint.family.max_side(blueprint.folder) == 6144


@pytest.mark.parametrize("name", published_models())
def test_every_published_model_is_a_folder(name: str) -> None:
    blueprint = Blueprint(name)
    assert blueprint.family.defaults(blueprint.folder).steps > 0
    assert blueprint.family.text_tokens(blueprint.folder) > 0
    assert blueprint.family.empty_conditioning(blueprint.folder, 2)["prompt_embeds"].shape[0] == 2


def test_a_longer_table_of_positions(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    wanted = {"high_resolution": {"positions": "extend", "side": 4096}}
    (folder / "diffusion4k.json").write_text(json.dumps(wanted))
    blueprint = Blueprint(folder)
    table = family_of(folder).load_transformer(folder, dtype=torch.float32).pos_embed.pos_embed
    assert blueprint.transformer.pos_embed.pos_embed.shape == table.shape
    stage = denoising_stage(blueprint, 4096, 64, torch.float32, guided=False, gpu=False)
    assert stage.flops > 0


def test_mistakes() -> None:
    with pytest.raises(UsageError, match="no such folder, and not a model whose sizes are known"):
        Blueprint("sd9")
    with pytest.raises(UsageError, match="factor 12"):
        Blueprint("sd3-medium", 12)
