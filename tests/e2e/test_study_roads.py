"""From people to what reads their answers: ratings to `evaluate`, decisions to `dataset build`."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from diffusion4k.data.images import open_rgb
from tests.preference.study.server import serving

pytestmark = pytest.mark.e2e

PHOTOGRAPHS = Path(__file__).parents[2] / "src/diffusion4k/pocket/photographs"
ANY = {"flat": {"max_flat_ratio": 1.0}, "blur": {"max_motion_blur": None}}
NAMES = ("dogs", "fig", "stream", "wine")


def diffusion4k(*arguments: str | Path, cwd: Path) -> str:
    command = [sys.executable, "-c", "from diffusion4k.cli.main import main; main()", *arguments]
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def crops(folder: Path) -> None:
    """The middle of each photograph."""
    folder.mkdir()
    for name in NAMES:
        image = open_rgb(PHOTOGRAPHS / f"{name}.jpg")
        left, top = (image.width - 384) // 2, (image.height - 384) // 2
        image.crop((left, top, left + 384, top + 384)).save(folder / f"{name}.png")
    lines = [json.dumps({"file_name": f"{name}.png", "text": f"a {name}"}) for name in NAMES]
    (folder / "metadata.jsonl").write_text("\n".join(lines))


def study(folder: Path, task: dict[str, Any]) -> Path:
    path = folder / "study.yaml"
    content = {"name": "road", "title": "Road", "folder": str(folder / "kept"), "task": task}
    path.write_text(yaml.safe_dump(content | {"participants": {"open": True}}))
    return path


def take_part(address: str, choose: Any) -> None:
    """One participant, from consent to thanks; `choose(what is shown)` makes the answer."""
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        client.headers["X-CSRF-Token"] = client.post("api/join", json={}).json()["csrf"]
        while "position" in (shown := client.get("api/next").json()):
            body = {"position": shown["position"], "key": f"key-{shown['position']:08}"}
            answer = client.post("api/answers", json=body | {"seconds": 2} | choose(shown))
            assert answer.is_success, answer.text


def test_ratings_of_people_are_read_by_evaluate(tmp_path: Path) -> None:
    crops(tmp_path / "images")
    task = {"kind": "rating", "images": {"wlf": str(tmp_path / "images")}}
    path = study(tmp_path, task | {"patches": {"size": 128, "per_image": 2}})
    with serving(path) as server:
        for bias in (0, 1):
            take_part(
                server.address,
                lambda shown, bias=bias: {"choices": {"rating": str(shown["position"] + 1 + bias)}},
            )
    ratings, out = tmp_path / "ratings.csv", tmp_path / "results.json"
    assert "16 answers" in diffusion4k("study", "export", path, ratings, cwd=tmp_path)
    patches = tmp_path / "kept/patches"
    told = diffusion4k("evaluate", patches, "--against", ratings, "--out", out, cwd=tmp_path)
    assert "rater p-0001: 8 ratings" in told and "rater p-0002: 8 ratings" in told
    assert out.is_file()
    rows = list(csv.DictReader(ratings.open()))
    assert {row["image"] for row in rows} == {each.name for each in patches.iterdir()}


def test_decisions_of_people_are_applied_by_the_build(tmp_path: Path) -> None:
    crops(tmp_path / "images")
    recipe = tmp_path / "dataset.yaml"
    content = {"output": "dataset", "sources": [{"path": "images"}]}
    recipe.write_text(
        yaml.safe_dump(content | {"header": {"min_shorter_side": 256}, "thresholds": ANY})
    )
    diffusion4k("dataset", "build", recipe, cwd=tmp_path)
    path = study(tmp_path, {"kind": "inspection", "dataset": str(tmp_path / "dataset")})

    def choose(shown: dict[str, Any]) -> dict[str, Any]:
        if shown["text"] == "a fig":
            return {"choices": {"decision": "rejected"}, "reason": "motion blur"}
        caption = {"caption": "a stream, corrected"} if shown["text"] == "a stream" else {}
        return {"choices": {"decision": "accepted"}} | caption

    before = published(tmp_path / "dataset")
    assert before["a fig"] and before["a stream"]
    with serving(path) as server:
        take_part(server.address, choose)
    diffusion4k("dataset", "build", recipe, cwd=tmp_path)
    after = published(tmp_path / "dataset")
    corrected = {"a stream, corrected": before["a stream"]}
    assert (
        after
        == {text: name for text, name in before.items() if text not in ("a fig", "a stream")}
        | corrected
    )


def published(dataset: Path) -> dict[str, str]:
    """Files of the dataset by caption."""
    found = {}
    for metadata in dataset.glob("*/metadata.jsonl"):
        for row in map(json.loads, metadata.read_text().splitlines()):
            found[row["text"]] = row["file_name"]
    return found
