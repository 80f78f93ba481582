"""Validation images: what `generate` makes of the recipe's prompts with the network as it is."""

import hashlib
import json
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion4k.families import Family
from diffusion4k.families.calls import is_guided
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.support.files import atomic_path
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["Preview", "encode_prompts"]


class Preview:
    """Makes the validation images; between them it holds the prompts' embeddings and no model."""

    def __init__(self, recipe: Recipe, family: Family, model: Path, device: torch.device) -> None:
        """After `encode_prompts` for the same recipe; images are made on `device`."""
        validation, own = recipe.validation, family.defaults(model)
        self._family, self._model, self._seed = family, model, validation.seed
        self._device = device
        self._guidance = own.guidance if validation.guidance is None else validation.guidance
        self._guided = is_guided(family.guidance_kind(model), self._guidance)
        self._settings = {
            "width": validation.width or recipe.crop_size[0],
            "height": validation.height or recipe.crop_size[1],
            "num_inference_steps": validation.sampling_steps or own.steps,
        }
        self._conditioning = load_file(_embeddings(recipe))
        self._count = len(validation.prompts)

    @torch.no_grad()
    def __call__(self, transformer: nn.Module, folder: Path | None) -> list[Image.Image]:
        """Make the images; with a folder save them as `folder/<number>.png`."""
        pipeline = self._family.load_pipeline(
            self._model, dtype=torch.float32, text_encoders=False, transformer=transformer
        )
        pipeline.set_progress_bar_config(disable=True)
        # The transformer is where training has it: weights that are offloaded come by themselves.
        pipeline.transformer = _Placed(transformer)
        pipeline.to(self._device)
        images = []
        for number in range(self._count):
            arguments = self._family.call_arguments(
                self._embedded(number),
                guidance=self._guidance,
                negative=self._embedded(self._count) if self._guided else None,
            )
            generator = torch.Generator().manual_seed(self._seed)
            images += pipeline(**self._settings, **arguments, generator=generator).images
            if folder:
                with atomic_path(folder / f"{number + 1:02}.png") as path:
                    images[-1].save(path)
        return images

    def _embedded(self, number: int) -> dict[str, Tensor]:
        return {name: tensor[number : number + 1] for name, tensor in self._conditioning.items()}


class _Placed:
    """A transformer to a pipeline that must neither move it nor ask where its weights are."""

    def __init__(self, transformer: nn.Module) -> None:
        self._transformer = transformer

    def __call__(self, *inputs: object, **named: object) -> object:
        return self._transformer(*inputs, **named)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transformer, name)


def encode_prompts(recipe: Recipe, family: Family, model: Path, device: torch.device) -> None:
    """Keep the embeddings of the validation prompts, and behind them the empty prompt's.

    Text encoders are loaded only if the file is not there for these prompts and this model.
    """
    # By its content: another model may take this one's place.
    decisive = [fingerprint(model), recipe.max_sequence_length, recipe.validation.prompts]
    digest = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    path = _embeddings(recipe)
    if path.exists():
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("prompts") == digest:
                return
    # As the cache has them: in float32 T5 alone takes 19 GB.
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    encoders = family.load_text_encoders(model, dtype=dtype).to(device)
    conditioning = family.encode_text(encoders, [*recipe.validation.prompts, ""])
    with atomic_path(path) as temporary:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in conditioning.items()}
        save_file(tensors, temporary, {"prompts": digest})


def _embeddings(recipe: Recipe) -> Path:
    return recipe.output / "validation" / "prompts.safetensors"
