"""Validation images: what `generate` makes of the recipe's prompts with the network as it is."""

import hashlib
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion4k.families import Family
from diffusion4k.families.folder import loading, model_index
from diffusion4k.files import atomic_path
from diffusion4k.training.recipe import Recipe

__all__ = ["Preview", "encode_prompts"]


class Preview:
    """Makes the validation images; between them it holds the prompts' embeddings and no model."""

    def __init__(self, recipe: Recipe, family: Family, model: Path) -> None:
        """After `encode_prompts` for the same recipe."""
        wanted, own = recipe.validation, family.defaults(model)
        self._family, self._model, self._seed = family, model, wanted.seed
        self._guidance = own.guidance if wanted.guidance is None else wanted.guidance
        self._settings = {
            "width": wanted.width or recipe.crop_size[0],
            "height": wanted.height or recipe.crop_size[1],
            "num_inference_steps": wanted.sampling_steps or own.steps,
            "guidance_scale": self._guidance,
        }
        self._conditioning = load_file(_embeddings(recipe))
        self._count = len(wanted.prompts)

    @torch.no_grad()
    def __call__(self, transformer: nn.Module, folder: Path) -> list[Image.Image]:
        """Make the images and save them as `folder/<number>.png`."""
        pipeline = self._pipeline(transformer)
        images = []
        for number in range(self._count):
            conditioning = self._embedded(number)
            if self._guidance > 1:
                empty = self._embedded(self._count)
                conditioning |= {f"negative_{name}": value for name, value in empty.items()}
            generator = torch.Generator().manual_seed(self._seed)
            images += pipeline(**self._settings, **conditioning, generator=generator).images
            with atomic_path(folder / f"{number + 1:02}.png") as path:
                images[-1].save(path)
        return images

    def _pipeline(self, transformer: nn.Module) -> Any:
        """The family's stock pipeline around our network, without text encoders."""
        parts = {name: part for name, part in model_index(self._model).items() if name[0] != "_"}
        scheduler = getattr(diffusers, parts["scheduler"][1])
        with loading(self._model / "scheduler"):
            scheduler = scheduler.from_pretrained(self._model / "scheduler")
        pipeline = getattr(diffusers, self._family.pipeline_class)(
            **dict.fromkeys(parts)
            | {
                "transformer": transformer,
                "scheduler": scheduler,
                "vae": self._family.load_autoencoder(self._model, dtype=torch.float32),
            }
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(next(transformer.parameters()).device)

    def _embedded(self, number: int) -> dict[str, Tensor]:
        return {name: tensor[number : number + 1] for name, tensor in self._conditioning.items()}


def encode_prompts(recipe: Recipe, family: Family, model: Path, device: torch.device) -> None:
    """Keep the embeddings of the validation prompts, and behind them the empty prompt's.

    Text encoders are loaded only if the file is not there for these prompts and this model.
    """
    wanted = json.dumps([recipe.model, recipe.validation.prompts])
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    path = _embeddings(recipe)
    if path.exists():
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("prompts") == digest:
                return
    encoders = family.load_text_encoders(model, dtype=torch.float32).to(device)
    conditioning = family.encode_text(encoders, [*recipe.validation.prompts, ""])
    with atomic_path(path) as temporary:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in conditioning.items()}
        save_file(tensors, temporary, {"prompts": digest})


def _embeddings(recipe: Recipe) -> Path:
    return recipe.output / "validation" / "prompts.safetensors"
