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


STEPS = [
    {"step": "header", "kept": 15, "dropped": 5, "reasons": {"shorter side": 5}},
    {"step": "duplicates", "kept": 15, "dropped": 0, "reasons": {}},
    {"step": "quality", "kept": 6, "dropped": 9, "reasons": {"sharpness": 6, "noise": 3}},
]
THRESHOLDS = {"sharpness": [2, None], "noise": [0.5, 8], "mean": [None, None]}


def make_build(folder: Path) -> Path:
    """What `dataset build` writes, small: 6 kept of 20 candidates."""
    fill(folder / "train", TRAIN)
    fill(folder / "eval", EVAL, first=len(TRAIN))
    kept = [True] * 6 + [False] * 14
    values = np.random.default_rng(0).normal(5, 2, len(kept))
    columns = {
        "name": [f"{number}.jpg" for number in range(len(kept))],
        "width": pa.array([100] * len(kept), pa.int32()),
        "kept": kept,
        "sharpness": pa.array([*values[:15].tolist(), *[None] * 5]),
        "noise": values * 2,
        "aesthetic": pa.array([None] * len(kept), pa.float64()),
    }
    recipe = {"header": {"min_shorter_side": 4096}, "scores": {"min_aesthetic": 4.5}}
    notes = {"recipe": json.dumps(recipe), "thresholds": json.dumps(THRESHOLDS)}
    table = pa.table(columns).replace_schema_metadata(notes)
    parquet.write_table(table, folder / "manifest.parquet")
    (folder / "counts.json").write_text(json.dumps({"candidates": 20, "steps": STEPS}))
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return make_build(tmp_path / "build")
