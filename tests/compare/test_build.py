"""The folder that `compare` writes: tiles, data, what is refused, what a stopped run leaves."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from diffusion4k.cli.compare import register
from diffusion4k.compare import build
from diffusion4k.compare.build import compare
from diffusion4k.compare.pyramid import PyramidWriter
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.models import read_models
from diffusion4k.metrics import compression_ratio, glcm_score
from tests.imagesets.conftest import picture

WIDE, SQUARE = (1100, 700), (800, 800)


def data_of(page: Path) -> dict:
    text = (page / "data.js").read_text()
    assert text.startswith("const COMPARISON = ")
    return json.loads(text.removeprefix("const COMPARISON = ").removesuffix(";\n"))


def assembled(page: Path, shown: dict, level: int, suffix: str) -> np.ndarray:
    """The level as a viewer puts it together: every tile at 512 times its place, less overlap."""
    shift = shown["top"] - level
    width, height = -(-shown["width"] >> shift), -(-shown["height"] >> shift)
    whole = np.zeros((height, width, 3), np.uint8)
    for path in (page / "tiles" / shown["id"] / str(level)).glob(f"*{suffix}"):
        column, row = map(int, path.stem.split("_"))
        tile = np.asarray(Image.open(path).convert("RGB"))
        left, top = column * 512 - (column > 0), row * 512 - (row > 0)
        whole[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return whole


def test_tiles_are_the_pixels_and_their_means(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_jpg=WIDE), folder("b", 1, x_png=SQUARE)
    made = compare([str(a), f"ours={b}"], tmp_path / "page")
    data = data_of(made.page.parent)
    assert data["models"] == ["a", "ours"]
    for path, shown in zip((a / "x.jpg", b / "x.png"), data["rows"][0]["pictures"], strict=True):
        exact = np.asarray(Image.open(path).convert("RGB"))
        assert (shown["height"], shown["width"]) == exact.shape[:2]
        assert np.array_equal(assembled(tmp_path / "page", shown, shown["top"], "webp"), exact)
        below = assembled(tmp_path / "page", shown, shown["top"] - 1, "jpg")
        # JPEG loses noise, but hardly the means of its blocks.
        means = [
            np.asarray(Image.fromarray(x).reduce(n), int) for x, n in ((exact, 16), (below, 8))
        ]
        assert np.abs(means[0] - means[1]).max() < 5
        levels = sorted(p.name for p in (tmp_path / "page/tiles" / shown["id"]).iterdir())
        assert levels == sorted([*map(str, range(8, shown["top"] + 1)), "about.json"])


def test_numbers_equal_the_metrics(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_jpg=WIDE), folder("b", x_png=(40, 40))
    compare([str(a), str(b)], tmp_path / "page")
    data = data_of(tmp_path / "page")
    large, tiny = (shown["numbers"] for shown in data["rows"][0]["pictures"])
    assert large == pytest.approx(
        {
            "glcm_score": glcm_score(a / "x.jpg"),
            "compression_ratio": compression_ratio([a / "x.jpg"]),
        }
    )
    assert tiny == pytest.approx(
        {"compression_ratio": compression_ratio([b / "x.png"], reencode=True)}
    )
    assert [heading["text"] for heading in data["headings"]] == ["GLCM Score", "Compression Ratio"]


def test_numbers_from_the_benchmark(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_png=SQUARE), folder("b", x_png=SQUARE)
    table = tmp_path / "images.csv"
    lines = ["row,image,prompt,seed,clip_score,fid", 'a,x.png,"x, y",0,31.25,', "c,x.png,x,0,9,9"]
    table.write_text("\n".join(lines))
    compare([str(a), str(b)], tmp_path / "page", results=[f"a={table}"])
    pictures = data_of(tmp_path / "page")["rows"][0]["pictures"]
    assert pictures[0]["numbers"] == {"clip_score": 31.25}
    with pytest.raises(Diffusion4kError, match=r"no row 'b'.*a, c"):
        compare([str(a), str(b)], tmp_path / "page", results=[f"b={table}"])
    table.write_text("metric,value\n1,2\n")
    with pytest.raises(Diffusion4kError, match=r"images\.csv"):
        compare([str(a), str(b)], tmp_path / "page", results=[f"a={table}"])


def test_numbers_from_results(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_png=SQUARE), folder("b", x_png=SQUARE)
    results = tmp_path / "results.json"
    row = {"width": 800, "clip_score": 31.5, "jpeg_source": "file", "nan": float("nan")}
    results.write_text(json.dumps({"evaluated": {"images": {"x.png": row}}}))
    compare([str(a), str(b)], tmp_path / "page", results=[f"a={results}"])
    data = data_of(tmp_path / "page")
    assert data["rows"][0]["pictures"][0]["numbers"] == {"clip_score": 31.5}
    # Called as everywhere else.
    assert data["headings"][0] == {"name": "clip_score", "text": "CLIPScore", "digits": 2}
    assert "glcm_score" in data["rows"][0]["pictures"][1]["numbers"]
    for wrong, message in (("c=x", "where NAME is one of a, b"), ("a=none", "no such file")):
        with pytest.raises(UsageError, match=message):
            compare([str(a), str(b)], tmp_path / "page", results=[wrong])
    results.write_text('{"images": [1]}')
    with pytest.raises(Diffusion4kError, match='holds no object "images"'):
        compare([str(a), str(b)], tmp_path / "page", results=[f"a={results}"])


def test_small_files_are_jpeg_throughout(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_png=SQUARE), folder("b", 1, x_png=SQUARE)
    compare([str(a), str(b)], tmp_path / "exact")
    compare([str(a), str(b)], tmp_path / "small", small=True)
    sizes = {
        name: sum(p.stat().st_size for p in (tmp_path / name / "tiles").rglob("*.*g*"))
        + sum(p.stat().st_size for p in (tmp_path / name / "tiles").rglob("*.webp"))
        for name in ("exact", "small")
    }
    assert not list((tmp_path / "small").rglob("*.webp"))
    assert sizes["small"] < sizes["exact"]
    assert data_of(tmp_path / "small")["tiles"]["top"] == "jpg"


def test_grey_alpha_and_a_missing_pair(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_png=SQUARE), folder("b", 1, x_png=SQUARE)
    picture(*SQUARE, 5).convert("L").save(a / "grey.png")
    Image.new("RGBA", SQUARE, (255, 0, 0, 0)).save(b / "grey.png")
    picture(*SQUARE, 6).save(a / "alone.png")
    made = compare([str(a), str(b)], tmp_path / "page")
    assert made.missing == [f"b: no image for that of {a / 'alone.png'}"]
    data = data_of(tmp_path / "page")
    rows = {row["prompt"]: row["pictures"] for row in data["rows"]}
    assert rows["alone"][1] is None
    clear = rows["grey"][1]
    assert (assembled(tmp_path / "page", clear, clear["top"], "webp") == 255).all()


def test_broken_images(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_png=SQUARE, y_png=SQUARE), folder("b", 1, x_png=SQUARE, y_png=SQUARE)
    (a / "x.png").write_bytes((a / "x.png").read_bytes()[:9000])
    with pytest.raises(Diffusion4kError, match=r"x.png: damaged .*--skip-bad"):
        compare([str(a), str(b)], tmp_path / "page")
    assert not (tmp_path / "page" / "index.html").exists()
    made = compare([str(a), str(b)], tmp_path / "page", skip_bad=True)
    assert len(made.skipped) == 1
    assert data_of(tmp_path / "page")["rows"][0]["pictures"][0] == {"file": "x.png"}


def test_places_that_are_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, b = folder("a", x_png=SQUARE), folder("b", 1, x_png=SQUARE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty and not a comparison"):
        compare([str(a), str(b)], tmp_path / "mine")
    with pytest.raises(UsageError, match="a file, not a folder"):
        compare([str(a), str(b)], tmp_path / "mine" / "thesis.tex")
    with pytest.raises(UsageError, match=r"lies in .*, one of the image folders"):
        compare([str(a), str(b)], a / "page")
    assert not (a / "page").exists()


def test_goes_on_and_clears_away(
    folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = folder("a", x_png=SQUARE, y_png=SQUARE), folder("b", 1, x_png=SQUARE, y_png=SQUARE)
    arguments, page = [str(a), str(b)], tmp_path / "page"
    written: list[Path] = []
    write = PyramidWriter.write

    def counting(self: PyramidWriter, path: Path, *rest: object) -> object:
        if len(written) == 2 and "stop" in os.environ:
            raise KeyboardInterrupt
        written.append(path)
        return write(self, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PyramidWriter, "write", counting)
    monkeypatch.setenv("stop", "1")
    with pytest.raises(KeyboardInterrupt):
        compare(arguments, page)
    assert len(written) == 2 and not (page / "index.html").exists()
    monkeypatch.delenv("stop")
    (page / "tiles" / ".killed.part").mkdir()
    compare(arguments, page)
    assert len(written) == 4
    before = {path.name for path in (page / "tiles").iterdir()}
    assert ".killed.part" not in before
    picture(*SQUARE, 77).save(a / "x.png")
    compare(arguments, page)
    after = {path.name for path in (page / "tiles").iterdir()}
    assert len(written) == 5 and len(before - after) == len(after - before) == 1


def test_one_image_under_two_names_is_made_once(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    a, b = folder("a", x_png=SQUARE), folder("b", x_png=SQUARE)
    compare([str(a), str(b)], tmp_path / "page")
    assert len(list((tmp_path / "page" / "tiles").iterdir())) == 1


def test_no_markup_comes_from_data(folder: Callable[..., Path], tmp_path: Path) -> None:
    nasty = '</script><script>alert(1)</script>\u2028"\\'
    a, b = folder("a", x_png=SQUARE), folder("b", x_png=SQUARE)
    (a / "metadata.jsonl").write_text(json.dumps({"file_name": "x.png", "text": nasty}))
    made = compare([str(a), str(b)], tmp_path / "page", title=nasty)
    assert "alert" not in made.page.read_text()
    assert data_of(tmp_path / "page")["rows"][0]["prompt"] == nasty
    assert (tmp_path / "page" / "data.js").read_text().isascii()


def test_command(folder: Callable[..., Path], tmp_path: Path) -> None:
    app = Typer()
    register(app)
    app.callback()(lambda: None)
    a, b = folder("a", x_png=SQUARE, y_png=SQUARE), folder("b", 1, x_png=SQUARE)
    words = ["compare", str(a), str(b), "--out", str(tmp_path / "page")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "page" / "index.html") in result.output
    assert f"missing: b: no image for that of {a / 'y.png'}" in result.output
    result = CliRunner().invoke(app, [*words, "--match", "size"])
    assert isinstance(result.exception, UsageError)
    assert build.MOST == 6


def test_a_link_out_of_a_model_s_folder_is_not_published(tmp_path: Path) -> None:
    for name in ("model", "outside"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    (tmp_path / "model" / "b.png").symlink_to(tmp_path / "outside" / "a.png")
    with pytest.raises(Diffusion4kError, match=r"b\.png: a link that leads out of .*model"):
        read_models([str(tmp_path / "model")], 1, 1)
