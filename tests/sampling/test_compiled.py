"""Blocks that are compiled: the same image to rounding, and a cache on disk for the next run."""

import os
from pathlib import Path

import pytest
import torch

from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.compiled import check_compiler, compile_blocks

REQUEST = Request("a cat", 1, width=64, height=64, steps=3, guidance=2.0)


def test_blocks_alone_are_compiled(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, or it would stay as it is left here.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("DIFFUSION4K_CACHE", "/somewhere")
    transformer = sampler.family.transformer_skeleton(sampler.folder)
    compile_blocks(transformer)
    compiled = [name for name, part in transformer.named_modules() if part._compiled_call_impl]
    assert compiled == ["transformer_blocks.0", "transformer_blocks.1"]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere/compiled"


def test_a_missing_compiler_is_named(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiler(torch.device("cpu"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Diffusion4kError, match=r"no C\+\+ compiler: install g\+\+"):
        Sampler(sampler.folder, compile=True)
    monkeypatch.setattr("diffusion4k.sampling.compiled.find_spec", lambda _: None)
    with pytest.raises(Diffusion4kError, match="cuda needs the package triton"):
        check_compiler(torch.device("cuda"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_image_is_the_same_to_rounding(
    sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled = Sampler(sampler.folder, compile=True)
    settings = compiled.settle(REQUEST)
    assert settings.compiled is True and sampler.settle(REQUEST).compiled is None
    exact = sampler.denoise(sampler.settle(REQUEST))
    torch.testing.assert_close(compiled.denoise(settings), exact, rtol=1e-3, atol=1e-3)
    assert any(tmp_path.rglob("*.so")), "kept for the next run"
    # Hooks in the blocks' place are seen by the compiled blocks.
    cached = REQUEST.model_copy(update={"cache": "first-block:0"})
    found = compiled.denoise(compiled.settle(cached))
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3)
