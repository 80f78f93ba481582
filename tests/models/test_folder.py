"""Model folders: found by name, refused in one line when broken."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from diffusion4k.data.fingerprint import (
    FileHashes,
    autoencoder_fingerprint,
    text_encoders_fingerprint,
)
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Defaults, family_of, resolve
from diffusion4k.families.component import (
    loaded_files,
    weight_files,
)
from diffusion4k.models.folder import resolve_autoencoder
from diffusion4k.sampling.fingerprint import fingerprint


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "vae.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"vae\.safetensors: a file, where a folder .*--part vae"):
        resolve_autoencoder(tmp_path / "vae.safetensors")


def test_a_folder_is_found(tiny_model: Path) -> None:
    assert resolve(str(tiny_model)) == tiny_model
    assert family_of(tiny_model).name == "sd3"


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        resolve(str(tmp_path / "absent"))


def test_a_folder_without_model_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model_index\.json"):
        resolve(tmp_path)


def test_an_unsupported_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "OtherPipeline"}')
    with pytest.raises(Diffusion4kError, match=r"OtherPipeline.*StableDiffusion3Pipeline"):
        family_of(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_model_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(Diffusion4kError, match=r"model_index\.json"):
        resolve(tmp_path)


def test_a_hub_id_offline_costs_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    message = r"not on this machine, and the hub .* its model_index\.json: `hf download owner/name`"
    with pytest.raises(Diffusion4kError, match=message):
        resolve("owner/name")


def test_a_gated_model_says_where_its_licence_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*_: object, **__: object) -> str:
        response = SimpleNamespace(headers={}, request=None)
        raise huggingface_hub.errors.GatedRepoError("gated", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(
        Diffusion4kError, match=r"owner/name: gated: .*co/owner/name, .*hf auth log"
    ):
        resolve("owner/name")


def test_a_hub_id_downloads_named_components_only(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    asked: dict[str, list[str]] = {}

    def download(hub_id: str, **patterns: list[str]) -> str:
        asked.update(patterns)
        return str(tiny_model)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("owner/name") == tiny_model
    assert "transformer/*" in asked["allow_patterns"]
    assert "*.fp16*.safetensors" in asked["ignore_patterns"]
    assert resolve("owner/name", ["vae"]) == tiny_model
    # Its settings too: without them a model would be sampled otherwise than it was trained.
    assert asked["allow_patterns"] == ["model_index.json", "diffusion4k.json", "vae/*"]


def _truncate(model: Path) -> None:
    path = model / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _drop_a_weight(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = model / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["proj_out.weight"]
    save_file(weights, path)


def _reshape(model: Path) -> None:
    path = model / "transformer" / "config.json"
    path.write_text(
        path.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4')
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: shutil.rmtree(m / "transformer"), "transformer: no such folder"),
        (lambda m: (m / "transformer" / "config.json").unlink(), r"config\.json: no such file"),
        (
            lambda m: (m / "transformer" / "diffusion_pytorch_model.safetensors").unlink(),
            "no .safetensors weights",
        ),
        (_truncate, "damaged safetensors"),
        (_drop_a_weight, r"1 weights are missing from it \(proj_out\.weight"),
        (_reshape, "cannot be loaded"),
    ],
)
def test_a_broken_component_is_refused(model: Path, damage, message: str) -> None:
    damage(model)
    with pytest.raises(Diffusion4kError, match=message) as caught:
        family_of(model).load_transformer(model, dtype=torch.float32)
    assert str(model) in str(caught.value)


def test_weights_of_a_variant_alone_are_refused_before_anything_is_loaded(model: Path) -> None:
    folder = model / "vae"
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(Diffusion4kError, match=r"vae: no \.safetensors weights .*fp16"):
        family_of(model)


def test_files_that_are_not_loaded_change_no_fingerprint(model: Path, tmp_path: Path) -> None:
    def fingerprints() -> tuple[str, ...]:
        hashes = FileHashes(tmp_path / "hashes.json")
        of_text = text_encoders_fingerprint(model, hashes)
        return fingerprint(model), of_text, autoencoder_fingerprint(model, hashes)

    before = fingerprints()
    for part in ("vae", "text_encoder", "transformer"):
        (weights,) = (model / part).glob("*.safetensors")
        stem = weights.name.removesuffix(".safetensors")
        shutil.copyfile(weights, model / part / f"{stem}.fp16.safetensors")
        (model / part / f"{stem}.safetensors.index.fp16.json").write_text("{}")
        (model / part / "pytorch_model.bin").write_bytes(b"other")
        (model / part / "pytorch_model.bin.index.json").write_text("{}")
    assert fingerprints() == before
    for part, changed in (("vae", (0, 2)), ("text_encoder", (0, 1)), ("transformer", (0,))):
        config = model / part / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": 12345}))
        after = fingerprints()
        assert all(after[i] != before[i] for i in changed), part
        before = after


def test_the_files_of_an_index_are_those_that_are_loaded(tmp_path: Path) -> None:
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    for name in (*names.values(), "model.fp16-00001-of-00001.safetensors", "config.json"):
        (tmp_path / name).write_text("")
    assert [path.name for path in weight_files(tmp_path)] == sorted(names.values())
    assert [path.name for path in loaded_files(tmp_path)] == [
        "config.json",
        *sorted(names.values()),
        "model.safetensors.index.json",
    ]


def test_a_missing_shard_is_refused(model: Path) -> None:
    folder = model / "transformer"
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"proj_out.weight": "part-2.safetensors"}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Diffusion4kError, match=r"part-2\.safetensors: no such file"):
        family_of(model).load_transformer(model, dtype=torch.float32)


def test_defaults_are_the_family_s_or_the_model_s_own(model: Path) -> None:
    family = family_of(model)
    assert family.defaults(model) == Defaults(steps=28, guidance=7.0, width=4096, height=4096)
    (model / "diffusion4k.json").write_text('{"steps": 4, "guidance": 0, "shift": 3.0}')
    assert family.defaults(model) == Defaults(steps=4, guidance=0, width=4096, height=4096)


@pytest.mark.parametrize("text", ['{"steps": 0}', '{"width": "4096"}', '{"guidance": -1}'])
def test_defaults_out_of_range_are_refused(model: Path, text: str) -> None:
    (model / "diffusion4k.json").write_text(text)
    with pytest.raises(Diffusion4kError, match=r"diffusion4k\.json: .* allowed is"):
        family_of(model).defaults(model)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        # diffusers would look in the folder for code of this class.
        ("model_index.json", {"scheduler": ["diffusers", "DiffusionPipeline"]}, "scheduler is a"),
        ("model_index.json", {"scheduler": ["diffusers", "DDPMScheduler"]}, "scheduler is a"),
        ("model_index.json", {"vae": ["evil", "AutoencoderKL"]}, "vae is a .* of 'evil'"),
        *(
            ("model_index.json", {"scheduler": entry}, "scheduler")
            for entry in (5, [5], {}, None, ["diffusers"], [["diffusers"], "X"])
        ),
        ("transformer/config.json", {"num_layers": 10**9}, "num_layers is 1000000000: allowed"),
        ("transformer/config.json", {"num_layers": -1}, "num_layers is -1: allowed"),
        ("text_encoder/config.json", {"num_attention_heads": 0}, "heads is 0: allowed"),
        ("transformer/config.json", {"sample_size": float("inf")}, "sample_size is inf: allowed"),
        ("scheduler/scheduler_config.json", {"shift": float("nan")}, "shift is nan: allowed"),
        ("scheduler/scheduler_config.json", {"shift": "much"}, "shift is 'much': allowed"),
        ("scheduler/scheduler_config.json", {"shift": 0}, "shift is 0: allowed"),
        *(
            (
                "scheduler/scheduler_config.json",
                {"base_image_seq_len": low, "max_image_seq_len": high},
                f"max_image_seq_len is {high}: allowed is a number above base_image_seq_len",
            )
            for low, high in ((256, 256), (4096, 256), (None, 100), (5000, 4096))
        ),
        *(
            ("diffusion4k.json", {"max_sequence_length": value}, "max_sequence_length is")
            for value in (10**12, -1, "many", True)
        ),
    ],
)
def test_what_a_folder_states_is_looked_up_and_within_bounds(
    model: Path, file: str, changes: dict[str, object], message: str
) -> None:
    if not (model / file).exists():
        (model / file).write_text("{}")
    _edit(model / file, **changes)
    with pytest.raises(Diffusion4kError, match=message) as caught:
        family_of(model)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize(
    "file", ["model_index.json", "diffusion4k.json", "vae/config.json", "transformer/config.json"]
)
def test_json_nested_without_end_costs_one_line(model: Path, file: str) -> None:
    (model / file).write_text(NESTED)
    with pytest.raises(Diffusion4kError, match="nested too deep"):
        family_of(model)


@pytest.mark.parametrize("name", ["../../other.safetensors", "/etc/passwd", 5, ".."])
def test_an_index_of_weights_names_files_beside_it_only(model: Path, name: object) -> None:
    folder = model / "transformer"
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.rename(folder / "moved.safetensors")
    weights.with_name(f"{weights.name}.index.json").write_text(
        json.dumps({"weight_map": {"proj_out.weight": name}})
    )
    with pytest.raises(Diffusion4kError, match="allowed are names of files beside it"):
        family_of(model)


def test_an_empty_configuration_names_what_it_lacks(model: Path) -> None:
    (model / "transformer" / "config.json").write_text("{}")
    with pytest.raises(Diffusion4kError, match=r"config\.json: `\w+` is missing"):
        family_of(model).empty_conditioning(model, 1)


def test_a_vocabulary_without_its_special_tokens_is_told(model: Path) -> None:
    for path in (model / "tokenizer").glob("*.json"):
        if path.name in ("vocab.json", "tokenizer.json"):
            path.write_text(path.read_text().replace('"<|endoftext|>"', '"other"'))
    with pytest.raises(Diffusion4kError, match=r"model/tokenizer: (has special tokens|cannot be)"):
        family_of(model).load_text_encoders(model, dtype=torch.float32)
