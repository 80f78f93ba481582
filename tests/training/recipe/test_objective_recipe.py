"""The section `objective`: from YAML to the object, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from diffusion4k.errors import UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.objectives import (
    Composed,
    FlowMatching,
    LatentWaveletDiffusion,
    SnrHuberWavelet,
    WaveletFlow,
)
from diffusion4k.objectives.masks import EnergyMask
from diffusion4k.objectives.norms import Absolute, PseudoHuber, SnrHuber
from diffusion4k.objectives.transforms import Bands, Identity, Wavelet
from diffusion4k.objectives.weightings import (
    CosMap,
    InverseSigmaSquared,
    MinSnr,
    PathMinSnr,
    SigmaSquared,
)
from diffusion4k.timesteps import Beta
from diffusion4k.training.check import check_recipe
from diffusion4k.training.recipe.build import build_objective, build_timesteps
from diffusion4k.training.recipe.recipe import Recipe, load_recipe
from tests.objectives.draws import draw

Make = Callable[..., Recipe]

SECTIONS = {
    "{}": WaveletFlow(),
    "{name: flow-matching}": FlowMatching(),
    "{band_weights: [1, 2, 2, 4]}": WaveletFlow(band_weights=(1, 2, 2, 4)),
    "{name: snr-huber-wavelet}": SnrHuberWavelet(),
    "{name: snr-huber-wavelet, wavelet: db2, beta: 0.5, c_max: 2}": SnrHuberWavelet(
        "db2", beta=0.5, c_max=2
    ),
    "{name: lwd}": LatentWaveletDiffusion(),
    "{name: lwd, lower: 0.5, of: noisy}": LatentWaveletDiffusion(0.5, "noisy"),
    "{name: composed}": Composed(),
    "{name: composed, weighting: {name: sigma-squared}}": Composed(weighting=SigmaSquared()),
    "{name: composed, weighting: {name: cosmap}, norm: {name: l1}}": Composed(
        weighting=CosMap(), norm=Absolute()
    ),
    "{name: composed, space: latents, weighting: {name: min-snr, gamma: 3}}": Composed(
        "latents", MinSnr(3)
    ),
    "{name: composed, space: latents, weighting: {name: inverse-sigma-squared}}": Composed(
        "latents", InverseSigmaSquared()
    ),
    "{name: composed, weighting: {name: path-min-snr}, norm: {name: snr-huber, c_min: 0.1}}": (
        Composed(weighting=PathMinSnr(), norm=SnrHuber(0.1))
    ),
    "{name: composed, mask: {lower: 0.4}, transform: {name: identity}}": Composed(
        transform=Identity(), mask=EnergyMask(0.4)
    ),
    """
    name: composed
    transform:
      levels: 2
      bands:
        - {sigma: 0.2, detail: [[1, 2, 3], [1, 1, 1]]}
        - {sigma: 0.8, low: 2, detail: [[1, 1, 1], [1, 1, 1]]}
    norm: {name: pseudo-huber, c: 0.5}
    """: Composed(
        transform=Wavelet(
            levels=2,
            bands=(
                Bands(1, ((1, 2, 3), (1, 1, 1)), sigma=0.2),
                Bands(2, ((1, 1, 1), (1, 1, 1)), sigma=0.8),
            ),
        ),
        norm=PseudoHuber(0.5),
    ),
}


@pytest.mark.parametrize("text", SECTIONS, ids=str.strip)
def test_sections_name_objectives(recipe: Make, tmp_path: Path, text: str) -> None:
    wanted = recipe(objective=yaml.safe_load(text))
    objective = build_objective(wanted)
    assert objective == SECTIONS[text]
    assert objective(**draw(0, shape=(2, 2, 8, 8))).isfinite().all()
    snapshot = tmp_path / "snapshot.yaml"
    snapshot.write_text(wanted.as_yaml())
    assert load_recipe(snapshot) == wanted


def test_the_manuals_recipes(recipe: Make) -> None:
    page = (Path(__file__).parents[3] / "docs/objectives.md").read_text()
    sections = re.findall(r"`(?:objective: )?(\{name: [^`]*\})`", page)
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = [yaml.safe_load(text) for text in sections if "..." not in text]
    found += [yaml.safe_load(text)["objective"] for text in blocks]
    assert len(found) >= 10
    for section in found:
        build_objective(recipe(objective=section))


def test_beta_timesteps(recipe: Make, tiny_model: Path) -> None:
    wanted = recipe(timesteps={"distribution": "beta", "alpha": 3, "shift": 2})
    assert build_timesteps(wanted, StableDiffusion3(), tiny_model) == Beta(3, 4, shift=2)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "objective={name: huber}",
            "objective.name: found 'huber', allowed 'composed', 'flow-matching', ",
        ),
        (
            "objective={name: lwd, lower: 2}",
            "objective.lower: found 2, allowed a number of at most 1",
        ),
        ("objective={name: lwd, wavelet: db2}", "objective.wavelet: unknown key"),
        ("objective={name: composed, norm: {name: l2}}", "objective.norm.name: found 'l2'"),
        ("objective={name: composed, norm: {name: pseudo-huber, c: 0}}", "norm.c: found 0"),
        ("objective={name: composed, weighting: {gamma: 5}}", "weighting.gamma: unknown key"),
        ("objective={name: composed, transform: {levels: 0}}", "transform.levels: found 0"),
        ("objective={name: composed, transform: {bands: [{low: 1}]}}", "bands.0.detail: missing"),
        ("timesteps={distribution: beta, alpha: 0}", "timesteps.alpha: found 0"),
    ],
)
def test_problems_name_the_key(recipe: Make, tmp_path: Path, override: str, problem: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe().as_yaml())
    with pytest.raises(UsageError) as error:
        load_recipe(path, [override])
    assert problem in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"name": "snr-huber-wavelet", "wavelet": "x"}, "objective: unknown wavelet 'x'"),
        ({"name": "snr-huber-wavelet", "c_max": 0.1}, "objective: c_max must be at least"),
        (
            {"name": "composed", "transform": {"levels": 2, "bands": [{"detail": [[1, 1, 1]]}]}},
            "objective: bands: detail must have levels=2",
        ),
    ],
)
def test_what_objectives_refuse(recipe: Make, keys: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build_objective(recipe(objective=keys))


def test_crops_must_take_all_levels(recipe: Make, tiny_model: Path) -> None:
    family = StableDiffusion3()
    for levels in (1, 2, 3, 4):
        wanted = recipe(
            objective={"name": "composed", "transform": {"levels": levels}}, crop=64, resolution=64
        )
        step = 2**levels * family.factor
        if 64 % step == 0:
            check_recipe(wanted, family, tiny_model)
            batch = draw(0, shape=(1, 2, 64 // family.factor, 64 // family.factor))
            assert torch.isfinite(build_objective(wanted)(**batch)).all()
            continue
        with pytest.raises(UsageError, match=f"crop: found 64x64, allowed multiples of {step}"):
            check_recipe(wanted, family, tiny_model)


def test_buckets_must_take_all_levels(recipe: Make, tiny_model: Path) -> None:
    family = StableDiffusion3()
    for levels, refused in ((2, family.factor >= 16), (4, True)):
        wanted = recipe(
            objective={"name": "composed", "transform": {"levels": levels}},
            resolution=256,
            crop=None,
            buckets={"longest": 2},
        )
        if not refused:
            check_recipe(wanted, family, tiny_model)
            continue
        with pytest.raises(UsageError, match=r"lower objective\.transform\.levels"):
            check_recipe(wanted, family, tiny_model)
