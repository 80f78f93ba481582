"""Transformers and autoencoders in one file or several, in either layout, and back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, SD3Transformer2DModel
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of
from diffusion4k.interchange import export as module
from diffusion4k.interchange.export import export_part
from diffusion4k.vae import PartitionedAutoencoderKL, ScaleConsistentAutoencoderKL
from tests.families.test_flux import tiny_flux
from tests.families.test_pixart import tiny_pixart
from tests.families.test_sana import tiny_sana
from tests.families.test_z_image import tiny_z_image

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "flux": tiny_flux,
    "pixart": tiny_pixart,
    "z-image": tiny_z_image,
}
NO_T5 = {"text_encoder_3": None, "tokenizer_3": None}


@pytest.fixture(scope="module", params=["sd3", *BUILDERS])
def model(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny model of each family that has an original layout."""
    if request.param == "sd3":
        return tiny_model
    return BUILDERS[request.param](tmp_path_factory.mktemp(request.param) / "model")


def _weights(folder: Path) -> dict[str, Tensor]:
    return {n: v for file in folder.glob("*.safetensors") for n, v in load_file(file).items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) and value.dtype == other[name].dtype
        for name, value in one.items()
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_there_and_back_not_a_bit_is_lost(model: Path, tmp_path: Path, dtype: str) -> None:
    wanted = {
        name: value.to(module.DTYPES[dtype])
        for name, value in _weights(model / "transformer").items()
    }
    file = export_part(model, tmp_path / "one.safetensors", dtype=dtype)
    assert all(name.startswith("model.diffusion_model.") for name in load_file(file))
    back = export_part(file, tmp_path / "back", base=model)
    assert _same(_weights(back / "transformer"), wanted)
    # Its header says all that is needed, too.
    assert _same(_weights(export_part(file, tmp_path / "alone") / "transformer"), wanted)
    config = json.loads((back / "transformer" / "config.json").read_text())
    before = json.loads((model / "transformer" / "config.json").read_text())
    assert {k: v for k, v in before.items() if k != "_name_or_path"} == config
    twice = export_part(back, tmp_path / "two.safetensors")
    assert _same(load_file(twice), load_file(file))


def test_diffusers_reads_the_file(tiny_model: Path, tmp_path: Path) -> None:
    file = export_part(tiny_model, tmp_path / "one.safetensors")
    found = SD3Transformer2DModel.from_single_file(
        str(file), config=str(tiny_model), subfolder="transformer", local_files_only=True
    )
    assert _same(found.state_dict(), _weights(tiny_model / "transformer"))


def test_without_prefix_and_in_shards(tiny_model: Path, tmp_path: Path) -> None:
    bare = export_part(tiny_model, tmp_path / "bare.safetensors", prefix=False)
    assert "joint_blocks.0.x_block.attn.qkv.weight" in load_file(bare)
    folder = export_part(tiny_model, tmp_path / "shards", shard_size=40_000)
    files = list((folder / "transformer").glob("*.safetensors"))
    assert len(files) > 3
    found = SD3Transformer2DModel.from_pretrained(folder, subfolder="transformer")
    assert _same(found.state_dict(), _weights(tiny_model / "transformer"))
    (folder / "diffusion4k.json").write_text(json.dumps({"parts_from": str(tiny_model)}))
    assert _same(
        load_file(export_part(folder, tmp_path / "x.safetensors", prefix=False)), load_file(bare)
    )
    flat = export_part(tiny_model, tmp_path / "flat.safetensors", layout="diffusers")
    assert _same(load_file(flat), _weights(tiny_model / "transformer"))
    assert _same(_weights(export_part(flat, tmp_path / "z") / "transformer"), load_file(flat))


def test_fp8_is_of_layers_alone(tiny_model: Path, tmp_path: Path) -> None:
    found = load_file(export_part(tiny_model, tmp_path / "x.safetensors", dtype="fp8"))
    exact = load_file(export_part(tiny_model, tmp_path / "y.safetensors"))
    for name, value in found.items():
        is_layer = value.ndim > 1 and name.endswith(".weight")
        assert value.dtype == (torch.float8_e4m3fn if is_layer else torch.bfloat16), name
        assert torch.equal(exact[name].to(value.dtype).float(), value.float()), name
    back = family_of(tiny_model).load_transformer(
        tiny_model, dtype=torch.float32, weights=tmp_path / "x.safetensors"
    )
    before = _weights(tiny_model / "transformer")
    for name, value in back.state_dict().items():
        # Three bits of mantissa: half of 2^-3 of a value, or 2^-10 near zero.
        assert ((value - before[name]).abs() <= before[name].abs() / 16 + 2**-10).all(), name


@pytest.mark.parametrize("kind", [None, PartitionedAutoencoderKL, ScaleConsistentAutoencoderKL])
def test_an_autoencoder_there_and_back(
    tiny_model: Path, tmp_path: Path, kind: type[PartitionedAutoencoderKL] | None
) -> None:
    folder = tiny_model
    if kind:
        folder = tmp_path / "model"
        shutil.copytree(tiny_model, folder)
        stock = AutoencoderKL.from_pretrained(folder, subfolder="vae")
        kind.from_autoencoder(stock).save_pretrained(folder / "vae")
        index = json.loads((folder / "model_index.json").read_text())
        index["vae"] = ["diffusion4k", kind.__name__]
        (folder / "model_index.json").write_text(json.dumps(index))
    wanted = _weights(folder / "vae")
    file = export_part(folder, tmp_path / "vae.safetensors", part="vae")
    found = load_file(file)
    assert found["encoder.mid.attn_1.q.weight"].ndim == 4
    config = json.loads((folder / "vae" / "config.json").read_text())
    back = single_file_utils.convert_ldm_vae_checkpoint(dict(found), config)
    assert _same(back, wanted)
    alone = export_part(file, tmp_path / "alone", part="vae")
    assert _same(_weights(alone), wanted)
    assert json.loads((alone / "config.json").read_text())["_class_name"] == config["_class_name"]
    based = export_part(file, tmp_path / "based", part="vae", base=folder)
    assert _same(_weights(based), wanted)


def test_an_autoencoder_of_elsewhere_needs_its_configuration(
    tiny_model: Path, tmp_path: Path
) -> None:
    file = export_part(tiny_model, tmp_path / "vae.safetensors", part="vae")
    save_file({f"first_stage_model.{n}": v for n, v in load_file(file).items()}, file)
    with pytest.raises(UsageError, match="name a model that has the same with --base"):
        export_part(file, tmp_path / "out", part="vae")
    back = export_part(file, tmp_path / "out", part="vae", base=tiny_model)
    assert _same(_weights(back), _weights(tiny_model / "vae"))


def test_a_whole_pipeline_loads_what_came_back(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    file = export_part(tiny_model, tmp_path / "one.safetensors", dtype="bf16")
    back = export_part(file, tmp_path / "back", base=tiny_model)
    shutil.rmtree(tmp_path / "model" / "transformer")
    shutil.copytree(back / "transformer", tmp_path / "model" / "transformer")
    stock = DiffusionPipeline.from_pretrained(tmp_path / "model", **NO_T5)
    assert family_of(tmp_path / "model").name == "sd3" and stock.transformer is not None


def test_no_room_and_nothing_half_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Full)
    for out in ("one.safetensors", "folder"):
        with pytest.raises(Diffusion4kError, match=r"0\.0 GB are free: make room"):
            export_part(tiny_model, tmp_path / out)
    assert not list(tmp_path.iterdir())


def test_what_is_refused_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    file = export_part(tiny_model, tmp_path / "one.safetensors")
    state = load_file(file)
    name = "model.diffusion_model.x_embedder.proj.weight"

    def changed(what: str, weights: dict[str, Tensor]) -> Path:
        path = tmp_path / f"{what}.safetensors"
        save_file(weights, path)
        return path

    nan = state[name].clone()
    nan[0] = torch.nan
    ours = {"transformer_blocks.0.attn.to_q.weight": torch.ones(32, 32)}
    short = {n: v for n, v in state.items() if n != name}
    cases = {
        changed("nan", {**state, name: nan}): "holds numbers that are not finite",
        changed("large", {**state, name: 1e6 * state[name]}): r"more than 448, the most",
        changed(
            "both", {**state, **{f"model.diffusion_model.{n}": v for n, v in ours.items()}}
        ): "names of two layouts in it",
        changed("short", short): r"x_embedder\.proj\.weight is not in it",
        changed("more", {**state, "model.diffusion_model.odd": torch.ones(1)}): "odd has no place",
        changed("size", {**state, name: torch.ones(1, 1)}): r"is of shape \(1, 1\)",
        changed("other", {"a": torch.ones(1)}): "does not hold the transformer of",
    }
    before = sorted(tmp_path.iterdir())
    for path, message in cases.items():
        for out in ("out.safetensors", "out"):
            with pytest.raises(Diffusion4kError, match=message) as error:
                export_part(path, tmp_path / out, dtype="fp8", base=tiny_model)
            assert "\n" not in str(error.value)
            assert sorted(tmp_path.iterdir()) == before
    for path, message in {
        tmp_path / "other.safetensors": "not a transformer of",
        changed(
            "flux", {"double_blocks.0.img_attn.qkv.weight": torch.ones(3, 1)}
        ): "a flux transformer, but of none of the published models",
    }.items():
        with pytest.raises(Diffusion4kError, match=message):
            export_part(path, tmp_path / "out")


def test_wrong_requests(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        export_part(tiny_model, tmp_path / "there")
    with pytest.raises(UsageError, match="only for a source that is one file"):
        export_part(tiny_model, tmp_path / "out", base=tiny_model)
    sana = tiny_sana(tmp_path / "sana")
    for part in ("transformer", "vae"):
        with pytest.raises(UsageError, match=f"no original layout of sana models' {part} is known"):
            export_part(sana, tmp_path / "out.safetensors", part=part)
    flat = export_part(sana, tmp_path / "flat.safetensors", layout="diffusers")
    assert _same(load_file(flat), _weights(sana / "transformer"))
