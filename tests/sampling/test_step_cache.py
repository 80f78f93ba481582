"""Caches between steps: what is asked for, what is recorded, what is skipped."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.stages import StageOptions
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.cache_option import CacheOption
from diffusion4k.sampling.mag_ratios import mag_ratios

SIZE: dict[str, Any] = {"width": 64, "height": 64, "steps": 8, "guidance": 1.0}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("off", None),
        ("first-block", "first-block:0.05"),
        ("first-block:0.10", "first-block:0.1"),
        ("taylorseer", "taylorseer:3"),
        ("taylorseer:5", "taylorseer:5"),
        ("mag", "mag:0.06"),
    ],
)
def test_a_cache_is_named_with_its_number(text: str | None, found: str | None) -> None:
    option = CacheOption.of(text)
    assert (option and str(option)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("on", "off:1", "first-block:", "first-block:-1", "first-block:nan", "mag:2"),
        *("taylorseer:0", "taylorseer:2.5", "taylorseer:101", "taylorseer:inf"),
    ],
)
def test_other_caches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"cache {text}: allowed"):
        CacheOption.of(text)


def test_taylor_s_formula(sampler: Sampler) -> None:
    """A prediction that is linear in the number of the step is extrapolated without error."""
    from diffusion4k.families.spatial import NoiseLevel, SpatialCall
    from diffusion4k.sampling.step_cache import Prediction, StepCache

    start, slope = torch.randn(2, 1, 4, 4, 4)
    prediction = Prediction()
    cache = StepCache(
        CacheOption("taylorseer", 4), prediction, sampler.pipeline.transformer, sampler.family, 12
    )
    computed = []
    for step in range(12):

        def predict(*_: Any, step: int = step) -> torch.Tensor:
            computed.append(step)
            return start + step * slope

        level = NoiseLevel.flow(torch.ones(1))
        call = SpatialCall(start, level, predict, lambda predicted: predicted)
        with cache.part("all"):
            found = prediction(call, torch.tensor([0]))
        torch.testing.assert_close(found, start + step * slope, rtol=1e-5, atol=1e-5)
    cache.take_off()
    assert computed == [0, 1, 2, 4, 8, 11], "warm-up, each fourth, the last"


@pytest.fixture(scope="module")
def with_ratios(
    sampler: Sampler, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Sampler, list[float]]:
    """The tiny model with measured ratios in its folder."""
    ratios = mag_ratios(sampler, Request("a cat", 1, **SIZE))
    model = Path(shutil.copytree(sampler.folder, tmp_path_factory.mktemp("mag") / "model"))
    (model / "diffusion4k.json").write_text(json.dumps({"mag_ratios": ratios}))
    return Sampler(model), ratios


def test_ratios_are_those_of_the_blocks(with_ratios: tuple[Sampler, list[float]]) -> None:
    """Mean over the tokens of how the length of what all blocks add changes, by hooks of torch."""
    sampler, ratios = with_ratios
    blocks = sampler.pipeline.transformer.transformer_blocks
    begun: list[torch.Tensor] = []
    added: list[torch.Tensor] = []
    handles = [
        blocks[0].register_forward_pre_hook(
            lambda _, __, given: begun.append(given["hidden_states"]), with_kwargs=True
        ),
        blocks[-1].register_forward_hook(lambda _, __, out: added.append(out[1] - begun[-1])),
    ]
    sampler.denoise(sampler.settle(Request("a cat", 1, **SIZE)))
    for handle in handles:
        handle.remove()
    lengths = [change.norm(dim=-1) for change in added]
    pairs = zip(lengths[1:], lengths, strict=False)
    expected = [1.0, *((now / before).mean().item() for now, before in pairs)]
    assert ratios == pytest.approx(expected, rel=1e-3)


def test_mag_skips_blocks(with_ratios: tuple[Sampler, list[float]]) -> None:
    sampler, _ = with_ratios
    exact = sampler.denoise(sampler.settle(Request("a cat", 1, **SIZE)))
    settings = sampler.settle(Request("a cat", 1, cache="mag:1", **SIZE))
    assert settings.cache is not None and settings.cache.startswith("mag:1:")
    found = sampler.denoise(settings)
    assert not torch.equal(found, exact) and (found - exact).std() < exact.std()
    assert torch.equal(sampler.denoise(settings), found)
    assert torch.equal(sampler.denoise(sampler.settle(Request("a cat", 1, **SIZE))), exact)


def test_mag_is_refused_where_it_cannot_count(
    sampler: Sampler, with_ratios: tuple[Sampler, list[float]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="states no mag_ratios"):
        sampler.settle(Request("a cat", cache="mag", **SIZE))
    able, _ = with_ratios
    step = able.family.size_step
    staged = Request(
        "a cat",
        width=4 * step,
        height=4 * step,
        draft=2 * step,
        cache="mag",
        stage_options=StageOptions(window=2),
    )
    with pytest.raises(UsageError, match=r"the windows of stage .* move"):
        able.settle(staged)
    guided = {**SIZE, "guidance": 3.0}
    with pytest.raises(UsageError, match="limited to an interval"):
        able.settle(Request("a cat", cache="mag", guidance_interval=(0.1, 0.5), **guided))
    model = Path(shutil.copytree(sampler.folder, tmp_path / "model"))
    (model / "diffusion4k.json").write_text('{"mag_ratios": [1, "x"]}')
    with pytest.raises(Diffusion4kError, match="mag_ratios: found"):
        Sampler(model).settle(Request("a cat", cache="mag", **SIZE))


def test_a_cache_of_blocks_does_not_go_with_blocks_that_travel(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler.placement, "streams_blocks", True)
    with pytest.raises(UsageError, match="take taylorseer, or --memory balanced"):
        sampler.settle(Request("a cat", cache="first-block", **SIZE))
    assert sampler.settle(Request("a cat", cache="taylorseer", **SIZE)).cache == "taylorseer:3"
