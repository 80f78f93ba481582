"""`diffusion4k models` as a user runs it."""

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from diffusion4k.cli.main import main


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["diffusion4k", "models", *words])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code in (0, None)


def test_families_and_local_models(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "runs" / "model"))
    shutil.rmtree(Path(shutil.copytree(tiny_model, tmp_path / "runs" / "half")) / "vae")
    _run(monkeypatch, str(tmp_path / "runs"))
    told = capsys.readouterr().out
    assert "sana: SanaPipeline, F=32" in told
    assert "FLUX.1-schnell: 4 steps, guidance 0, 4096x4096; Apache-2.0; gated" in told
    assert "  pocket: sd3" in told
    assert f"  {model}: sd3" in told
    assert "half: cannot be used: " in told and "vae: no such folder" in told


def test_json(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    _run(monkeypatch, "--json")
    told = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in told["local"]] == ["pocket", "pocket-base"]
    assert {"family", "defaults", "licence"} <= told["known"][0].keys()
