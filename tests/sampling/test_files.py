"""Image files: the record survives, names follow from it, broken files are not taken for whole."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k import __version__
from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling import SamplingSettings, read_metadata
from diffusion4k.sampling.files import image_name, is_made_here, is_present, write_image
from diffusion4k.sampling.stages import Stage

SETTINGS = SamplingSettings(
    prompt="ein Hündchen im Schnee, 雪, 🐶",
    negative_prompt="blur",
    seed=7,
    steps=4,
    guidance=2.5,
    width=64,
    height=32,
    model="pocket",
    model_fingerprint="0123456789abcdef",
    dtype="float32",
    stages=(
        Stage(32, 16, steps=4, guidance=2.5, factor=8),
        Stage(64, 32, 4, 2.5, 16, 0.4, 16, "shifted", "falling", 1.0, "db2"),
    ),
)
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_the_record_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    write_image([np.asarray(IMAGE)], path, SETTINGS)
    metadata = read_metadata(path)
    versions = metadata.pop("versions")
    assert metadata == json.loads(json.dumps(asdict(SETTINGS)))
    assert tuple(Stage(**stage) for stage in metadata["stages"]) == SETTINGS.stages
    assert versions["diffusion4k"] == __version__
    assert {"diffusers", "torch"} <= versions.keys()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_png_keeps_every_pixel_and_jpeg_has_quality_95(tmp_path: Path) -> None:
    write_image([np.asarray(IMAGE)], tmp_path / "image.png", SETTINGS)
    assert np.array_equal(Image.open(tmp_path / "image.png"), IMAGE)
    write_image([np.asarray(IMAGE)], tmp_path / "image.jpg", SETTINGS)
    IMAGE.save(tmp_path / "plain.jpg", quality=95)
    assert np.array_equal(Image.open(tmp_path / "image.jpg"), Image.open(tmp_path / "plain.jpg"))


@pytest.mark.parametrize("character", ["🐶", '"', "\n", "字"])
def test_the_longest_prompts_fit_into_jpeg(tmp_path: Path, character: str) -> None:
    stage = Stage(
        *(4096, 4096, 50, 5.5, 16, 0.45, 128, "overlap", "constant", 0.25, "bior4.4"),
        further_levels=4,
        solver="dpm++",
        model="somebody/the-base-model-of-a-fine-tuned-one",
        model_fingerprint="f" * 16,
    )
    text = character * 6500
    longest = replace(SETTINGS, prompt=text, negative_prompt=text, stages=(stage,) * 8)
    write_image([np.asarray(IMAGE)], tmp_path / "image.jpg", longest)
    assert read_metadata(tmp_path / "image.jpg")["prompt"] == longest.prompt


def test_names_say_what_is_in_the_file() -> None:
    name = image_name(SETTINGS, ".png")
    assert name.startswith("ein-hundchen-im-schnee-")
    assert name.endswith("-seed7-64x32.png")
    assert image_name(replace(SETTINGS, model="elsewhere/pocket"), ".png") == name
    assert image_name(replace(SETTINGS, prompt="雪"), ".png").startswith("image-")


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "ein Hündchen im Schnee, 雪, 🐱"},
        {"negative_prompt": ""},
        {"steps": 5},
        {"guidance": 3.0},
        {"model_fingerprint": "f" * 16},
        {"dtype": "bfloat16"},
    ],
)
def test_other_settings_other_name_and_not_present(tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "image.png"
    write_image([np.asarray(IMAGE)], path, SETTINGS)
    other = replace(SETTINGS, **change)
    assert is_present(path, SETTINGS) and not is_present(path, other)
    assert image_name(other, ".png") != image_name(SETTINGS, ".png")


@given(st.text())
def test_names_are_safe(prompt: str) -> None:
    name = image_name(replace(SETTINGS, prompt=prompt.replace("\ud800", "")), ".png")
    assert len(name) < 120 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@settings(max_examples=20)
@given(data=st.data())
def test_a_cut_file_is_not_present(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"image{suffix}"
    write_image([np.asarray(IMAGE)], path, SETTINGS)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert not is_present(path, SETTINGS)


def test_foreign_files_carry_no_record(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "foreign.jpg")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(Diffusion4kError, match="no record of diffusion4k"):
        read_metadata(tmp_path / "foreign.jpg")
    with pytest.raises(Diffusion4kError, match="not an image that can be read"):
        read_metadata(tmp_path / "text.png")
    with pytest.raises(Diffusion4kError, match="no such file"):
        read_metadata(tmp_path / "absent.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Diffusion4kError, match=r"pipe\.png: cannot be read: not a regular file"):
        read_metadata(tmp_path / "pipe.png")
    # Pillow refuses it with an error of its own kind.
    Image.new("1", (60000, 30000)).save(tmp_path / "huge.png")
    with pytest.raises(Diffusion4kError, match=r"huge\.png: not an image that can be read"):
        read_metadata(tmp_path / "huge.png")
    assert not is_made_here(tmp_path / "foreign.jpg")
