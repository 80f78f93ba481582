"""The recipes of the paper's runs, beside what its scripts do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from benchmarks.tiny import tiny_autoencoder
from diffusion4k.families.flux import TRAINING_GUIDANCE, Flux
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.training.autoencoder.prepare import initial_student
from diffusion4k.training.autoencoder.recipe import load_autoencoder_recipe
from diffusion4k.training.checkpoint.resume import changed_keys
from diffusion4k.training.recipe.build import build_objective, build_timesteps
from diffusion4k.training.recipe.recipe import RunRecipe, load_recipe
from diffusion4k.vae import PartitionedAutoencoderKL

RECIPES = Path(__file__).parents[2] / "recipes"
PAPER = RECIPES / "paper"
DRAWS = 20_000


def _of_the_scripts(shift: float, *, logit_normal: bool) -> torch.Tensor:
    """Sigmas as the scripts draw them: an index into the scheduler's own table."""
    sigmas = FlowMatchEulerDiscreteScheduler(shift=shift).timesteps / 1000
    u = torch.randn(DRAWS).sigmoid() if logit_normal else torch.rand(DRAWS)
    return sigmas[(u * 1000).long().clamp(max=999)]


@pytest.mark.parametrize(
    ("name", "family", "shift", "logit_normal"),
    [("sd3-2b-wlf", StableDiffusion3(), 3.0, True), ("flux-12b-wlf", Flux(), 1.0, False)],
)
def test_noise_levels_are_those_of_the_scripts(
    name: str, family: object, shift: float, logit_normal: bool
) -> None:
    torch.manual_seed(0)
    recipe = load_recipe(PAPER / f"{name}.yaml")
    timesteps = build_timesteps(recipe, family, Path())  # type: ignore[arg-type]
    found = timesteps.sample(DRAWS, torch.Generator().manual_seed(0))
    expected = _of_the_scripts(shift, logit_normal=logit_normal)
    at = torch.linspace(0.02, 0.98, 25)
    torch.testing.assert_close(found.quantile(at), expected.quantile(at), rtol=0, atol=0.015)
    usual = load_recipe(RECIPES / f"{name}.yaml")
    other = build_timesteps(usual, family, Path())  # type: ignore[arg-type]
    drawn = other.sample(DRAWS, torch.Generator().manual_seed(0))
    assert (drawn.quantile(at) - expected.quantile(at)).abs().max() > 0.1


@pytest.mark.parametrize(("name", "pictures"), [("sd3-2b-wlf", 16), ("flux-12b-wlf", 32)])
def test_what_else_the_scripts_do(name: str, pictures: int) -> None:
    recipe = load_recipe(PAPER / f"{name}.yaml")
    assert (recipe.max_sequence_length, recipe.posterior) == (77, "sample")
    assert (recipe.global_batch_size, recipe.steps, recipe.seed) == (pictures, 20000, 0)
    assert (recipe.resolution, recipe.crop_size, recipe.flip) == (4096, (4096, 4096), True)
    optimizer = recipe.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ("adamw", 1e-6)
    assert (optimizer.betas, optimizer.weight_decay, optimizer.eps) == ((0.9, 0.999), 1e-4, 1e-8)
    assert recipe.clip_norm == 1.0 and recipe.ema is None and recipe.caption_dropout == 0
    assert (recipe.schedule.name, recipe.schedule.warmup_steps) == ("constant", 0)
    assert TRAINING_GUIDANCE == 3.5
    # The squared error of the clean latents, in an orthonormal wavelet.
    torch.manual_seed(0)
    velocity, latents, noise = torch.randn(3, 2, 16, 4, 4)
    sigma = torch.tensor([0.3, 0.9])
    s = sigma.view(-1, 1, 1, 1)
    clean = (latents + s * (noise - latents)) - s * velocity
    expected = (clean - latents).square().mean((1, 2, 3))
    found = build_objective(recipe)(velocity, latents=latents, noise=noise, sigma=sigma)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("sd3-2b-wlf", load_recipe),
        ("flux-12b-wlf", load_recipe),
        ("vae-sc", load_autoencoder_recipe),
    ],
)
def test_the_page_says_each_difference_from_ours(name: str, load: Callable[..., RunRecipe]) -> None:
    page = (RECIPES.parent / "docs" / "paper.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]

    def is_told(key: str, theirs: str, ours: str) -> bool:
        return any(
            f"`{key}`" in row[0]
            and (theirs == "None" or f"`{theirs.lower()}`" in row[-3])
            and (ours == "None" or f"`{ours.lower()}`" in row[-2])
            for row in rows
        )

    files = (PAPER / f"{name}.yaml", RECIPES / f"{name}.yaml")
    differences = changed_keys(*(load(file) for file in files))
    assert differences
    for difference in differences:
        key, theirs, ours = re.fullmatch(r"(\S+) \((.*) -> (.*)\)", difference).groups()
        if key not in ("timesteps.mean", "timesteps.std"):  # which come with the distribution
            assert is_told(key, theirs, ours), f"docs/paper.md: {difference}"


def test_the_decoder_alone_learns_and_its_layers_are_the_teacher_s() -> None:
    recipe = load_autoencoder_recipe(PAPER / "vae-sc.yaml")
    assert recipe.batch_size * recipe.gradient_accumulation * 4 == 256
    assert (recipe.precision, recipe.freeze_encoder, recipe.adversarial.start) == ("fp32", True, 0)
    assert recipe.adversarial.balance == "perceptual"
    teacher = tiny_autoencoder()
    student = initial_student(recipe, teacher)
    assert isinstance(student, PartitionedAutoencoderKL)
    before = teacher.state_dict()
    assert before.keys() == student.state_dict().keys()
    with torch.no_grad():
        student.decoder.conv_out.weight.add_(1.0)
    assert torch.equal(before["decoder.conv_out.weight"], teacher.decoder.conv_out.weight)
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name]) != (name == "decoder.conv_out.weight")
    student.decode(torch.randn(1, 16, 2, 2)).sample.mean().backward()
    assert student.decoder.conv_out.weight.grad.abs().max() > 0
