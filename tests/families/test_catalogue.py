"""What is listed, and what is found on a machine."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Defaults, families, family_of, resolve
from diffusion4k.families.catalogue import known_models, local_models


@pytest.fixture
def cached(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot in a hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--tiny-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    return Path(shutil.copytree(tiny_model, repository / "snapshots" / "abc"))


def test_known_models() -> None:
    assert {model.family for model in known_models()} == {
        "sd3",
        "flux",
        "flux2",
        "flux2-klein",
        "qwen-image",
        "ernie-image",
        "pixart",
        "sana",
        "z-image",
    }
    by_id = {model.hub_id: model for model in known_models()}
    dev = by_id["black-forest-labs/FLUX.1-dev"]
    assert dev.gated and "Non-Commercial" in dev.licence and dev.factors == (16, 8)
    assert by_id["black-forest-labs/FLUX.1-schnell"].defaults == Defaults(4, 0.0, 4096, 4096)
    sana = by_id["Efficient-Large-Model/Sana_1600M_4Kpx_BF16_diffusers"]
    assert sana.defaults == Defaults(20, 4.5, 4096, 4096)
    assert by_id["Tongyi-MAI/Z-Image"].defaults == Defaults(50, 4.0, 4096, 4096)
    assert len(families()) == 9
    klein = by_id["black-forest-labs/FLUX.2-klein-4B"]
    assert klein.licence == "Apache-2.0" and klein.factors == (8,)
    assert klein.defaults == Defaults(4, 0.0, 2048, 2048)
    base = by_id["black-forest-labs/FLUX.2-klein-base-9B"]
    assert base.gated and base.defaults == Defaults(50, 4.0, 2048, 2048)
    assert by_id["Qwen/Qwen-Image"].defaults == Defaults(50, 4.0, 2048, 2048)


def test_what_is_special_about_a_model_is_said() -> None:
    by_id = {model.hub_id: model for model in known_models()}
    assert "4096" in by_id["zhang0jhon/flux_wavelet"].note
    assert not by_id["zhang0jhon/flux_wavelet"].needs
    ultra = by_id["Owen777/UltraFlux-v1"]
    assert "4096" in ultra.note and "class" in ultra.needs
    assert ultra.defaults == Defaults(50, 4.0, 4096, 4096)


def test_models_of_this_machine_are_found(cached: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "runs" / "mine" / "model")
    pocket, *_, hub, mine = local_models([tmp_path / "runs"])
    assert (pocket.name, pocket.family) == ("pocket", "sd3")
    assert (hub.name, hub.family, hub.folder) == ("owner/tiny-model", "sd3", cached)
    assert (mine.name, mine.family) == (str(tmp_path / "runs/mine/model"), "sd3")


def test_a_half_downloaded_model_is_listed_with_what_it_lacks(cached: Path) -> None:
    (cached / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    (cached / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "part-1.safetensors"}})
    )
    *_, hub = local_models()
    assert hub.family is None and hub.problem is not None
    assert (
        "`hf download owner/tiny-model --include 'transformer/part-1.safetensors'`" in hub.problem
    )


def test_a_half_downloaded_model_without_a_network(cached: Path) -> None:
    (cached / "vae" / "config.json").unlink()
    folder = resolve("owner/tiny-model")
    assert folder == cached
    with pytest.raises(Diffusion4kError, match=r"hf download .* --include 'vae/config\.json'"):
        family_of(folder)


def test_a_missing_component_says_how_to_get_it(cached: Path) -> None:
    shutil.rmtree(cached / "text_encoder_2")
    with pytest.raises(Diffusion4kError, match=r"hf download owner/tiny-model .*text_encoder_2/\*"):
        family_of(cached)


def test_a_link_whose_download_broke_off(cached: Path) -> None:
    weights = cached / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to(cached / "absent")
    with pytest.raises(
        Diffusion4kError, match=r"vae/diffusion_pytorch_model\.safetensors: no such"
    ):
        family_of(cached)


def test_a_component_of_another_class_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = model / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"transformer": ["diffusers", "FluxTransformer2DModel"]}))
    with pytest.raises(
        Diffusion4kError, match=r"transformer is a FluxTransformer2DModel; sd3 .*SD3"
    ):
        family_of(model)
    del index["text_encoder"]
    path.write_text(json.dumps(index))
    with pytest.raises(Diffusion4kError, match="names no text_encoder, which"):
        family_of(model)


def test_no_such_folder() -> None:
    with pytest.raises(UsageError, match="absent: no such folder"):
        local_models([Path("absent")])


def test_a_component_of_another_model_is_refused_before_it_is_loaded(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = model / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "FluxTransformer"}))
    with pytest.raises(
        Diffusion4kError, match=r"it is that of a FluxTransformer, allowed is SD3Tr"
    ):
        family_of(model)


def test_what_a_half_downloaded_model_lacks_is_said(cached: Path) -> None:
    for file in (cached / "text_encoder").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(Diffusion4kError, match=r"no \.safetensors .*--include 'text_encoder/\*'"):
        family_of(cached)


def test_a_tokenizer_without_vocabulary_is_refused(cached: Path) -> None:
    for file in (cached / "tokenizer_2").iterdir():
        file.unlink()
    with pytest.raises(Diffusion4kError, match=r"no vocabulary .*--include 'tokenizer_2/\*'"):
        family_of(cached)


def test_a_checkpoint_in_the_hub_s_cache_has_its_own_defaults(
    tiny_model: Path, tmp_path: Path
) -> None:
    turbo = tmp_path / "models--stabilityai--stable-diffusion-3.5-large-turbo" / "snapshots" / "1"
    shutil.copytree(tiny_model, turbo)
    (turbo / "diffusion4k.json").unlink(missing_ok=True)
    assert family_of(turbo).defaults(turbo) == Defaults(4, 0.0, 4096, 4096)
    (turbo / "diffusion4k.json").write_text('{"steps": 8}')
    assert family_of(turbo).defaults(turbo).steps == 8
