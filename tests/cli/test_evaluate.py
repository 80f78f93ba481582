"""`diffusion4k evaluate` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from diffusion4k.cli.evaluate import register
from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import detail_distance, glcm_properties
from diffusion4k.support import progress
from tests.metrics.tiny_networks import tiny_aesthetics, tiny_clip_folder


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for n in range(2):
        shades = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(shades).resize((256, 256)).save(tmp_path / f"[b]{n}.jpg", quality=95)
    return tmp_path


def test_table_and_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    out = folder / "results" / "results.json"
    done = run(folder, "--reference", folder, "--out", out, "--patches-per-image", "1")
    assert done.exit_code == 0, done.output
    # A file name is no markup.
    assert "[b]0.jpg" in done.stdout and "256x256" in done.stdout
    assert "FD-EffNet: 0.00 (2 samples against 2)" in done.stdout
    assert "GLCM contrast" not in done.stdout
    assert "measuring: 4/4, " in done.stderr
    results = json.loads(out.read_text())
    assert results["distances"]["FD-EffNet-patch"]["samples"] == 2
    assert results["extractor"]["name"] == "EfficientNet-Lite0"


def test_networks_compute_where_the_user_wants(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measures_for(*arguments: object, **_: object) -> tuple[list, list]:
        asked.append(str(arguments[2]))
        return [], []

    def make_measures(_: object, __: object, device: str, **___: object) -> tuple[list, list]:
        asked.append(device)
        return [], []

    monkeypatch.setattr("diffusion4k.metrics.selection.measures_for", measures_for)
    monkeypatch.setattr("diffusion4k.benchmark.ratings_agreement.make_measures", make_measures)
    for device in ("meta", None):
        done = run(folder, "--all", *(["--device", device] if device else []))
        assert done.exit_code == 0, done.output
    assert asked == ["meta", "cuda" if torch.cuda.is_available() else "cpu"]
    run(tmp_path, "--against", rated(tmp_path), "--device", "meta")
    assert asked[2:] == ["meta"]
    done = run(folder, "--all", "--device", "abacus")
    assert isinstance(done.exception, UsageError) and "device abacus" in str(done.exception)


def test_bad_image_fails_but_keeps_the_rest(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    out = folder / "results.json"
    done = run(folder, "--out", out)
    assert isinstance(done.exception, Diffusion4kError)
    assert done.exception.exit_code == 1
    assert "1 of 3 images could not be measured" in str(done.exception)
    assert str(folder / "bad.jpg") in str(done.exception)
    assert json.loads(out.read_text())["evaluated"]["n_images"] == 2


def test_skip_bad_counts(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    done = run(folder, "--skip-bad")
    assert done.exit_code == 0
    assert "skipped 1 of 3 images" in done.stderr and "bad.jpg" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no such folder: give a folder of images"),
        (["."], "holds no images"),
        ([".", "--patch-size", "0"], "at least 1"),
        ([".", "--out", "."], "is a folder"),
    ],
)
def test_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def rated(folder: Path) -> Path:
    """Four images that get rougher, and two people who see it."""
    rng = np.random.default_rng(1)
    lines = ["image,rater,rating"]
    for n in range(4):
        pixels = np.clip(128 + rng.normal(0, 1 + 12 * n, (128, 128, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.jpg", quality=95)
        lines += [f"{n}.jpg,anna,{2 * n + 1}", f"{n}.jpg,ben,{2 * n + 2}"]
    ratings = folder / "ratings.csv"
    ratings.write_text("\n".join(lines))
    return ratings


def test_against_ratings(tmp_path: Path) -> None:
    ratings, out = rated(tmp_path), tmp_path / "results/r.json"
    done = run(tmp_path, "--against", ratings, "--out", out)
    assert done.exit_code == 0, done.output
    assert "Against the mean ratings of 4 images by 2 raters" in done.stdout
    assert "0.75/0.77" in done.stdout and "Krippendorff's alpha, ordinal" in done.stdout
    found = json.loads(out.read_text())["against"]
    assert found["indicators"]["compression_ratio"]["enters_as"] == "1 / Compression Ratio"
    for name in ("glcm_score", "compression_ratio"):
        assert found["indicators"][name]["srcc"]["value"] == pytest.approx(1)
    assert found["indicators"]["glcm_score"]["paper"] == {"srcc": 0.75, "plcc": 0.77}
    assert (tmp_path / "results/r-ratings.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "results/r-ratings.svg").read_text()


def test_one_figure_where_it_is_wanted(tmp_path: Path) -> None:
    ratings, figure = rated(tmp_path), tmp_path / "plots.pdf"
    done = run(tmp_path, "--against", ratings, "--figure", figure)
    assert done.exit_code == 0, done.output
    assert figure.read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "none.csv"], "none.csv: cannot be read"),
        (["--against", "ratings.csv", "--figure", "plots.gif"], "allowed are files ending in .png"),
        (["--against", "ratings.csv", "--scale", "1", "5"], "outside the scale of 1 to 5"),
        (["--against", "ratings.csv", "--networks", "n.yaml"], "did you mean aesthetics_clip?"),
        (["--against", "two.csv"], "2 images both measured and rated"),
        (["--figure", "plots.png"], "--figure: goes with --against"),
    ],
)
def test_ratings_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rated(tmp_path)
    Path("n.yaml").write_text("aesthetic_clip: x\n")
    Path("two.csv").write_text("image,rating\n0.jpg,3\n1.jpg,4\n")
    done = run(".", *options)
    assert isinstance(done.exception, Diffusion4kError), done.output
    assert message in str(done.exception) and "\n" not in str(done.exception)


def test_no_place_for_results_is_told_first(tmp_path: Path) -> None:
    rated(tmp_path)
    done = run(tmp_path, "--out", tmp_path / "ratings.csv/r.json")
    assert isinstance(done.exception, UsageError)
    assert "ratings.csv is a file" in str(done.exception)
    assert "measured" not in done.stderr


def test_patches_too_small_for_some_metrics(tmp_path: Path) -> None:
    """A metric is left out for all images rather than an image for all metrics."""
    ratings = rated(tmp_path)
    (tmp_path / "n.yaml").write_text("pyiqa: []\n")
    for n in range(4):
        path = tmp_path / f"{n}.jpg"
        Image.open(path).crop((0, 0, 96, 96)).save(path, quality=95)
    (tmp_path / "3.jpg").write_bytes(b"broken")
    done = run(tmp_path, "--against", ratings, "--skip-bad", "--networks", tmp_path / "n.yaml")
    assert done.exit_code == 0, done.output
    assert "Against the mean ratings of 3 images" in done.stdout
    assert "not measured: spectrum: 0.jpg: image of 96x96 is too small" in done.stdout
    assert "3.jpg: rated, but not among the images" in done.stdout


def test_all_metrics_of_the_benchmark(folder: Path, tmp_path: Path) -> None:
    """In the table and in the results, where each equals its own function."""
    out = tmp_path / "results/r.json"
    done = run(folder, "--reference", folder, "--all", "--out", out)
    assert done.exit_code == 0, done.output
    for shown in ("GLCM contrast", "energy at 2 px (log2)", "spectrum, distance: 0.000"):
        assert shown in done.stdout
    assert "not measured: fid, kid, fid_patch: no weights: `inception`" in done.stdout
    results = json.loads(out.read_text())
    images = results["evaluated"]["images"]
    for name, image in images.items():
        wanted = glcm_properties(folder / name)
        assert image["glcm_contrast"] == pytest.approx(wanted["contrast"])
        assert image["detail_distance"] == pytest.approx(detail_distance(folder / name))
        assert {"glcm_asm", "band_1", "band_5", "repetition"} <= image.keys()
    mean = np.mean([image["detail_distance"] for image in images.values()])
    assert results["evaluated"]["detail_distance"] == pytest.approx(mean)
    assert results["distances"]["Detail distance to reference"]["value"] == pytest.approx(0)
    assert "64 levels" in results["protocols"]["glcm"]


def test_metrics_with_networks(folder: Path, tmp_path: Path) -> None:
    """Prompts come from metadata.jsonl; where one is missing no metric needs prompts."""
    clip = tiny_clip_folder(tmp_path / "networks/clip")
    tiny_aesthetics(tmp_path / "networks/linear.pth")
    section = {"clip": clip, "aesthetics_clip": clip, "cmmd_clip": clip, "pyiqa": []}
    section["aesthetics_mlp"] = str(tmp_path / "networks/linear.pth")
    networks, out = tmp_path / "networks.yaml", tmp_path / "results/r.json"
    networks.write_text(json.dumps(section))
    names = [path.name for path in list_images(folder)]
    lines = [json.dumps({"file_name": name, "text": "a lake"}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    arguments = (folder, "--reference", folder, "--networks", networks, "--out", out)
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    results = json.loads(out.read_text())
    for row in (results["evaluated"], *results["evaluated"]["images"].values()):
        assert {"clip_score", "aesthetics", "glcm_contrast"} <= row.keys()
    cmmd = results["distances"]["CMMD"]
    assert (cmmd["value"], cmmd["samples"]) == (pytest.approx(0, abs=1e-6), len(names))
    (folder / "metadata.jsonl").write_text(lines[0])
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    evaluated = json.loads(out.read_text())["evaluated"]
    assert "clip_score" not in evaluated and "aesthetics" in evaluated
    assert "clip_long_prompts: the prompts of 1 of 2 images are not known" in done.stdout


@pytest.mark.parametrize("options", [[], ["--against", "ratings.csv"]])
def test_named_weights_that_fail_end_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rated(tmp_path)
    Path("cut.pth").write_bytes(b"PK")
    clip = tiny_clip_folder(tmp_path / "networks/clip")
    name = f"cut.pth#sha256={'a' * 64}"
    Path("n.yaml").write_text(json.dumps({"aesthetics_clip": clip, "aesthetics_mlp": name}))
    done = run(".", "--networks", "n.yaml", *options)
    assert isinstance(done.exception, Diffusion4kError) and done.exception.exit_code == 1
    assert f"expected {'a' * 64}" in str(done.exception)
    assert "measured" not in done.stderr
