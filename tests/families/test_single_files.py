"""A transformer from one file, as its makers publish it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.families.quantization import check_weights_option, load_transformer
from tests.families.test_pixart import tiny_pixart

NAMES = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "transformer_blocks": "joint_blocks",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
TOGETHER = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def as_its_makers_have_it(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of Stable Diffusion 3 by the names of Stability AI's checkpoints."""
    found = {}
    for name, value in state.items():
        for part, (first, *others) in TOGETHER.items():
            if first in name:
                rest = [state[name.replace(first, other)] for other in others]
                other_name = name.replace("transformer_blocks", "joint_blocks")
                found[other_name.replace(first, part)] = torch.cat([value, *rest])
        if any(each in name for parts in TOGETHER.values() for each in parts):
            continue
        if (
            "norm_out." in name or "blocks.1.norm1_context." in name
        ):  # scale and shift the other way
            value = torch.cat([*reversed(value.chunk(2))])
        for ours, theirs in NAMES.items():
            name = name.replace(ours + ".", theirs + ".") if name != ours else theirs
        found[name] = value
    return {f"model.diffusion_model.{name}": value for name, value in found.items()}


@pytest.mark.parametrize("written", [dict, as_its_makers_have_it])
def test_the_file_takes_the_place_of_the_folder_s(
    tiny_model: Path, tmp_path: Path, written: Callable[..., dict[str, Tensor]]
) -> None:
    family = family_of(tiny_model)
    other = family.load_transformer(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    weights = written(other.state_dict())
    file = tmp_path / "other.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
    check_weights_option(f"file:{file}")
    found = load_transformer(family, tiny_model, dtype=torch.float32, weights=f"file:{file}")
    assert found.state_dict().keys() == other.state_dict().keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: give a \.safetensors file"):
        check_weights_option(f"file:{tmp_path / 'absent.safetensors'}")
    with pytest.raises(UsageError, match="or file:FILE"):
        check_weights_option("file")
    file = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(1)}, file)
    model = tiny_pixart(tmp_path / "model") or tmp_path / "model"
    with pytest.raises(Diffusion4kError, match=r"does not hold the transformer of .*is not in it"):
        load_transformer(family_of(model), model, dtype=torch.float32, weights=f"file:{file}")
