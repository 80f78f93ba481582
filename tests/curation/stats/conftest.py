"""Datasets with known sizes and captions, and the manifest of a build."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.data.fake import save_picture

CAPTIONS = (
    "A red train crosses a stone viaduct, high above a winding river.",
    "Snow-capped peaks glow above a still lake; a red train waits.",
    "The 3 red trains. A winding river!",
)


def fill(folder: Path, sizes: Sequence[tuple[int, int]], first: int = 0) -> Path:
    """An image folder of pictures of these widths and heights."""
    folder.mkdir(parents=True)
    rows = []
    for number, size in enumerate(sizes, first):
        save_picture(folder / f"{number}.jpg", size, seed=number)
        rows.append({"file_name": f"{number}.jpg", "text": CAPTIONS[number % len(CAPTIONS)]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


TRAIN = [(100, 80), (300, 200), (200, 120), (90, 260)]
EVAL = [(160, 150), (170, 140)]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What `dataset build` writes, small: 6 kept of 20 candidates."""
    folder = tmp_path / "build"
    fill(folder / "train", TRAIN)
    fill(folder / "eval", EVAL, first=len(TRAIN))
    dropped = [("header", "shorter side: 900 pixels, allowed at least 4096")] * 5
    dropped += [("quality", "sharpness: 1, allowed at least 2; noise: 9, allowed at most 8")] * 6
    dropped += [("quality", "noise: 9, allowed at most 8")] * 2 + [("captions", None)]
    count = len(TRAIN) + len(EVAL) + len(dropped)
    steps = [None] * (count - len(dropped)) + [step for step, _ in dropped]
    values = np.random.default_rng(0).normal(5, 2, count)
    columns = {
        "name": [f"{number}.jpg" for number in range(count)],
        "width": pa.array([100] * count, pa.int32()),
        "kept": [step is None for step in steps],
        "step": pa.array(steps, pa.string()),
        "reason": pa.array([None] * (count - len(dropped)) + [r for _, r in dropped], pa.string()),
        "sharpness": pa.array(np.where([s == "header" for s in steps], np.nan, values)),
        "noise": values * 2,
        "aesthetic": pa.array([None] * count, pa.float64()),
    }
    parquet.write_table(pa.table(columns), folder / "manifest.parquet")
    (folder / "counts.json").write_text(json.dumps({"header": {}, "quality": {}, "captions": {}}))
    (folder / "recipe.yaml").write_text(
        "header: {min_shorter_side: 4096}\n"
        "thresholds: {min_sharpness: 2, max_noise: 8, min_noise: 0.5}\n"
        "hooks: [{name: nsfw, function: 'a:b', max: 0.2}]\n"
    )
    return folder
