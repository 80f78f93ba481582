"""Guidance of the halves of a step, against formulas written out."""

import math

import pytest
import torch
from torch import Tensor

from diffusion4k.errors import UsageError
from diffusion4k.families.spatial import NoiseLevel, SpatialCall
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.guidance import GuidedHalves, GuidedTurns, ProjectedGuidance

SCALE, ETA, RADIUS, MOMENTUM = 7.0, 0.3, 0.1, -0.5
SHAPE = (1, 4, 6, 8)


def _call(latents: Tensor, sigma: float) -> SpatialCall:
    level = NoiseLevel.flow(torch.full((len(latents),), sigma))
    return SpatialCall(latents, level, lambda *_: latents, lambda predicted: predicted)


def _paper(
    z: Tensor, conditional: Tensor, negative: Tensor, sigma: float, average: Tensor
) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of arXiv 2410.02416 in float64, for one sample of a flow; and its average."""
    d_c, d_u = ((z - sigma * v).double().flatten() for v in (conditional, negative))
    average = d_c - d_u + MOMENTUM * average
    radius = RADIUS * math.sqrt(z.numel())
    delta = average * min(1.0, radius / average.norm().item())
    unit = d_c / d_c.norm()
    parallel = (delta @ unit) * unit
    guided = d_c + (SCALE - 1) * (delta - parallel + ETA * parallel)
    return (z.double().flatten() - guided).view(z.shape) / sigma, average


def test_projected_guidance_is_the_paper_s_over_several_steps() -> None:
    torch.manual_seed(0)
    projected = ProjectedGuidance(SCALE, eta=ETA, radius=RADIUS, momentum=MOMENTUM)
    halves = GuidedHalves(projected=projected)
    average = torch.zeros(math.prod(SHAPE), dtype=torch.float64)
    for sigma in (0.9, 0.6, 0.2):
        z, negative, conditional = torch.randn(3, *SHAPE)
        both = torch.cat([negative, conditional])
        call = _call(torch.cat([z, z]), sigma)
        found = halves.predict(call, lambda _, samples, __, both=both: both[samples])
        expected, average = _paper(z, conditional, negative, sigma, average)
        assert torch.equal(found[:1], found[1:]), "the pipeline's formula must leave it as it is"
        torch.testing.assert_close(found[:1].double(), expected, rtol=1e-4, atol=1e-4)


def test_the_variance_that_a_network_predicts_stays() -> None:
    torch.manual_seed(0)
    latents, both = torch.randn(2, 4, 6, 8), torch.randn(2, 8, 6, 8)
    halves = GuidedHalves(projected=ProjectedGuidance(SCALE))
    found = halves.predict(_call(latents, 0.5), lambda _, samples, __: both[samples])
    assert torch.equal(found[0, 4:], both[1, 4:])
    assert not torch.equal(found[0, :4], both[1, :4])


@pytest.mark.parametrize("projected", [False, True])
def test_a_pipeline_that_calls_twice_gets_the_same(projected: bool) -> None:
    """Its formula of two calls comes to that of two halves, step by step."""
    torch.manual_seed(0)
    interval = (0.3, 0.9)
    first, second = (ProjectedGuidance(SCALE) if projected else None for _ in range(2))
    halves = GuidedHalves(interval=interval, projected=first)
    turns = GuidedTurns(SCALE, interval, second)
    for sigma in (0.95, 0.7, 0.4, 0.1):
        z, *both = torch.randn(3, *SHAPE)
        made: list[int] = []

        def predict(
            call: SpatialCall,
            samples: Tensor,
            name: str,
            both: list[Tensor] = both,
            made: list[int] = made,
        ) -> Tensor:
            made.append(1)
            if len(call.latents) == 2:
                return torch.cat(both)[samples]
            return both[0 if name == "negative" else 1]

        negative, prompt = halves.predict(_call(torch.cat([z, z]), sigma), predict).chunk(2)
        expected = negative + SCALE * (prompt - negative)
        made.clear()
        prompt, negative = (turns.predict(_call(z, sigma), predict) for _ in range(2))
        assert len(made) == (2 if 0.3 <= sigma <= 0.9 else 1)
        found = negative + SCALE * (prompt - negative)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prompt_first", [False, True])
@pytest.mark.parametrize("is_apart", [False, True])
def test_the_second_prediction_is_made_within_the_interval_alone(
    prompt_first: bool, is_apart: bool
) -> None:
    halves = GuidedHalves(prompt_first, interval=(0.3, 0.7), is_apart=is_apart)
    both = torch.randn(2, 4, 6, 8)
    prompt = both[:1] if prompt_first else both[1:]
    for sigma, acts in ((0.2, False), (0.3, True), (0.5, True), (0.7, True), (0.8, False)):
        made: list[int] = []

        def predict(_: SpatialCall, samples: Tensor, __: str, made: list[int] = made) -> Tensor:
            made.extend(samples.tolist())
            return both[samples]

        found = halves.predict(_call(torch.randn(2, 4, 6, 8), sigma), predict)
        assert len(made) == (2 if acts else 1)
        assert torch.equal(found, both if acts else torch.cat([prompt, prompt]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance_interval": (0.8, 0.2)}, "interval 0.8,0.2: allowed are noise levels"),
        ({"guidance_interval": (0, 2)}, "interval 0,2: allowed are noise levels"),
        ({"guidance_interval": (0.1, 0.5), "guidance": 1.0}, "no second prediction at guidance 1"),
        ({"projected_guidance": True, "guidance": 0.0}, "projected guidance: .* no second"),
        ({"guidance_interval": "0.5"}, "guidance interval 0.5: give the lowest and the highest"),
    ],
)
def test_what_cannot_be_is_refused(
    sampler: Sampler, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sampler.settle(Request("a cat", width=64, height=64, **options))


def test_names_of_images_without_these_options_stay(sampler: Sampler) -> None:
    settings = sampler.settle(Request("a cat", width=64, height=64, projected_guidance=False))
    assert settings.guidance_interval is settings.projected_guidance is settings.cache is None
    assert settings.compiled is settings.attention is None
