"""The whole demo through the command line, small: report, results, and a second run of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def diffusion4k(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from diffusion4k.cli.main import main; main()", *arguments]
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)


def test_demo(tmp_path: Path) -> None:
    arguments = ("demo", "--side", "384", "--training-steps", "3", "--sampling-steps", "2")
    first = diffusion4k(*arguments, "--out", "demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    out = tmp_path / "demo"
    assert first.stdout.strip() == "demo/report.html"

    page = (out / "report.html").read_text()
    sources = re.findall(r'<img src="([^"]*)"', page)
    assert len(sources) == 2 * 2 + 2 * 2 + 1 or len(sources) == 2 * 2 + 2 * 4 + 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r'(src|href)="(https?:|//|/)', page)
    assert "<svg" in page

    result = json.loads((out / "result.json").read_text())
    assert set(result["seconds"]) == {
        "check", "cache", "before", "train", "after", "measure", "report",
    }  # fmt: skip
    assert {name: len(images) for name, images in result["images"].items()} == {
        "before": 2,
        "after": 2,
        "aspect": 1,
    }
    for images in result["images"].values():
        assert all((out / image).is_file() for image in images)
    assert result["measured"]["after"]["reference"]["n_images"] == 9
    assert 0 < result["measured"]["after"]["evaluated"]["glcm_score"] < 10
    assert (out / "training" / "model" / "model_index.json").is_file()

    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    second = diffusion4k(*arguments, "--out", "demo", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")} == kept

    other = diffusion4k("demo", "--side", "512", "--out", "demo", cwd=tmp_path)
    assert other.returncode == 2
    assert other.stderr.startswith("error: demo/demo.json: a demo with other settings")
