"""A family is one file: there is no list to enter it in."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import diffusion4k.families
from diffusion4k import objectives
from diffusion4k.families import families, family_of
from diffusion4k.families.catalogue import known_models, local_models
from diffusion4k.sampling import Request, Sampler
from tests.families.contract import OBJECTIVES

FILE = """
from diffusion4k.families.sd3 import StableDiffusion3


class Another(StableDiffusion3):
    name = "another"
    pipeline_class = "StableDiffusion3PAGPipeline"
    checkpoints = ()
"""


@pytest.fixture
def another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sixth family in a file of its own."""
    folder = tmp_path / "families"
    folder.mkdir()
    (folder / "another.py").write_text(FILE)
    paths = [*diffusion4k.families.__path__, str(folder)]
    monkeypatch.setattr(diffusion4k.families, "__path__", paths)
    families.cache_clear()
    yield
    families.cache_clear()


@pytest.mark.usefixtures("another")
def test_one_file_is_a_family(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = model / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"_class_name": "StableDiffusion3PAGPipeline"}))
    assert family_of(model).name == "another"
    assert [found.family for found in local_models([model])] == ["sd3", "sd3", "another"]
    assert "another" not in {known.family for known in known_models()}
    sampler = Sampler(model)
    settings = sampler.settle(Request("a", width=64, height=64, steps=1))
    assert torch.isfinite(sampler.denoise(settings)).all()
    assert type(sampler.pipeline).__name__ == "StableDiffusion3PAGPipeline"


def test_every_objective_is_in_the_contract() -> None:
    kinds = {getattr(objectives, name) for name in objectives.__all__} - {objectives.Objective}
    assert {type(each) for each in OBJECTIVES} == kinds
