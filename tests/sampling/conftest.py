"""A loaded sampler on the tiny model, shared by the tests of sampling."""

from pathlib import Path

import pytest

from diffusion4k.sampling import Request, Sampler, SamplingSettings


@pytest.fixture(scope="session")
def sampler(tiny_model: Path) -> Sampler:
    """The tiny model, its pipeline loaded once for all tests."""
    return Sampler(tiny_model)


@pytest.fixture
def settings(sampler: Sampler) -> SamplingSettings:
    """A small image in two steps, with guidance."""
    return sampler.settle(Request("a cat", seed=3, width=64, height=96, steps=2))
