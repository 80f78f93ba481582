"""Whole benchmarks of folders: what is measured, what compares, and what is done with bad files."""

import csv
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusion4k.support.files
from diffusion4k.benchmark.recipe import checked_recipe
from diffusion4k.benchmark.results import BenchmarkResults
from diffusion4k.benchmark.run import FILES, run_benchmark
from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import compression_ratio, glcm_score
from tests.benchmark.pictures import PROMPTS, fill, pixels
from tests.metrics.tiny_networks import tiny_aesthetics, tiny_clip_folder, tiny_dino_folder


def run(output: Path, *folders: Path, **values: object) -> BenchmarkResults:
    models = [{"name": folder.name, "images": folder} for folder in folders]
    settings = {"output": output, "models": models, "resamples": 100}
    results = run_benchmark(checked_recipe(settings | values), skip_bad=True)
    assert results is not None
    return results


def row(results: BenchmarkResults, name: str):
    return next(row for row in results.rows if row.name == name)


def test_two_folders_and_photographs(tmp_path: Path) -> None:
    soft = fill(tmp_path / "soft", 4, noise=2)
    rough = fill(tmp_path / "rough", 4, noise=20)
    photographs = fill(tmp_path / "photographs", 5, seed=50)
    results = run(tmp_path / "out", soft, rough, prompts=str(photographs))
    ours = row(results, "soft")
    scores = [glcm_score(path) for path in list_images(soft)]
    assert ours.cells["glcm_score"].value == pytest.approx(np.mean(scores), rel=1e-9)
    assert ours.cells["compression_ratio"].value == pytest.approx(
        compression_ratio(list_images(soft))
    )
    assert ours.cells["fd_effnet_patch"].value > 0
    assert row(results, "photographs").cells.get("fd_effnet") is None
    assert (ours.notes, row(results, "rough").notes) == ((), ())
    [difference] = results.differences
    assert (difference.first, difference.second, difference.pairs) == ("soft", "rough", 4)
    assert difference.cells["glcm_score"].high < 0
    best = {c.name: results.best(c) for c in results.columns}
    assert best["compression_ratio"] == {"rough"}
    assert {missing.columns[0] for missing in results.missing} >= {"fid", "clip_score"}
    assert any("Fréchet" in note for note in results.notes)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {*FILES, "measured"}
    saved = json.loads((tmp_path / "out/results.json").read_text())
    assert saved["rows"][0]["cells"]["glcm_score"]["value"] == ours.cells["glcm_score"].value
    assert saved["prompts"]["count"] == 5 and saved["recipe"]["models"][1]["name"] == "rough"
    with (tmp_path / "out/results.csv").open() as file:
        lines = {(line["row"], line["metric"]): line for line in csv.DictReader(file)}
    assert float(lines["rough", "glcm_score"]["value"]) > np.mean(scores)
    assert lines["SD3-F16-WLF", "fid"]["value"] == "40.18"
    assert "2048x2048, not 256x256" in lines["SD3-F16-WLF", "fid"]["compares"]
    with (tmp_path / "out/images.csv").open() as file:
        images = [line for line in csv.DictReader(file) if line["row"] == "soft"]
    assert [line["image"] for line in images] == [path.name for path in list_images(soft)]
    assert [float(line["glcm_score"]) for line in images] == pytest.approx(scores)
    assert (images[2]["prompt"], images[2]["seed"]) == (PROMPTS[2], "0")
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/jpeg") == 8
    # Nothing is fetched: what is left are the names of SVG's parts.
    assert "://" not in page.replace("http://www.w3.org/", "")


def test_a_second_run_measures_nothing_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, rough = fill(tmp_path / "soft", 3), fill(tmp_path / "rough", 3, noise=30)
    first = run(tmp_path / "out", soft, rough, reference=soft)
    report = (tmp_path / "out/report.html").read_text()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("diffusion4k.metrics.glcm.glcm_map", never)
    monkeypatch.setattr("diffusion4k.metrics.compression.jpeg_bytes", never)
    again = run(tmp_path / "out", soft, rough, reference=soft)
    assert again.to_json() == first.to_json()
    assert (tmp_path / "out/report.html").read_text() == report


def test_rows_that_do_not_compare_say_why(tmp_path: Path) -> None:
    base = fill(tmp_path / "base", 4)
    wide = fill(tmp_path / "wide", 4, size=(384, 256))
    fewer = fill(tmp_path / "fewer", 3, suffix=".png")
    unknown = fill(tmp_path / "unknown", 4, prompts=False)
    results = run(tmp_path / "out", base, wide, fewer, unknown)
    assert row(results, "base").notes == ()
    assert row(results, "wide").notes == ("other size: 384x256, not 256x256",)
    assert row(results, "fewer").notes == (
        "other prompts: 3 of 4 in common",
        "other number of images: 3, not 4",
        "other files: PNG, not JPEG",
    )
    assert row(results, "unknown").notes == ("prompts of some images are not known",)
    assert all(results.best(column) == set() for column in results.columns)
    pairs = {(each.first, each.second): each.pairs for each in results.differences}
    assert pairs == {("base", "wide"): 4, ("base", "fewer"): 3, ("wide", "fewer"): 3}
    told = "\n".join(results.notes)
    assert "base and fewer: 3 pairs of 4 and 3 images" in told
    assert "unknown: the prompts of 4 of 4 images are not known" in told
    reason = {name: each.reason for each in results.missing for name in each.columns}
    assert "no photographs" in reason["fd_effnet"]


def test_a_common_crop_makes_sizes_compare(tmp_path: Path) -> None:
    square = fill(tmp_path / "square", 3, size=(320, 320))
    wide = fill(tmp_path / "wide", 3, size=(384, 256))
    results = run(tmp_path / "out", square, wide, crop="common")
    assert [each.size for each in results.of_kind("ours")] == ["320x256", "320x256"]
    assert row(results, "wide").notes == ()
    assert "measured: the centre of every image, 320x256" in results.notes
    cut = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "out/cropped/wide").iterdir())]
    whole = [np.asarray(Image.open(path)) for path in list_images(wide)]
    assert all((a == b[:, 32:352]).all() for a, b in zip(cut, whole, strict=True))
    wanted = np.mean([glcm_score(pixels) for pixels in cut])
    assert row(results, "wide").cells["glcm_score"].value == pytest.approx(wanted)
    with pytest.raises(UsageError, match=r"00\.jpg: 320x320 is smaller than crop 384x256"):
        run(tmp_path / "out", wide, square, crop=[384, 256])


def test_metrics_with_networks_where_weights_are_given(tmp_path: Path) -> None:
    clip = tiny_clip_folder(tmp_path / "clip")
    tiny_aesthetics(tmp_path / "linear.pth")
    networks = {
        "clip": clip,
        "aesthetics_clip": clip,
        "aesthetics_mlp": str(tmp_path / "linear.pth"),
        "dinov2": tiny_dino_folder(tmp_path / "dino"),
        "pyiqa": [],
    }
    told, untold = fill(tmp_path / "told", 3), fill(tmp_path / "untold", 3, prompts=False)
    results = run(tmp_path / "out", told, untold, prompts=str(told), networks=networks)
    cells = {each.name: each.cells for each in results.of_kind("ours", "photographs")}
    for name in ("aesthetics", "fd_dinov2"):
        assert cells["untold"][name].value == pytest.approx(cells["told"][name].value, abs=1e-6)
    assert cells["told"]["clip_score"].low is not None
    assert cells["told"]["clip_score"] == cells["photographs"]["clip_score"]
    assert cells["untold"]["clip_score"].value is None  # Without prompts there is none.
    missing = {name for each in results.missing for name in each.columns}
    assert "fid" in missing and not missing & {"lpips", "clip_score", "aesthetics"}
    assert "CLIPScore" in (tmp_path / "out/report.html").read_text()


def test_named_weights_that_fail_end_it_before_images_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may run for days."""
    (tmp_path / "cut.pth").write_bytes(b"PK")
    settings = {
        "output": tmp_path / "out",
        "models": [{"name": "pocket", "model": "pocket"}],
        "networks": {"inception": str(tmp_path / "cut.pth")},
    }
    monkeypatch.setattr(
        "diffusion4k.benchmark.run.make_images", lambda *_, **__: pytest.fail("made images")
    )
    with pytest.raises(Diffusion4kError, match=r"cut\.pth: cannot be read as weights"):
        run_benchmark(checked_recipe(settings))


def test_bad_grey_and_transparent_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", 3)
    (folder / "broken.jpg").write_bytes((folder / "00.jpg").read_bytes()[:500])
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(pixels(9)).convert("L").save(folder / "grey.png")
    Image.fromarray(pixels(10)).convert("LA").save(folder / "alpha.png")
    Image.fromarray(pixels(11)[:40, :40]).save(folder / "small.png")
    results = run(tmp_path / "out", folder)
    assert set(results.bad["folder"]) == {"broken.jpg", "empty.png", "small.png"}
    assert row(results, "folder").images == 5
    assert "broken.jpg" in (tmp_path / "out/report.html").read_text()


def test_images_that_metadata_names(tmp_path: Path) -> None:
    """Those of sub-folders count; those that are not there are told."""
    folder = fill(tmp_path / "folder/sub", 3).parent
    lines = [{"file_name": f"sub/{n:02}.jpg", "text": PROMPTS[n]} for n in (0, 1)]
    lines.append({"file_name": "gone.jpg", "text": PROMPTS[2]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    results = run(tmp_path / "out", folder)
    assert row(results, "folder").images == 2
    assert "No such file" in results.bad["folder"]["gone.jpg"]


def test_one_image_only(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", 1)
    photographs = fill(tmp_path / "photographs", 3, seed=9)
    results = run(tmp_path / "out", one, prompts=str(photographs))
    found = row(results, "one")
    assert found.cells["glcm_score"].low is None and found.cells["fd_effnet"].value is None
    assert any("no intervals" in note for note in results.notes)
    json.loads((tmp_path / "out/results.json").read_text())


def test_a_ratio_of_foreign_jpegs_is_marked_wherever_it_stands(tmp_path: Path) -> None:
    ours, foreign = fill(tmp_path / "ours", 2), fill(tmp_path / "foreign", 2)
    path = list_images(foreign)[0]
    Image.open(path).save(path, quality=70)
    results = run(tmp_path / "out", foreign, ours)
    marked, plain = row(results, "foreign").cells, row(results, "ours").cells
    assert marked["compression_ratio"].mark == "*" and plain["compression_ratio"].mark == ""
    assert marked["glcm_score"].mark == ""
    assert results.differences[0].cells["compression_ratio"].mark == "*"
    ratio = next(column for column in results.columns if column.name == "compression_ratio")
    assert results.best(ratio) == set()  # nothing that it could be compared with
    [note] = [note for note in results.notes if note.startswith("*")]
    assert note.startswith("* 1 JPEG file not written at quality 95") and "reencode=true" in note
    text = f"{marked['compression_ratio'].value:.2f}*"
    for name in ("report.html", "results.tex"):
        assert text in (tmp_path / "out" / name).read_text()
    with (tmp_path / "out/results.csv").open() as file:
        compares = {
            (line["row"], line["metric"]): line["compares"] for line in csv.DictReader(file)
        }
    assert compares["foreign", "compression_ratio"] == "uses sizes of JPEG files of another quality"
    assert compares["ours", "compression_ratio"] == "yes"
    anew = run(tmp_path / "anew", foreign, ours, reencode=True)
    assert row(anew, "foreign").cells["compression_ratio"].mark == ""
    assert not any("*" in note for note in anew.notes)


def test_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    good = fill(tmp_path / "good", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no images"):
        run(tmp_path / "out", good, tmp_path / "empty")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.jpg").write_bytes(b"no image")
    with pytest.raises(Diffusion4kError, match=r"broken: none of its 1 image .*; a\.jpg: "):
        run(tmp_path / "out", good, broken)
    (tmp_path / "file").write_text("")
    with pytest.raises(Diffusion4kError, match="a file, not a folder"):
        run(tmp_path / "file", good)
    (good / "metadata.jsonl").write_text('{"file_name": "00.jpg"\n')
    with pytest.raises(Diffusion4kError, match=r"metadata\.jsonl:1"):
        run(tmp_path / "out", good)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, output = fill(tmp_path / "folder", 3), tmp_path / "out"
    run(output, folder)
    before = {name: (output / name).read_bytes() for name in FILES}
    shutil.rmtree(output / "measured")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(diffusion4k.support.files.os, "fsync", full)
        with pytest.raises(Diffusion4kError, match="No space left on device") as raised:
            run(output, folder)
    assert raised.value.exit_code == 1
    assert {name: (output / name).read_bytes() for name in FILES} == before
    assert not list(output.rglob("*.part*"))
    assert run(output, folder).rows[0].images == 3
