"""Where weights come from, their checksums, and weights that are broken or of another network."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, Dinov2Model

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import weights as module
from diffusion4k.metrics.architectures.inception import InceptionV3
from diffusion4k.metrics.weights import find_weights, fingerprint, load_model, read_weights
from tests.metrics.random_weights import inception_weights
from tests.metrics.tiny_networks import tiny_clip_folder, tiny_dino_folder

ID = "owner/model"


def test_checksum_given_with_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(3)}, path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert find_weights(f"{path}#sha256={right.upper()}") == path
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with pytest.raises(Diffusion4kError) as caught:
        find_weights(f"{path}#sha256={wrong}")
    message = str(caught.value)
    assert str(path) in message and right in message and wrong in message and "\n" not in message
    with pytest.raises(UsageError, match="'12' behind `#sha256=` has 2 characters"):
        find_weights(f"{path}#sha256=12")


@pytest.mark.parametrize("name", sorted(module.PUBLISHED))
def test_published_files_are_known_by_name(tmp_path: Path, name: str) -> None:
    expected = module.PUBLISHED[name]
    assert len(bytes.fromhex(expected)) == 32
    # PyTorch's files carry the first digits of their checksum in the name.
    stem = name.removesuffix(".pth").rpartition("-")[2]
    assert stem == "linearMSE" or expected.startswith(stem)
    path = tmp_path / name
    torch.save({"x": torch.ones(3)}, path)
    with pytest.raises(Diffusion4kError, match=f"expected {expected}"):
        find_weights(path)
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    assert find_weights(f"{path}#sha256={own}") == path


def test_hub_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        torch.save({"x": torch.ones(1)}, tmp_path / "got.pth")
        return str(tmp_path / "got.pth")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    find_weights("owner/name/sub/sac+logos.pth")
    assert asked == [("owner/name", "sub/sac+logos.pth")]
    with pytest.raises(Diffusion4kError, match=r"got\.pth: SHA-256 is"):
        find_weights("owner/name/x.pth#sha256=" + "0" * 64)


def test_truncated_files(tmp_path: Path) -> None:
    for name, save in (("a.safetensors", save_file), ("a.pth", torch.save)):
        path = tmp_path / name
        save({"x": torch.ones(1000)}, path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(Diffusion4kError) as caught:
            read_weights(path)
        assert "cannot be read as weights" in str(caught.value) and "\n" not in str(caught.value)


def test_inception_that_lacks_a_layer_or_has_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    name = "Mixed_6c.branch_pool.conv.weight"
    weights = inception_weights()
    narrow = weights | {name: weights[name][:, :-1].contiguous()}
    del weights[name]
    for wrong, reason in ((weights, "'Mixed_6c.branch_pool'"), (narrow, "expected input")):
        save_file(wrong, path)
        with pytest.raises(Diffusion4kError) as caught:
            InceptionV3(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: no weights of FID's Inception-v3: ") and "\n" not in text
        assert reason in text


def test_models_that_do_not_load(tmp_path: Path) -> None:
    clip = Path(tiny_clip_folder(tmp_path / "clip"))
    dino = tiny_dino_folder(tmp_path / "dino")
    file = clip / "model.safetensors"
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    assert load_model(CLIPModel, f"{clip}#sha256={right}", ID).dtype == torch.float32

    cases = {
        f"{clip}#sha256={'0' * 64}": f"SHA-256 is {right}, expected {'0' * 64}",
        dino: "its config is that of a dinov2 model",
        str(tmp_path / "nowhere"): "no clip model can be loaded from there",
    }
    cut = shutil.copytree(clip, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes(file.read_bytes()[:-500])
    cases[str(cut)] = "no clip model can be loaded from there"
    part = shutil.copytree(clip, tmp_path / "part")
    kept = {k: v for k, v in load_file(file).items() if "vision" not in k}
    save_file(kept, part / "model.safetensors", metadata={"format": "pt"})
    cases[str(part)] = "its weights lack"
    broken = shutil.copytree(clip, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    cases[str(broken)] = "no clip model can be loaded from there"
    for name, message in cases.items():
        with pytest.raises(Diffusion4kError) as caught:
            load_model(CLIPModel, name, ID)
        text = str(caught.value)
        assert message in text and name.partition("#")[0] in text and "\n" not in text
    with pytest.raises(Diffusion4kError, match="its config is that of a clip model"):
        load_model(Dinov2Model, str(clip), ID)


def test_half_precision_is_loaded_in_full(tmp_path: Path) -> None:
    folder = tiny_clip_folder(tmp_path / "clip")
    CLIPModel.from_pretrained(folder).half().save_pretrained(tmp_path / "half")
    assert load_model(CLIPModel, str(tmp_path / "half"), ID).dtype == torch.float32


def test_fingerprint_is_of_the_numbers() -> None:
    a = {"x": torch.arange(6.0).view(2, 3), "scale": torch.tensor(1.5)}
    assert fingerprint(a) == fingerprint(dict(reversed(a.items())))
    assert fingerprint(a) == fingerprint(a | {"x": a["x"].T.contiguous().T})
    for other in (
        a | {"x": a["x"].view(3, 2)},
        a | {"x": a["x"] + 1e-6},
        {"y": a["x"], "scale": a["scale"]},
        a | {"scale": a["scale"].bfloat16()},
    ):
        assert fingerprint(other) != fingerprint(a)
