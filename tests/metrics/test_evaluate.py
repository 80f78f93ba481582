"""Folders measured whole: means, distances, bad files, kept measurements, results file."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import compression_ratio, frechet_distance, glcm_entropy, glcm_score
from diffusion4k.metrics.evaluate import evaluate, image_facts
from diffusion4k.metrics.images import ImageLike, as_pil
from diffusion4k.metrics.settings import MeasureSettings


class MeanColour:
    """Three numbers per image: quick, and easy to foresee."""

    name = "MeanColour"
    dimension = 3
    preprocessing = "none"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Iterable[ImageLike]) -> np.ndarray:
        self.calls += 1
        return np.array([np.asarray(as_pil(i)).mean((0, 1)) for i in images], np.float32)

    def patches(
        self, image: ImageLike, patch_size: int, per_image: int | None = None
    ) -> np.ndarray:
        array = np.asarray(as_pil(image))
        halves = np.array_split(array, 2)
        return np.array([half.mean((0, 1)) for half in halves], np.float32)


def fill(folder: Path, count: int, seed: int = 0, side: int = 96) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for n in range(count):
        shades = rng.integers(0, 256, (6, 6, 3), np.uint8)
        image = Image.fromarray(shades).resize((side + n, side), Image.Resampling.BICUBIC)
        image.save(folder / f"{n}.jpg", quality=95)
    return folder


def test_folder_alone(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 3)
    paths = list_images(folder)
    seen: list[str] = []
    result = evaluate(folder, on_image=seen.append)
    assert seen == ["0.jpg", "1.jpg", "2.jpg"]
    assert result.images.mean("glcm_score") == pytest.approx(np.mean([*map(glcm_score, paths)]))
    assert result.images.mean("glcm_entropy") == pytest.approx(np.mean([*map(glcm_entropy, paths)]))
    assert result.images.compression_ratio == pytest.approx(compression_ratio(paths))
    assert result.reference is None and result.distances == [] and result.bad == []
    assert result.extractor is None


def test_sub_folders_are_read_and_names_told_apart(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 2)
    fill(folder / "2023", 2, seed=1)
    fill(folder / "0-stages", 1)  # what `generate --keep-stages` leaves
    fill(folder / ".hidden", 1)
    names = ["0.jpg", "1.jpg", "2023/0.jpg", "2023/1.jpg"]
    assert [p.relative_to(folder).as_posix() for p in list_images(folder)] == sorted(names)
    assert sorted(evaluate(folder).images.images) == sorted(names)


def test_distances(tmp_path: Path) -> None:
    ours, real = fill(tmp_path / "ours", 6), fill(tmp_path / "real", 8, seed=1)
    extractor = MeanColour()
    result = evaluate(ours, real, extractor=extractor)
    whole, patches = result.distances
    expected = frechet_distance(extractor(list_images(ours)), extractor(list_images(real)))
    assert (whole.name, whole.samples, whole.reference_samples) == ("FD-MeanColour", 6, 8)
    assert whole.value == pytest.approx(expected, rel=1e-6) and whole.note == ""
    assert (patches.name, patches.samples) == ("FD-MeanColour-patch", 12)


def test_single_image_has_only_a_patch_distance(tmp_path: Path) -> None:
    ours, real = fill(tmp_path / "ours", 1), fill(tmp_path / "real", 5, seed=1)
    whole, patches = evaluate(ours, real, extractor=MeanColour()).distances
    assert whole.value is None and "at least two samples" in whole.note
    assert patches.value is not None and "biased upwards" in patches.note


def test_default_extractor_is_named(tmp_path: Path) -> None:
    ours, real = fill(tmp_path / "ours", 2, side=224), fill(tmp_path / "real", 2, 1, side=448)
    result = evaluate(ours, real, settings=MeasureSettings(patches_per_image=2))
    assert [d.name for d in result.distances] == ["FD-EffNet", "FD-EffNet-patch"]
    assert [d.samples for d in result.distances] == [2, 2]
    assert [d.reference_samples for d in result.distances] == [2, 4]
    assert result.extractor is not None and "224x224" in result.extractor["preprocessing"]


def test_results_file(tmp_path: Path) -> None:
    ours, real = fill(tmp_path / "ours", 4), fill(tmp_path / "real", 5, seed=1)
    (ours / "broken.png").write_bytes(b"no picture")
    evaluate(ours, real, extractor=MeanColour()).save(tmp_path / "out" / "results.json")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"numpy", "numba", "pillow", "torch"} <= set(results["versions"])
    wanted = {"reencode": False, "patch_size": 224, "patches_per_image": 64, "grid_period": 32}
    assert results["settings"] == wanted
    assert results["extractor"]["name"] == "MeanColour"
    assert results["evaluated"]["n_images"] == 4 and results["reference"]["n_images"] == 5
    assert list(results["evaluated"]["bad"]) == ["broken.png"]
    assert results["evaluated"]["images"]["0.jpg"]["jpeg_source"] == "file"
    assert results["distances"]["FD-MeanColour"]["samples"] == 4


def test_ugly_files_are_measured(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 1)
    picture = Image.open(folder / "0.jpg").copy()
    picture.convert("L").save(folder / "grey.png")
    picture.convert("RGBA").save(folder / "alpha.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    picture.convert("P").save(folder / "palette.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    picture.save(folder / "misnamed.jpg", "PNG")
    result = evaluate(folder)
    assert result.bad == []
    images = result.images.images
    assert len(images) == 7
    assert images["deep.png"].numbers["glcm_score"] == pytest.approx(
        images["grey.png"].numbers["glcm_score"], abs=0.02
    )
    assert image_facts(images["misnamed.jpg"])["jpeg_source"] == "re-encoded"


def test_bad_files_are_named_and_the_rest_measured(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 2)
    whole = (folder / "0.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    Image.new("RGB", (40, 40)).save(folder / "tiny.png")
    result = evaluate(folder)
    assert sorted(result.images.images) == ["0.jpg", "1.jpg"]
    assert sorted(result.images.bad) == ["empty.png", "tiny.png", "truncated.jpg"]
    assert "64x64" in result.images.bad["tiny.png"]
    assert all(str(folder) in line for line in result.bad)


def test_quality_and_reencoding(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 1)
    Image.open(folder / "0.jpg").save(folder / "low.jpg", quality=60)
    assert evaluate(folder).images.other_quality == ["low.jpg"]
    anew = evaluate(folder, settings=MeasureSettings(reencode=True)).images
    assert anew.other_quality == []
    assert {image_facts(image)["jpeg_source"] for image in anew.images.values()} == {"re-encoded"}


def test_kept_measurements_are_reused(tmp_path: Path) -> None:
    ours, real = fill(tmp_path / "ours", 3), fill(tmp_path / "real", 3, seed=1)
    cache, extractor = tmp_path / "cache", MeanColour()
    first = evaluate(ours, real, extractor=extractor, cache=cache).to_json()
    assert extractor.calls == 6
    (ours / "0.jpg").rename(ours / "9.jpg")
    Image.new("RGB", (80, 80)).save(ours / "1.jpg")
    again = evaluate(ours, real, extractor=extractor, cache=cache).to_json()
    assert extractor.calls == 7
    assert again["evaluated"]["images"]["9.jpg"] == first["evaluated"]["images"]["0.jpg"]
    assert again["reference"] == first["reference"]


def test_damaged_kept_measurement_is_made_anew(tmp_path: Path) -> None:
    folder, cache = fill(tmp_path / "images", 1), tmp_path / "cache"
    first = evaluate(folder, cache=cache).to_json()
    kept = sorted(cache.rglob("*.safetensors"))
    assert [file.parent.name for file in kept] == ["glcm", "jpeg"]
    for file in kept:
        file.write_bytes(file.read_bytes()[:20])
    assert evaluate(folder, cache=cache).to_json() == first


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder: give a folder of images"):
        evaluate(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no images"):
        evaluate(tmp_path)
    (tmp_path / "file.jpg").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        evaluate(tmp_path / "file.jpg")
    with pytest.raises(Diffusion4kError, match=r"none of its 1 image.*file\.jpg"):
        evaluate(tmp_path)
    with pytest.raises(UsageError, match="--patch-size 0"):
        MeasureSettings(patch_size=0)
