"""What every family must do with steps that cost less; part of `tests.families.contract`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffusion4k.errors import UsageError
from diffusion4k.families.calls import is_guided
from diffusion4k.families.stages import StageOptions
from diffusion4k.sampling import Request, Sampler

STEPS = 6


class StepsContract:
    """Tests of caches between steps and of guidance; the attributes are those of a contract."""

    factor: int | None
    width: int
    height: int

    @pytest.fixture(scope="class")
    @classmethod
    def sampler(cls, model: Path) -> Sampler:
        return Sampler(model, factor=cls.factor)

    def made(self, sampler: Sampler, **options: Any) -> Tensor:
        """The latents of an image, guided where the family makes a second prediction."""
        kind = sampler.family.guidance_kind(sampler.folder)
        asked = {
            "width": self.width,
            "height": self.height,
            "steps": STEPS,
            "guidance": 3.0 if is_guided(kind, 3.0) else 0.0,
        }
        request = Request("a red cat", 5, **asked | options)
        inside = str(request.cache).startswith("first-block")
        if inside and not sampler.family.has_block_cache:
            with pytest.raises(UsageError, match="cannot skip the blocks"):
                sampler.settle(request)
            pytest.skip(f"diffusers cannot skip the blocks of {sampler.family.name} models")
        return sampler.denoise(sampler.settle(request))

    @pytest.fixture(scope="class")
    def plain(self, sampler: Sampler) -> Tensor:
        return self.made(sampler)

    @pytest.mark.parametrize("cache", ["first-block:0", "taylorseer:1", "off"])
    def test_an_exact_cache_changes_nothing(
        self, sampler: Sampler, plain: Tensor, cache: str
    ) -> None:
        assert torch.equal(self.made(sampler, cache=cache), plain)
        assert torch.equal(self.made(sampler), plain), "hooks were left behind"

    @pytest.mark.parametrize("cache", ["first-block:1", "taylorseer:2"])
    def test_a_cache_saves_calls(self, sampler: Sampler, plain: Tensor, cache: str) -> None:
        """Of the last blocks; the image stays near, and comes out the same again."""
        blocks = [
            part[-1]
            for part in sampler.pipeline.transformer.children()
            if isinstance(part, torch.nn.ModuleList)
        ]
        calls: list[int] = []
        # Inside of the block: what is skipped is its own computation, not the hook around it.
        leaf = next(part for part in blocks[-1].modules() if isinstance(part, torch.nn.Linear))
        handle = leaf.register_forward_hook(lambda *_: calls.append(1))
        exact = self.made(sampler)
        all_calls = len(calls)
        calls.clear()
        found = self.made(sampler, cache=cache)
        assert 0 < len(calls) < all_calls
        handle.remove()
        assert not torch.equal(found, exact)
        assert torch.equal(self.made(sampler, cache=cache), found)
        assert (found - exact).std() < exact.std()

    def test_a_cache_goes_with_windows_that_move(self, sampler: Sampler) -> None:
        step = sampler.family.size_step
        options: dict[str, Any] = {
            "width": 6 * step,
            "height": 4 * step,
            "draft": 3 * step,
            "stage_options": StageOptions(window=2, strength=1.0),
        }
        exact = self.made(sampler, **options)
        # The first grid holds for some steps then, so that even an exact cache is another image.
        assert torch.equal(self.made(sampler, cache="taylorseer:1", **options), exact)
        for cache in ("taylorseer", "first-block:0.1"):
            found = self.made(sampler, cache=cache, **options)
            assert found.isfinite().all() and (found - exact).std() < 2 * exact.std()

    def test_guidance_within_an_interval(self, sampler: Sampler, plain: Tensor) -> None:
        if not is_guided(sampler.family.guidance_kind(sampler.folder), 3.0):
            with pytest.raises(UsageError, match="no second prediction"):
                self.made(sampler, guidance_interval=(0.2, 0.8))
            return
        assert torch.equal(self.made(sampler, guidance_interval=(0, 1)), plain)
        nowhere = self.made(sampler, guidance_interval=(0, 1e-6))
        # To rounding, as some pipelines give the guided prediction the length of the other.
        unguided = self.made(sampler, guidance=1.0)
        torch.testing.assert_close(nowhere, unguided, rtol=1e-4, atol=1e-4)
        # Of the first step alone: some families have no low noise levels in so few steps.
        first = self.made(sampler, guidance_interval=(0.97, 1))
        assert not torch.equal(first, plain) and not torch.equal(first, unguided)

    def test_projected_guidance_without_its_changes_is_the_usual(
        self, sampler: Sampler, plain: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing projected away, nothing cut, no momentum: the pipeline's own formula."""
        if not is_guided(sampler.family.guidance_kind(sampler.folder), 3.0):
            with pytest.raises(UsageError, match="no second prediction"):
                self.made(sampler, projected_guidance=True)
            return
        assert not torch.equal(self.made(sampler, projected_guidance=True), plain)
        own = {"eta": 1.0, "radius": 1e6, "momentum": 0.0}
        monkeypatch.setattr(
            "diffusion4k.sampling.guidance.ProjectedGuidance.__init__.__kwdefaults__", own
        )
        found = self.made(sampler, projected_guidance=True)
        torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)

    def test_halves_one_after_the_other(
        self, sampler: Sampler, plain: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sampler.placement, "halves_apart", True)
        torch.testing.assert_close(self.made(sampler), plain, rtol=1e-4, atol=1e-4)
