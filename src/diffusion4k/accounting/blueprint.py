"""A model as its configurations alone: every component with its sizes and without its weights."""

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from diffusion4k.families import resolve, unchecked_family_of
from diffusion4k.families.component import (
    check_numbers,
    loading,
)
from diffusion4k.lora import linear_layers
from diffusion4k.models.folder import (
    bundled_models,
    component_folder,
    has_component,
    model_index,
    read_json,
)
from diffusion4k.models.published import known_id, write_configurations

if TYPE_CHECKING:
    from diffusers import ModelMixin

__all__ = ["Blueprint"]


class Blueprint:
    """What can be known of a model without its weights.

    Args:
        model: `pocket`, a folder in diffusers layout (its configurations are enough), a published
            model's hub id, or that id's short form such as `sd3-medium` or `flux.1-dev`.
        factor: pixels a side of one latent; by default the family's own choice.
        high_resolution: options of `models.high_resolution` in place of the model's own, by key.
        max_sequence_length: tokens of the longest text in place of the model's own.

    Raises:
        Diffusion4kError: no such model, or one of no supported family.
        UsageError: a factor or an option of high resolution that the family cannot do.
    """

    def __init__(
        self,
        model: str | Path,
        factor: int | None = None,
        high_resolution: Mapping[str, object] | None = None,
        max_sequence_length: int | None = None,
    ) -> None:
        self.name = str(model)
        self._high_resolution = high_resolution
        self._factors: dict[int, Blueprint] = {}
        self._autoencoders: dict[torch.dtype, ModelMixin] = {}
        self.folder = self._locate()
        self.family = unchecked_family_of(self.folder, factor, high_resolution, max_sequence_length)
        self.family.high_resolution(self.folder)  # refuses what the family does not have

    def build(self, component: str, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A component on the meta device, in evaluation mode.

        Raises:
            Diffusion4kError: its configuration is absent or not of its class.
        """
        folder = component_folder(self.folder, component)
        config = read_json(folder / "config.json")
        if "pos_embed_max_size" in config:
            # The model's settings may ask for a longer table of positions than it was made with.
            reach = self.family.max_side(self.folder) // self.family.size_step
            config["pos_embed_max_size"] = max(config["pos_embed_max_size"], reach)
        check_numbers(folder)
        kind = self.family.class_named(self.folder, component)
        with loading(folder), torch.device("meta"):
            if hasattr(kind, "config_class"):  # of transformers
                built = kind(kind.config_class.from_dict(config))
            else:
                built = kind.from_config(config)
            if component == "vae":
                built = _at_factor(built, self.family.factor)
        # As torch does it: diffusers would warn, though there is nothing to lose here.
        return nn.Module.to(built, dtype).eval()

    @cached_property
    def text_encoders(self) -> list[str]:
        """Names of the text encoders that the model has."""
        names = [name for name in model_index(self.folder) if name.startswith("text_encoder")]
        return [name for name in names if has_component(self.folder, name)]

    @cached_property
    def components(self) -> list[str]:
        """Names of all components with weights."""
        return ["transformer", "vae", *self.text_encoders]

    def blocks(self) -> list[nn.Module]:
        """The transformer's repeated blocks."""
        parts = self.transformer.children()
        return [block for part in parts if isinstance(part, nn.ModuleList) for block in part]

    def adaptable(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the linear layers that LoRA adapts by default."""
        layers = linear_layers(self.transformer, self.family.lora_targets)
        return [(layer.in_features, layer.out_features) for layer in layers.values()]

    @cached_property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.autoencoder().config[self.family.channels_key]

    def at_factor(self, factor: int) -> "Blueprint":
        """The same model at another factor, the same one each time.

        Raises:
            UsageError: a factor that the family cannot do.
        """
        if factor == self.family.factor:
            return self
        if factor not in self._factors:
            self._factors[factor] = Blueprint(self.folder, factor, self._high_resolution)
        return self._factors[factor]

    def autoencoder(self, dtype: torch.dtype = torch.float32) -> "ModelMixin":
        """The autoencoder on the meta device, the same one each time: nothing may change it."""
        if dtype not in self._autoencoders:
            self._autoencoders[dtype] = self.build("vae", dtype)
        return self._autoencoders[dtype]

    @cached_property
    def transformer(self) -> nn.Module:
        """The transformer in float32, for its shapes."""
        return self.build("transformer")

    def _locate(self) -> Path:
        if self.name in bundled_models() or Path(self.name).exists():
            return resolve(self.name)
        hub_id = known_id(self.name)
        self._temporary = tempfile.TemporaryDirectory(prefix="diffusion4k-")
        folder = Path(self._temporary.name)
        write_configurations(hub_id, folder)
        return folder


def _at_factor(autoencoder: "ModelMixin", factor: int) -> "ModelMixin":
    from diffusers import AutoencoderKL

    from diffusion4k.vae import PartitionedAutoencoderKL

    if factor == 16 and type(autoencoder) is AutoencoderKL:
        return PartitionedAutoencoderKL.from_autoencoder(autoencoder)
    if factor == 8 and type(autoencoder) is PartitionedAutoencoderKL:
        return autoencoder.to_autoencoder()
    return autoencoder
