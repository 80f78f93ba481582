"""What a run needs, found and judged before it starts."""

import copy

import torch
from diffusers import AutoencoderKL
from torch import nn

from diffusion4k.data.crops import ImageCrops
from diffusion4k.data.folder import photo_folder, scan_folder
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.component import (
    check_weights,
)
from diffusion4k.metrics.architectures.lpips import Lpips
from diffusion4k.metrics.architectures.perceptual import EffNetDistance
from diffusion4k.models.folder import (
    resolve_autoencoder,
)
from diffusion4k.training.autoencoder.losses import detail_error
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, LpipsRecipe
from diffusion4k.vae import (
    PartitionedAutoencoderKL,
    ScaleConsistentAutoencoderKL,
    load_autoencoder,
    load_stock_autoencoder,
)

__all__ = [
    "build_perceptual",
    "check_wavelet",
    "initial_student",
    "load_teacher",
    "training_crops",
    "validation_crops",
]


def load_teacher(model: str, device: torch.device) -> AutoencoderKL:
    """The F=8 autoencoder of a model, frozen.

    Args:
        model: a folder or hub id of a whole model, the folder of an autoencoder alone, or a bundled
            one (`resolve_autoencoder`).

    Raises:
        Diffusion4kError: no such model, or its autoencoder is of another class or damaged.
    """
    folder = resolve_autoencoder(model)
    check_weights(folder)
    teacher = load_stock_autoencoder(folder)
    if len(teacher.config.block_out_channels) != 4:
        raise Diffusion4kError(
            f"{folder / 'config.json'}: {len(teacher.config.block_out_channels)} levels; a teacher "
            "has four (F=8)"
        )
    return teacher.to(device).requires_grad_(False).eval()


def initial_student(recipe: AutoencoderRecipe, teacher: AutoencoderKL) -> AutoencoderKL:
    """The student before its first step: `recipe.start` names a rule or an earlier student.

    Raises:
        Diffusion4kError: no such student, or one that is not of the teacher's shape.
    """
    if recipe.start == "partitioned":
        return PartitionedAutoencoderKL.from_autoencoder(copy.deepcopy(teacher))
    if recipe.start in ("average", "stride"):
        return ScaleConsistentAutoencoderKL.from_autoencoder(teacher, recipe.start)
    try:
        folder = resolve_autoencoder(recipe.start)
    except Diffusion4kError:
        raise Diffusion4kError(
            f"start: found {recipe.start!r}, allowed average, stride, or partitioned, or the "
            "folder of an earlier student"
        ) from None
    check_weights(folder)
    student = load_autoencoder(folder)
    if not isinstance(student, ScaleConsistentAutoencoderKL):
        raise Diffusion4kError(
            f"start: {folder} holds a {type(student).__name__}; training it further needs a "
            "ScaleConsistentAutoencoderKL, the result of an earlier `vae train`"
        )
    expected = ScaleConsistentAutoencoderKL.from_autoencoder(teacher)
    shapes, wanted = (
        {name: tensor.shape for name, tensor in network.state_dict().items()}
        for network in (student, expected)
    )
    if shapes != wanted:
        raise Diffusion4kError(f"start: {folder} is not of the shape of {recipe.model}'s student")
    return student.to(teacher.device)


def build_perceptual(recipe: AutoencoderRecipe) -> nn.Module | None:
    """The perceptual distance, `(B,)` of two batches of images; None at weight 0.

    Raises:
        UsageError: no file with the network's weights or the heads of LPIPS.
        Diffusion4kError: weights that cannot be read, or of another network.
    """
    if not recipe.loss.perceptual:
        return None
    wanted = recipe.perceptual
    if isinstance(wanted, LpipsRecipe):
        return Lpips(wanted.network, wanted.weights, wanted.heads)
    return EffNetDistance().requires_grad_(False).eval()


def training_crops(recipe: AutoencoderRecipe, *, skip_bad: bool) -> ImageCrops:
    """The recipe's crops.

    Raises:
        Diffusion4kError: no such folder, or a photograph with which something is wrong, unless
            it is to be skipped.
    """
    return ImageCrops(
        scan_folder(photo_folder(recipe.data)).usable(skip_bad=skip_bad),
        crop=recipe.crop,
        resolution=recipe.resolution,
        seed=recipe.seed,
        flip=recipe.flip,
        skip_bad=skip_bad,
    )


def validation_crops(recipe: AutoencoderRecipe, *, skip_bad: bool) -> ImageCrops:
    """The crops on which quality is measured; as `training_crops`, never mirrored."""
    wanted = recipe.validation
    return ImageCrops(
        scan_folder(photo_folder(wanted.data or recipe.data)).usable(skip_bad=skip_bad),
        crop=recipe.crop,
        resolution=recipe.resolution,
        seed=wanted.seed,
        skip_bad=skip_bad,
    )


def check_wavelet(recipe: AutoencoderRecipe) -> None:
    """Refuse an unknown wavelet.

    Raises:
        UsageError: names it.
    """
    try:
        detail_error(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), recipe.wavelet)
    except ValueError as error:
        raise UsageError(f"wavelet: {error}") from None
