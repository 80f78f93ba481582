"""The tables say what diffusers' own converters of checkpoints do, for each module."""

import pytest
import torch
from diffusers.loaders import single_file_utils
from torch import Tensor, nn

from diffusion4k.families import families
from diffusion4k.models.published import build_published, published_models
from diffusion4k.original_names import original_names


def published(family: str) -> dict[str, nn.Module]:
    """The transformers of a family's published models, without weights."""
    wanted = original_names()[family].pipeline_class
    found = {}
    for hub_id, model in published_models().items():
        if model["pipeline_class"] == wanted:
            found[model["components"]["transformer"]] = hub_id
    return {hub_id: build_published(hub_id, "transformer") for hub_id in found.values()}


@pytest.mark.parametrize("family", original_names())
def test_every_module_of_every_published_model_is_there(family: str) -> None:
    table = original_names()[family]
    assert table.family == families()[table.pipeline_class].name
    models = published(family)
    assert models
    for model in models.values():
        for name, part in model.named_modules():
            if isinstance(getattr(part, "weight", None), Tensor):
                for spelled in (name, name.replace(".", "_")):
                    place = table.find(spelled)
                    assert place and place.layers == (name,), spelled
                theirs = table.find(place.module.name)
                assert theirs and theirs.module == place.module


CONVERTERS = {
    "flux": ("black-forest-labs/FLUX.1-dev", "convert_flux_transformer_checkpoint_to_diffusers"),
    "sd3": (
        "stabilityai/stable-diffusion-3.5-medium",
        "convert_sd3_transformer_checkpoint_to_diffusers",
    ),
    "z-image": (
        "Tongyi-MAI/Z-Image-Turbo",
        "convert_z_image_transformer_checkpoint_to_diffusers",
    ),
}


@pytest.mark.parametrize("family", CONVERTERS)
def test_rows_go_where_diffusers_puts_them(family: str) -> None:
    hub_id, converter = CONVERTERS[family]
    table, model = original_names()[family], build_published(hub_id, "transformer")
    sizes = {
        name: tuple(part.weight.shape)
        for name, part in model.named_modules()
        if isinstance(getattr(part, "weight", None), Tensor)
    }
    modules = {place.module for name in sizes if (place := table.find(name))}
    checkpoint: dict[str, Tensor] = {}
    wanted: dict[str, Tensor] = {}
    start = 0.0
    for module in sorted(modules, key=lambda each: each.name):
        rows = sum(sizes[part][0] for part in module.parts)
        weight = torch.arange(start, start + rows, dtype=torch.float64)[:, None]
        start += rows
        checkpoint[f"{module.name}.{module.weight}"] = weight
        checkpoint[f"{module.name}.bias"] = weight[:, 0]
        columns = sizes[module.parts[0]][-1]
        ours = weight.roll(rows // 2, 0) if module.is_swapped(rows, columns) else weight
        for part, place in zip(module.parts, module.rows(rows), strict=True):
            wanted[f"{part}.weight"] = ours[place]
    checkpoint["pos_embed"] = torch.zeros(1)
    found = getattr(single_file_utils, converter)(checkpoint)
    for name, weight in wanted.items():
        assert torch.equal(found[name], weight), name
