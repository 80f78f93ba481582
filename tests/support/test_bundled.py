"""The bundled names, wherever a folder, a file of prompts or an autoencoder is asked for."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from diffusion4k.benchmark.entries import check_entries, found_images, images_folder
from diffusion4k.benchmark.prompts import read_prompt_set
from diffusion4k.benchmark.recipe import checked_recipe
from diffusion4k.cli.main import app
from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.models import read_models
from diffusion4k.models.folder import bundled_models, resolve, resolve_autoencoder
from diffusion4k.preference.study.pictures import find_scenes
from diffusion4k.sampling import read_prompts
from diffusion4k.support.bundled import AUTOENCODERS, MODELS, PHOTOGRAPHS
from diffusion4k.vae import load_autoencoder, load_stock_autoencoder

COUNT = 9


def test_all_of_it_is_there() -> None:
    assert bundled_models() == MODELS
    for folder in (PHOTOGRAPHS, *MODELS.values(), *AUTOENCODERS.values()):
        assert folder.is_dir()
    assert list(AUTOENCODERS) == ["pocket", "pocket-f8"]


def test_photographs_as_a_folder_of_images() -> None:
    assert len(list_images("pocket")) == COUNT
    alone, named = read_models(["pocket", "ours=pocket"], 2, 2)
    assert (alone.name, named.name) == ("pocket", "ours")
    assert alone.entries == named.entries
    assert len(alone.entries) == COUNT
    assert alone.entries[1].prompt.startswith("A dandelion seed head")
    recipe = checked_recipe({"models": [{"name": "real", "images": "pocket"}]})
    check_entries(recipe)
    assert len(found_images(images_folder(recipe, recipe.models[0]))) == COUNT


def test_captions_as_prompts(tmp_path: Path) -> None:
    prompts = read_prompts("pocket")
    assert len(prompts) == COUNT
    assert list(read_prompt_set("pocket").prompts) == prompts
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a lake"}\n')
    assert read_prompts(tmp_path) == ["a lake"]
    with pytest.raises(UsageError, match=r"prompts\.txt: no such file: .* pocket for the captions"):
        read_prompts(tmp_path / "prompts.txt")
    scenes = find_scenes({"a": "pocket", "b": "pocket"}, Path("pocket")).scenes
    assert [scene.prompt for scene in scenes] == prompts


def test_autoencoders_by_name() -> None:
    assert resolve_autoencoder("pocket") == resolve("pocket") / "vae" == AUTOENCODERS["pocket"]
    assert load_autoencoder("pocket").config._class_name == "ScaleConsistentAutoencoderKL"
    assert load_autoencoder("pocket-f8").config.latent_channels == 16
    assert len(load_stock_autoencoder("pocket-f8").config.block_out_channels) == 4
    with pytest.raises(Diffusion4kError, match=r"or a bundled one \(pocket, pocket-f8\)"):
        load_autoencoder("pocket-f4")


def test_figures_and_captions(tmp_path: Path) -> None:
    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    gallery = tmp_path / "gallery.jpg"
    run("figure", "gallery", "pocket", "--most", 2, "--width", 400, "--out", gallery)
    assert Image.open(gallery).width == 400
    assert "0 pictures" in run("dataset", "caption", "pocket", "--estimate")


def test_nothing_is_written_beside_them() -> None:
    before = sorted(PHOTOGRAPHS.iterdir())
    result = CliRunner().invoke(app, ["dataset", "caption", "pocket", "--overwrite"])
    assert isinstance(result.exception, UsageError)
    assert f"copy {PHOTOGRAPHS} and caption the copy" in str(result.exception)
    assert sorted(PHOTOGRAPHS.iterdir()) == before
