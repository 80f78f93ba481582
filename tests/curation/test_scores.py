"""Pictures of a dataset scored by a tiny CLIP with random weights."""

from pathlib import Path

import pytest
import torch

from diffusion4k.errors import Diffusion4kError
from tests.curation.conftest import Build
from tests.metrics.tiny_networks import tiny_aesthetics, tiny_clip_folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("predictor") / "linear.pth"
    tiny_aesthetics(path)
    return str(path)


def test_pictures_are_dropped_by_their_scores(
    photos: Path, build: Build, clip: str, predictor: str
) -> None:
    scores = {"clip": clip, "aesthetic": predictor}
    before = {row["name"]: row for row in build(photos, scores=scores).rows}
    assert all(row["kept"] and row["caption_match"] is not None for row in before.values())
    limit = sorted(row["aesthetic"] for row in before.values())[2]
    after = build(photos, scores=scores | {"min_aesthetic": limit}).rows
    for row in after:
        assert row["kept"] == (before[row["name"]]["aesthetic"] >= limit)
        assert row["kept"] or row["reason"].startswith("aesthetic: ")


def test_a_changed_caption_is_matched_anew(photos: Path, build: Build, clip: str) -> None:
    first = {row["name"]: row["caption_match"] for row in build(photos, scores={"clip": clip}).rows}
    text = (photos / "metadata.jsonl").read_text()
    (photos / "metadata.jsonl").write_text(text.replace("picture 0", "zebra crossing 77"))
    again = {row["name"]: row["caption_match"] for row in build(photos, scores={"clip": clip}).rows}
    assert {name for name in first if first[name] != again[name]} == {"a.jpg"}


def test_wrong_weights_are_one_line(
    photos: Path, build: Build, tmp_path: Path, clip: str, predictor: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Diffusion4kError, match=r"^scores\.clip: .*empty: no clip model can be"):
        build(photos, scores={"clip": str(tmp_path / "empty")})
    path = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(1, 768), "layers.0.bias": torch.zeros(1)}, path)
    with pytest.raises(Diffusion4kError, match=r"^scores\.aesthetic: .*made for embeddings of 768"):
        build(photos, scores={"clip": clip, "aesthetic": str(path)})
