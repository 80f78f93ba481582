"""Blocks that are compiled: the same image to rounding, and a cache on disk for the next run."""

import os
import platform
from pathlib import Path

import pytest
import torch
from torch._inductor import config, cpu_vec_isa

from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.compiled import _check_instructions_once, check_compiler, compile_blocks

REQUEST = Request("a cat", 1, width=64, height=64, steps=3, guidance=2.0)
CPU = torch.device("cpu")


def test_blocks_alone_are_compiled(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, or it would stay as it is left here.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("DIFFUSION4K_CACHE", "/somewhere")
    monkeypatch.setattr("diffusion4k.sampling.compiled._check_instructions_once", lambda _: None)
    transformer = sampler.family.transformer_skeleton(sampler.folder)
    compile_blocks(transformer, CPU)
    compiled = [name for name, part in transformer.named_modules() if part._compiled_call_impl]
    assert compiled == ["transformer_blocks.0", "transformer_blocks.1"]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere/compiled"


def test_a_missing_compiler_is_named(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiler(CPU)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Diffusion4kError, match=r"no C\+\+ compiler: install g\+\+"):
        Sampler(sampler.folder, compile=True)
    monkeypatch.setattr("diffusion4k.sampling.compiled.find_spec", lambda _: None)
    with pytest.raises(Diffusion4kError, match="cuda needs the package triton"):
        check_compiler(torch.device("cuda"))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="asked of such processors alone")
def test_instructions_are_checked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def check_build(isa: cpu_vec_isa.VecISA, _: str) -> bool:
        asked.append(str(isa))
        return works

    monkeypatch.setattr(cpu_vec_isa.VecISA, "check_build", check_build)
    monkeypatch.setattr(config.cpp, "vec_isa_ok", None)
    for works, times in ((False, 2), (True, 1)):
        for run in range(2):
            cpu_vec_isa.valid_vec_isa_list.cache_clear()
            for isa in cpu_vec_isa.supported_vec_isa_list:
                type(isa)._VecISA__bool__impl.cache_clear()
            config.cpp.vec_isa_ok = None
            asked.clear()
            _check_instructions_once(tmp_path)
            assert bool(asked) == (run < times), "again where something does not work"
            assert config.cpp.vec_isa_ok is (True if works else None)
    cpu_vec_isa.valid_vec_isa_list.cache_clear()


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
