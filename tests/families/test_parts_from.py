"""Models whose folder or repository holds a transformer alone: the rest comes from elsewhere."""

import fnmatch
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from diffusers import DiffusionPipeline

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of, resolve
from diffusion4k.families.catalogue import local_models
from diffusion4k.models import folder as folder_module
from diffusion4k.models.folder import (
    component_folder,
    resolve_autoencoder,
)
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.training.checkpoint.export import export_pipeline

PIXART_2K = "PixArt-alpha/PixArt-Sigma-XL-2-2K-MS"
NO_T5 = {"text_encoder_3": None, "tokenizer_3": None}
PIXART_1K = "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"


@pytest.fixture
def alone(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of the transformer alone, beside a whole model."""
    shutil.copytree(tiny_model, tmp_path / "whole")
    folder = tmp_path / "alone"
    shutil.copytree(tiny_model / "transformer", folder / "transformer")
    (folder / "diffusion4k.json").write_text('{"parts_from": "../whole", "steps": 3}')
    return folder


def test_a_transformer_alone_is_a_model(alone: Path, tiny_model: Path) -> None:
    assert resolve(str(alone)) == alone
    family = family_of(alone)
    pipeline = family.load_pipeline(alone, dtype=torch.float32)
    stock = DiffusionPipeline.from_pretrained(tiny_model, **NO_T5)
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        for key, value in getattr(stock, name).state_dict().items():
            assert torch.equal(value, getattr(pipeline, name).state_dict()[key]), (name, key)
    assert pipeline.scheduler.config.shift == 3.0
    assert family.defaults(alone).steps == 3
    assert family.timestep_shift(alone, 64) == 3.0
    assert resolve_autoencoder(str(alone)) == component_folder(alone, "vae")


def test_it_is_planned_listed_and_told_from_others(alone: Path, tiny_model: Path) -> None:
    assert Blueprint(alone).components == Blueprint(tiny_model).components
    assert Blueprint(alone).build("text_encoder_2") is not None
    found = {Path(model.name).name: model.family for model in local_models([alone.parent])}
    assert found["alone"] == found["whole"] == "sd3"
    assert fingerprint(alone) == fingerprint(tiny_model)
    (alone / "transformer" / "config.json").write_text(
        (alone / "transformer" / "config.json").read_text() + " "
    )
    assert fingerprint(alone) != fingerprint(tiny_model)


def test_a_model_trained_from_it_is_whole(alone: Path, tmp_path: Path) -> None:
    family = family_of(alone)
    transformer = family.load_transformer(alone, dtype=torch.float32)
    out = export_pipeline(
        tmp_path / "out", base=alone, family=family, transformer=transformer, card="card"
    )
    assert json.loads((out / "diffusion4k.json").read_text()) == {"steps": 3}
    assert DiffusionPipeline.from_pretrained(out, **NO_T5).vae is not None


def test_its_own_transformer_is_never_that_of_the_other(alone: Path) -> None:
    shutil.rmtree(alone / "transformer")
    with pytest.raises(Diffusion4kError, match="alone/transformer: no such folder"):
        family_of(alone)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("../absent", r"parts_from is '\.\./absent', which is not a folder .*: correct it"),
        ("owner/name", r"not in the hub's cache: `hf download owner/name` gets it"),
        (".", "parts_from is '.', which is not a folder in diffusers layout"),
        (3, "parts_from is 3: allowed is a folder"),
    ],
)
def test_parts_that_are_not_there(alone: Path, stated: object, message: str) -> None:
    (alone / "diffusion4k.json").write_text(json.dumps({"parts_from": stated}))
    with pytest.raises(Diffusion4kError, match=message):
        family_of(alone)


def test_a_folder_of_a_transformer_alone_says_what_it_lacks(alone: Path) -> None:
    (alone / "diffusion4k.json").unlink()
    with pytest.raises(UsageError, match=r'no model_index\.json .* \{"parts_from": "folder or own'):
        resolve(alone)


def test_bundled_models_stand_beside_each_other(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pocket = alone.parent / "model"
    (alone.parent / "whole").rename(pocket)
    alone.rename(alone.parent / "base")
    monkeypatch.setattr(folder_module, "POCKET_FOLDER", pocket)
    (pocket.with_name("base") / "diffusion4k.json").write_text('{"parts_from": "../model"}')
    base = resolve("pocket-base")
    assert component_folder(base, "vae").resolve() == pocket / "vae"
    assert {"pocket", "pocket-base"} <= {m.name for m in local_models() if m.family == "sd3"}
    assert Blueprint("pocket-base").folder == base
    shutil.rmtree(base)
    with pytest.raises(Diffusion4kError, match="the model pocket-base is missing from this inst"):
        resolve("pocket-base")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], list[list[str]]]:
    """A hub of folders; entering one gives the list of what is asked of the hub from then on."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    repositories: dict[str, Path] = {}
    asked: list[list[str]] = []

    def snapshot_download(
        hub_id: str, allow_patterns: list[str], ignore_patterns: list[str] | None = None
    ) -> str:
        asked.append([hub_id, *allow_patterns])
        folder = cache / f"models--{hub_id.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text("abc")
        source = repositories[hub_id]
        for path in source.rglob("*"):
            name = path.relative_to(source).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, each) for each in allow_patterns):
                target = folder / "snapshots" / "abc" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        return str(folder / "snapshots" / "abc")

    def enter(hub_id: str, folder: Path) -> list[list[str]]:
        repositories[hub_id] = folder
        return asked

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda hub_id, name: next(
            (
                str(path)
                for path in cache.glob(f"models--{hub_id.replace('/', '--')}/snapshots/*/{name}")
            ),
            None,
        ),
    )
    return enter


def test_a_published_transformer_alone_takes_its_parts_from_the_repository_that_has_them(
    alone: Path, hub: Callable[[str, Path], list[list[str]]]
) -> None:
    # As PixArt-Sigma's 2K repository is: neither an index nor settings.
    (alone / "diffusion4k.json").unlink()
    whole = alone.parent / "whole"
    hub(PIXART_2K, alone)
    asked = hub(PIXART_1K, whole)
    folder = resolve(PIXART_2K)
    assert family_of(folder).load_pipeline(folder, dtype=torch.float32).vae is not None
    assert [PIXART_2K, "model_index.json", "diffusion4k.json", "transformer/*"] in asked
    of_the_other = {
        pattern for hub_id, *patterns in asked if hub_id == PIXART_1K for pattern in patterns
    }
    assert "vae/*" in of_the_other and "transformer/*" not in of_the_other
    assert PIXART_2K in {model.name for model in local_models() if model.family}


def test_a_repository_that_names_its_other_parts(
    alone: Path, hub: Callable[[str, Path], list[list[str]]]
) -> None:
    (alone / "diffusion4k.json").write_text('{"parts_from": "owner/whole", "steps": 5}')
    hub("owner/alone", alone)
    hub("owner/whole", alone.parent / "whole")
    folder = resolve("owner/alone")
    assert family_of(folder).defaults(folder).steps == 5
    assert resolve_autoencoder("owner/alone").is_dir()


def test_a_repository_that_is_no_pipeline_does_not_blame_the_network(
    tmp_path: Path, hub: Callable[[str, Path], list[list[str]]]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"")
    hub("owner/other", tmp_path / "other")
    with pytest.raises(Diffusion4kError, match=r"owner/other: the repository has no model_index"):
        resolve("owner/other")
