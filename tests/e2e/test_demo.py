"""The whole demo through the command line, small: report, results, and a second run of it."""

import base64
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.e2e

STAGES = ["check", "cache", "before", "train", "after", "direct", "measure", "report"]


class Page(HTMLParser):
    """Everything a page loads or links to, and the tags it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            value or ""
            for name, value in attributes
            if name in ("src", "srcset", "href", "xlink:href", "data", "poster")
        ]


def diffusion4k(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from diffusion4k.cli.main import main; main()", *arguments]
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)


def test_demo(tmp_path: Path) -> None:
    arguments = ("demo", "--side", "384", "--training-steps", "3", "--sampling-steps", "2")
    first = diffusion4k(*arguments, "--out", "demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "demo/report.html"
    assert "8/8 writing the report" in first.stderr
    assert "FD-EffNet-patch" in first.stderr.split("8/8")[1]
    assert "Warning" not in first.stderr
    out = tmp_path / "demo"

    text = (out / "report.html").read_text()
    assert str(Path(__file__).parents[2]) not in text
    assert "@import" not in text
    page = Page(text)
    assert "svg" in page.tags
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    images = [each for each in page.references if not each.startswith("#")]
    # Two pairs with two marked places each, and the 4:3 image.
    assert len(images) == 2 * (2 + 2 * 2) + 1
    for image in images:
        head, body = image.split(",", 1)
        assert head == "data:image/jpeg;base64"
        Image.open(io.BytesIO(base64.b64decode(body))).load()

    result = json.loads((out / "result.json").read_text())
    assert set(result["seconds"]) >= set(STAGES[:-1])
    assert {name: len(images) for name, images in result["images"].items()} == {
        "before": 2,
        "after": 2,
        "aspect": 1,
        "direct": 1,
    }
    for before, after in zip(result["images"]["before"], result["images"]["after"], strict=True):
        assert (before["prompt"], before["seed"]) == (after["prompt"], after["seed"])
        assert before["model_fingerprint"] != after["model_fingerprint"]
    for image in (image for images in result["images"].values() for image in images):
        with Image.open(out / image["file"]) as opened:
            assert (opened.format, opened.size) == ("JPEG", (image["width"], image["height"]))
    assert result["images"]["aspect"][0]["height"] == 288
    assert [row["images"] for row in result["table"]] == [9, 2, 2, 1, 1]
    assert all(
        0 < row["glcm_score"] < 10 and row["compression_ratio"] > 1 for row in result["table"]
    )
    assert result["recipe"]["objective"]["name"] == "wavelet-flow"
    assert (out / "training" / "model" / "model_index.json").is_file()

    made = ("*.jpg", "cache/shards/*", "training/checkpoints/*/*.safetensors", "measured/*")
    kept = {path: path.stat().st_mtime_ns for each in made for path in out.rglob(each)}
    second = diffusion4k(*arguments, "--out", "demo", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for each in made for path in out.rglob(each)} == kept
    again = json.loads((out / "result.json").read_text())
    assert (again["runs"], again["table"]) == (2, result["table"])
    assert all(again["seconds"][name] >= result["seconds"][name] for name in STAGES[:-1])

    Image.new("RGB", (512, 512)).save(out / "after" / "mine.jpg")
    third = diffusion4k(*arguments, "--out", "demo", cwd=tmp_path)
    assert third.returncode == 1
    assert third.stderr.splitlines()[-1].startswith("error: demo/after/mine.jpg: not made by this")
