"""All measures with networks from one section, and what is said of those that cannot be made."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import save_file

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Distance, Mean, Measure, Unavailable
from diffusion4k.metrics.networks import Networks
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.registry import make_measures
from tests.metrics.kinds import without_weights
from tests.metrics.random_weights import inception_weights, lpips_weights
from tests.metrics.stand_ins import install_hpsv3, install_pyiqa
from tests.metrics.tiny_networks import (
    photo_like,
    tiny_aesthetics,
    tiny_clip_folder,
    tiny_dino_folder,
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder = tmp_path_factory.mktemp("networks")
    save_file(inception_weights(), folder / "inception.safetensors")
    trunk, heads = lpips_weights("alex")
    torch.save(trunk, folder / "trunk.pth")
    save_file(heads, folder / "heads.safetensors")
    tiny_aesthetics(folder / "linear.pth")
    (folder / "HPSv3.safetensors").write_bytes(b"weights")
    clip = tiny_clip_folder(folder / "clip")
    return Networks(
        inception=str(folder / "inception.safetensors"),
        fid_side=64,
        patch_size=32,
        patches_per_image=2,
        clip=clip,
        aesthetics_clip=clip,
        aesthetics_mlp=str(folder / "linear.pth"),
        cmmd_clip=clip,
        dinov2=tiny_dino_folder(folder / "dino"),
        pickscore=tiny_clip_folder(folder / "pick", seed=5),
        lpips=str(folder / "trunk.pth"),
        lpips_heads=str(folder / "heads.safetensors"),
        hpsv3=str(folder / "HPSv3.safetensors"),
    )


ALL = {
    *("psnr", "ssim", "lpips", "fid", "kid", "fid_patch", "cmmd", "fd_dinov2", "clip_score"),
    *("clip_long_prompts", "aesthetics", "pickscore", "hpsv3", "niqe", "musiq", "maniqa"),
}


def network_measures(networks: Networks) -> tuple[list[Measure], list[Unavailable]]:
    """Those with networks, and PSNR and SSIM."""
    return make_measures(networks=networks, wanted=lambda kind: not without_weights(kind))


def columns(measures: list[Measure]) -> list[str]:
    return [column.name for measure in measures for column in measure.columns]


@pytest.mark.filterwarnings("ignore::diffusion4k.metrics.frechet.FewSamplesWarning")
def test_every_column_gets_what_it_needs(
    settings: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_pyiqa(monkeypatch)
    install_hpsv3(monkeypatch)
    measures, missing = network_measures(settings)
    assert missing == []
    assert sorted(columns(measures)) == sorted(ALL)
    assert len({measure.name for measure in measures}) == len(measures)
    folders = []
    for name in "ab":
        pictures = []
        for seed in range(2):
            path = tmp_path / f"{name}{seed}.png"
            photo_like(ord(name) + seed).save(path)
            pictures.append(MeasuredImage(path, "a lake", tmp_path / f"a{seed}.png"))
        folders.append(pictures)
    for measure in measures:
        found = [[measure(picture) for picture in pictures] for pictures in folders]
        for column in measure.columns:
            if isinstance(column, Mean):
                assert all(column.name in x.numbers for x in found[1])
            elif isinstance(column, Distance):
                features = [[x.features[column.features] for x in folder] for folder in found]
                assert all(x.dtype == np.float32 and x.ndim == 2 for x in features[0])
                assert np.isfinite(column.distance(*features))
        needed = measure.needs_prompt or measure.needs_original
        assert needed == (measure.name in ("lpips", "fidelity", "clip_score", "pickscore", "hpsv3"))


def test_nothing_named_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    measures, missing = network_measures(Networks())
    assert columns(measures) == ["psnr", "ssim"]
    told = [name for lack in missing for name in lack.columns]
    assert sorted([*told, "psnr", "ssim"]) == sorted(ALL)
    assert len({lack.reason for lack in missing}) == len(missing)
    by_columns = {lack.columns: lack.reason for lack in missing}
    assert "`inception` names none" in by_columns["fid", "kid", "fid_patch"]
    assert "pip install pyiqa" in by_columns["niqe", "musiq", "maniqa"]
    assert all("\n" not in lack.reason for lack in missing)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("inception", "cut.pth", "cannot be read as weights"),
        ("aesthetics_mlp", "cut.pth#sha256=" + "a" * 64, "expected " + "a" * 64),
        ("dinov2", "clip", "its config is that of a clip model"),
        ("cmmd_clip", "nowhere", "no clip model can be loaded from there"),
        ("lpips", "gone.pth", "gone.pth: no such file"),
    ],
)
def test_named_weights_that_fail_are_an_error(
    settings: Networks, tmp_path: Path, key: str, value: str, message: str
) -> None:
    (tmp_path / "cut.pth").write_bytes(b"PK nonsense")
    place = settings.clip if value == "clip" else str(tmp_path / value)
    bad = settings.model_copy(update={"hpsv3": None, key: place})
    with pytest.raises(Diffusion4kError, match=message) as caught:
        network_measures(bad)
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed_is_missing(
    settings: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pyiqa", "hpsv3"):
        monkeypatch.setitem(sys.modules, package, None)
    measures, missing = network_measures(settings)
    assert "clip_score" in columns(measures)
    told = {name for lack in missing for name in lack.columns}
    assert told == {"niqe", "musiq", "maniqa", "hpsv3"}


def test_scores_of_pyiqa_fail_only_where_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install_pyiqa(monkeypatch)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(sys.modules["pyiqa"], "create_metric", fail)
    _, missing = network_measures(Networks())
    assert any("niqe" in lack.columns and "no network" in lack.reason for lack in missing)
    with pytest.raises(Diffusion4kError, match="no network"):
        network_measures(Networks(pyiqa=("niqe",)))


def test_settings_are_checked() -> None:
    for wrong in ({"inceptoin": "a"}, {"fid_side": 0}, {"long_prompts": "squeeze"}, {"clip": ""}):
        with pytest.raises(ValidationError):
            Networks.model_validate(wrong)
    assert Networks.model_validate({"fid_side": None, "pyiqa": ["niqe"]}).pyiqa == ("niqe",)


def test_section_of_the_manual() -> None:
    manual = Path(__file__).parents[2] / "docs" / "metric-networks.md"
    section = manual.read_text().split("```yaml\n")[1].split("```")[0]
    settings = Networks.model_validate(yaml.safe_load(section))
    # All keys that name weights are shown there.
    named = set(settings.model_dump(exclude_none=True)) | {"lpips_heads"}
    assert named == set(Networks.model_fields)
