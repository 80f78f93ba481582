"""`--model FILE.safetensors`: a transformer in one file is a model with the parts of another."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of, file_model, resolve
from diffusion4k.interchange.export import export_part
from diffusion4k.models.published import build_published
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.fingerprint import fingerprint
from tests.families.test_flux import tiny_flux


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "diffusion4k" / "files"


@pytest.fixture
def file(tiny_model: Path, tmp_path: Path) -> Path:
    """A file in the original layout, and beside it where its other parts are."""
    path = export_part(tiny_model, tmp_path / "own" / "one.safetensors")
    path.with_suffix(".json").write_text(json.dumps({"parts_from": str(tiny_model), "steps": 3}))
    return path


def test_it_is_a_model(file: Path, tiny_model: Path, cache: Path) -> None:
    folder = resolve(str(file))
    assert folder == resolve(file) and folder.parent == cache
    family = family_of(folder)
    assert family.defaults(folder).steps == 3
    found = family.load_transformer(folder, dtype=torch.float32).state_dict()
    wanted = family_of(tiny_model).load_transformer(tiny_model, dtype=torch.float32).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    assert Blueprint(str(file)).components == Blueprint(tiny_model).components
    small = sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_dir())
    assert small < 10_000  # the weights stay where they are


def test_it_makes_the_same_image(file: Path, tiny_model: Path) -> None:
    request = Request("a lake", width=64, height=64, steps=2, guidance=2.0)
    latents = []
    for model in (str(file), str(tiny_model)):
        sampler = Sampler(model)
        latents.append(sampler.denoise(sampler.settle(request)))
    assert torch.equal(*latents)


def test_another_file_of_the_name_is_another_model(file: Path) -> None:
    before = resolve(file)
    first = fingerprint(before)
    weights = load_file(file)
    export = {name: value + 1 for name, value in weights.items()}
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(export, file, metadata)
    assert resolve(file) != before
    assert fingerprint(resolve(file)) != first


def test_parts_beside_it_or_bundled(tiny_model: Path, tmp_path: Path) -> None:
    file = export_part("pocket", tmp_path / "pocket.safetensors")
    folder = resolve(file)
    assert family_of(folder).name == "sd3"
    file = export_part(tiny_model, tmp_path / "x" / "one.safetensors")
    with pytest.raises(UsageError, match=r'say in .*one\.json .* \{"parts_from": "folder or own'):
        resolve(file)
    (tmp_path / "x" / "whole").symlink_to(tiny_model)
    file.with_suffix(".json").write_text('{"parts_from": "whole"}')
    assert family_of(resolve(file)).name == "sd3"


def test_a_published_size_is_known_by_its_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file as its makers publish it says nothing of itself."""
    folder = tiny_flux(tmp_path / "model", distilled=False)
    config = json.loads((folder / "transformer" / "config.json").read_text())
    published = {"black-forest-labs/FLUX.1-schnell": config}
    monkeypatch.setattr(file_model, "_published", lambda family: published.items())
    file = export_part(folder, tmp_path / "one.safetensors", prefix=False)
    save_file(load_file(file), file)
    found = file_model.identified(file_model.TensorFile(file))
    assert (found.family.name, found.parts_from) == ("flux", "black-forest-labs/FLUX.1-schnell")
    with pytest.raises(Diffusion4kError, match=r"FLUX\.1-schnell: not on this machine, and the"):
        resolve(file)


def test_published_configurations_are_tried() -> None:
    from diffusion4k.families import families

    tried = [hub_id for hub_id, _ in file_model._published(families()["FluxPipeline"])]
    assert tried == ["black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell"]
    assert build_published(tried[0], "transformer") is not None


def test_what_is_refused(file: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.ckpt")
    with pytest.raises(UsageError, match=r"a\.ckpt: a pickle"):
        resolve(tmp_path / "a.ckpt")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(Diffusion4kError, match="damaged safetensors file"):
        resolve(cut)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.ones(1)}, other)
    with pytest.raises(Diffusion4kError, match=r"not a transformer of .*its first layer is a"):
        resolve(other)
    file.with_suffix(".json").write_text('{"parts_from": "nowhere"}')
    with pytest.raises(UsageError, match=r"one\.json: parts_from is 'nowhere': allowed"):
        resolve(file)
    with safe_open(file, framework="pt") as opened:
        record = json.loads(opened.metadata()["diffusion4k"])
    record["config"]["num_layers"] = 10**6
    save_file(load_file(file), other, {"diffusion4k": json.dumps(record)})
    with pytest.raises(Diffusion4kError, match=r"num_layers is 1000000: allowed is a whole number"):
        resolve(other)
    file.with_suffix(".json").write_text("no JSON")
    with pytest.raises(Diffusion4kError, match=r"one\.json: not valid JSON"):
        resolve(file)
