"""Whole builds: what is kept, what is dropped and why, and what is not done twice."""

import csv
import json
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import diffusion4k.curation.steps.header as header_step
import diffusion4k.curation.steps.measure as measure_step
import diffusion4k.curation.steps.quality as quality_step
from diffusion4k.data.folder import read_folder
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError
from tests.curation.conftest import LENIENT, Build, picture, save


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts headers read and pictures measured."""
    counts: Counter[str] = Counter()
    for module, name in ((header_step, "image_header"), (measure_step, "open_pixels")):
        real = getattr(module, name)

        def counting(*args: object, _real=real, _name=name, **keys: object) -> object:
            counts[_name] += 1
            return _real(*args, **keys)

        monkeypatch.setattr(module, name, counting)
    return counts


def test_the_result_is_what_the_trainer_reads(photos: Path, build: Build) -> None:
    built = build(photos, split={"count": 1})
    assert (built.summary.kept, built.summary.candidates) == (4, 4)
    trained, held_out = (read_folder(built.output / split) for split in ("train", "eval"))
    assert (len(trained), len(held_out)) == (3, 1)
    original = {photo.file_name: photo for photo in read_folder(photos)}
    for photo in (*trained, *held_out):
        assert photo.path.read_bytes() == original[photo.file_name].path.read_bytes()
        assert photo.text == original[photo.file_name].text
    row = built.by_name()["b.png"]
    assert row["name"] == "b.png" and row["kept"] and row["step"] is row["reason"] is None
    assert (row["width"], row["height"], row["format"]) == (96, 64, "PNG")
    assert row["bytes"] == (photos / "b.png").stat().st_size
    assert row["split"] in ("train", "eval") and row["text"] == "picture 1"


def test_the_manifest_says_how_it_came_to_be(photos: Path, build: Build) -> None:
    built = build(photos)
    schema = pq.read_schema(built.output / "manifest.parquet")
    types = {field.name: str(field.type).removeprefix("large_") for field in schema}
    expected = {"name": "string", "source": "string", "width": "int32", "height": "int32"}
    expected |= {"bytes": "int64", "format": "string", "pixel_hash": "string", "text": "string"}
    expected |= {"split": "string", "kept": "bool", "step": "string", "reason": "string"}
    assert expected.items() <= types.items()
    assert json.loads(schema.metadata[b"recipe"])["sources"][0]["path"] == str(photos)
    limits = json.loads(schema.metadata[b"thresholds"])
    assert limits and all(types[name] == "double" for name in limits)


def test_ugly_pictures_are_used_or_dropped_with_their_reason(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "photos"
    save(folder / "good.jpg", 0)
    picture(1).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    deep = np.random.default_rng(2).integers(0, 65536, (64, 96)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(3).save(folder / "turned.jpg", quality=95, exif=exif)
    frames = [picture(4), picture(5)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    cut = save(folder / "cut.jpg", 6)
    cut.write_bytes(cut.read_bytes()[:1500])
    (folder / "empty.jpg").touch()
    (folder / "words.png").write_text("no picture")
    bomb = bytearray(save(folder / "bomb.png", 7).read_bytes())
    bomb[16:24] = (200_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bomb)
    save(folder / "small.jpg", 8, 40, 31)
    save(folder / "long.jpg", 9, 400, 64)
    save(folder / "many.png", 10, 300, 200)
    built = build(folder, header={"max_pixels": 50_000})
    rows = built.by_name()
    used = ("good.jpg", "cmyk.jpg", "sixteen.png", "turned.jpg", "moving.gif")
    assert {name for name, row in rows.items() if row["kept"]} == set(used)
    assert (rows["turned.jpg"]["width"], rows["turned.jpg"]["height"]) == (64, 96)
    for name in used:
        assert built.files()[f"train/{name}"] == (folder / name).read_bytes()
    for name, reason in {
        "cut.jpg": "measure: damaged or truncated image",
        "empty.jpg": "header: empty file",
        "words.png": "header: not an image",
        "bomb.png": "header: larger than 1 gigapixel",
        "small.jpg": "header: shorter side: 31 pixels, allowed at least 32",
        "long.jpg": "header: aspect: 6.25 to 1, allowed at most 3",
        "many.png": "header: pixels: 60000, allowed at most 50000",
    }.items():
        assert built.reason(name).startswith(reason), built.reason(name)
    with (built.output / "dropped.csv").open(newline="") as file:
        table = {Path(row["source"]).name: row for row in csv.DictReader(file)}
    assert {name: row["reason"] for name, row in table.items()} == {
        name: row["reason"] for name, row in rows.items() if not row["kept"]
    }
    measured = [table["long.jpg"][key] for key in ("step", "what", "value", "threshold")]
    assert measured == ["header", "aspect", "6.25 to 1", "at most 3"]
    assert table["cut.jpg"]["step"] == "measure" and table["cut.jpg"]["value"] == ""


def test_a_threshold_is_named_with_the_value_that_missed_it(photos: Path, build: Build) -> None:
    limit = sorted(row["noise"] for row in build(photos).rows)[2]
    built = build(photos, thresholds=LENIENT | {"noise": {"max_noise": limit}})
    with (built.output / "dropped.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["step"], row["what"], row["threshold"]) == ("noise", "noise", f"at most {limit:g}")
    assert float(row["value"]) == pytest.approx(
        built.by_name()[Path(row["source"]).name]["noise"], rel=0.01
    )
    built = build(photos)  # what is let in again is gone from it
    assert (built.output / "dropped.csv").read_text() == "source,step,what,value,threshold,reason\n"


def test_what_is_too_small_is_not_decoded(tmp_path: Path, build: Build, work) -> None:
    save(tmp_path / "in/a.jpg", 0, 96, 64)
    save(tmp_path / "in/b.jpg", 1, 60, 40)
    build(tmp_path / "in", header={"min_shorter_side": 50})
    assert work == {"image_header": 2, "open_pixels": 1}
    build(tmp_path / "in")
    assert work == {"image_header": 2, "open_pixels": 2}


def test_a_changed_threshold_measures_nothing_anew(photos: Path, build: Build, work) -> None:
    first = build(photos).files()
    assert work == {"image_header": 4, "open_pixels": 4}
    strict = build(photos, header={"min_shorter_side": 64, "max_aspect": 2}, split={"share": 0.5})
    assert strict.summary.kept == 4 and strict.files().keys() != first.keys()
    assert work == {"image_header": 4, "open_pixels": 4}
    (photos / "a.txt").write_text("another caption")
    save(photos / "b.png", 77)
    build(photos)
    assert work == {"image_header": 5, "open_pixels": 5}


def test_what_is_dropped_later_is_taken_out_of_the_folders(photos: Path, build: Build) -> None:
    first = build(photos, split={"count": 2})
    assert any(name.startswith("eval/") for name in first.files())
    (photos / "deep/d.jpg").unlink()
    (first.output / "train/own.jpg").write_bytes(b"laid here by hand")
    again = build(photos)
    assert {name for name in again.files() if name != "train/metadata.jsonl"} == {
        "train/a.jpg",
        "train/b.png",
        "train/deep/c.webp",
    }
    assert not (again.output / "eval").exists()
    assert "metadata.jsonl:4" in again.rows[-1]["source"] and "no such" in again.rows[-1]["reason"]


def test_damage_to_the_output_is_mended(photos: Path, build: Build) -> None:
    whole = build(photos).files()
    (photos.parent / "out/train/a.jpg").write_bytes(b"broken")
    (photos.parent / "out/train/b.png").unlink()
    for part in (photos.parent / "out/work").rglob("*.parquet"):
        part.write_bytes(part.read_bytes()[:-7])
    assert build(photos).files() == whole


def test_writing_anew_is_upright_and_never_larger(tmp_path: Path, build: Build) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    exif[0x010F] = "the maker"
    picture(3).save(tmp_path / "turned.png", exif=exif)
    save(tmp_path / "large.jpg", 4, 300, 200)
    built = build(tmp_path, publish={"format": "png", "max_shorter_side": 100})
    turned = Image.open(built.output / "train/turned.png")
    assert turned.size == (64, 96) and not turned.getexif()
    assert np.array_equal(np.asarray(turned), np.asarray(open_rgb(tmp_path / "turned.png")))
    assert Image.open(built.output / "train/large.jpg.png").size == (150, 100)
    jpeg = build(tmp_path, publish={"format": "jpeg", "quality": 90})
    assert Image.open(jpeg.output / "train/large.jpg").size == (300, 200)
    assert Image.open(jpeg.output / "train/turned.png.jpg").format == "JPEG"
    assert len(jpeg.files()) == 3


def test_the_first_section_that_objects_drops_and_says_all_it_has(
    photos: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = sorted(row["brightness"] for row in build(photos).rows)[2]

    def rejections(values: dict[str, float | None], _: object) -> list[quality_step.Rejection]:
        # The brighter half is blurred twice over and badly exposed.
        if (values["brightness"] or 0) < limit:
            return []
        found = [("exposure", "brightness"), ("blur", "edges 1, 2 allowed"), ("blur", "motion")]
        return [quality_step.Rejection(*each) for each in found]

    monkeypatch.setattr(quality_step, "rejections", rejections)
    built = build(photos)
    order = [step["step"] for step in built.summary.counts()["steps"]]
    first = min(("exposure", "blur"), key=order.index)
    bright = [row for row in built.rows if row["brightness"] >= limit]
    assert len(bright) == 2
    for row in built.rows:
        dropped = (first, "edges 1, 2 allowed; motion" if first == "blur" else "brightness")
        assert (row["step"], row["reason"]) == (dropped if row in bright else (None, None))


def test_of_duplicates_the_largest_stays(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "photos"
    large = picture(1, 192, 128)
    folder.mkdir()
    large.save(folder / "large.png")
    large.save(folder / "same pixels.bmp")
    large.resize((96, 64), Image.Resampling.LANCZOS).save(folder / "a small one.png")
    save(folder / "other.png", 2)
    built = build(folder)
    assert {name for name, row in built.by_name().items() if row["kept"]} == {
        "same pixels.bmp",
        "other.png",
    }
    assert built.reason("large.png").startswith("duplicates: exact duplicate: of same pixels.bmp")
    assert built.reason("a small one.png").startswith("duplicates: near-duplicate: of same pixels")


def test_several_sources_keep_apart(tmp_path: Path, build: Build) -> None:
    save(tmp_path / "one/a.jpg", 0)
    save(tmp_path / "two/a.jpg", 1)
    save(tmp_path / "three/A.JPG", 2, quality=95)
    sources = [{"path": str(tmp_path / name)} for name in ("one", "two", "three")]
    sources[2]["prefix"] = "more"
    names = sorted(build(*sources).files())
    assert names[0] == "train/a-" + names[0][8:16] + ".jpg"
    assert names[1:] == ["train/a.jpg", "train/metadata.jsonl", "train/more/A.JPG"]


def test_endings_do_not_make_two_names_one(tmp_path: Path, build: Build) -> None:
    save(tmp_path / "in/a.png", 0)
    save(tmp_path / "in/a.png.jpg", 1, quality=95)
    built = build(tmp_path / "in", publish={"format": "jpeg"})
    assert built.summary.kept == 1 and len(built.files()) == 2
    assert built.reason("a.png.jpg").startswith("split: name: a.png.jpg is also that of another")


def test_counts_agree_with_the_manifest(photos: Path, build: Build) -> None:
    save(photos / "tiny.jpg", 9, 20, 20)
    (photos / "empty.jpg").touch()
    built = build(photos)
    counts = json.loads((built.output / "counts.json").read_text())
    by_step = Counter(row["step"] for row in built.rows)
    left = counts["candidates"]
    assert left == len(built.rows) == 6
    for step in counts["steps"]:
        assert step["dropped"] == by_step[step["step"]] == sum(step["reasons"].values())
        left -= step["dropped"]
        assert step["kept"] == left
    assert counts["train"] + counts["eval"] == left == by_step[None] == 4
    header = next(step for step in counts["steps"] if step["step"] == "header")
    assert header["reasons"] == {"empty file": 1, "shorter side": 1}


def test_nothing_kept_is_an_error_with_a_manifest(photos: Path, build: Build) -> None:
    with pytest.raises(Diffusion4kError, match="no picture of 4 was kept"):
        build(photos, header={"min_shorter_side": 4096})
    assert (photos.parent / "out/manifest.parquet").is_file()


def test_a_folder_of_somebody_else_is_left_alone(photos: Path, build: Build) -> None:
    theirs = save(photos.parent / "out/train/precious.jpg", 0)
    with pytest.raises(Diffusion4kError, match="not written by"):
        build(photos)
    assert theirs.is_file()


def test_small_pictures_are_not_evaluated_on(tmp_path: Path, build: Build) -> None:
    for seed in range(6):
        save(tmp_path / f"photos/{seed}.jpg", seed, *((96, 64) if seed % 2 else (60, 40)))
    built = build(tmp_path / "photos", split={"count": 5, "min_shorter_side": 64})
    assert {row["name"] for row in built.rows if row["split"] == "eval"} == {
        "1.jpg",
        "3.jpg",
        "5.jpg",
    }


def test_near_duplicates_that_were_kept_stay_on_one_side(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        large = picture(seed, 192, 128)
        large.save(folder / f"{seed}-large.png")
        large.resize((150, 100), Image.Resampling.LANCZOS).save(folder / f"{seed}-small.png")
    lenient = {"distance": 0, "least_correlation": 1.0}
    built = build(folder, duplicates=lenient, split={"count": 6})
    sides = {row["name"]: row["split"] for row in built.rows if row["kept"]}
    assert len(sides) == 12
    for seed in range(6):
        assert sides[f"{seed}-large.png"] == sides[f"{seed}-small.png"]
    assert set(sides.values()) == {"train", "eval"}
