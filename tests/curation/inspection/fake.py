"""A folder as `dataset build` writes it, with pictures that are quick to make."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.data.fake import picture


def make_dataset(folder: Path, count: int = 4, size: tuple[int, int] = (96, 64)) -> Path:
    """`count` candidates `0.png`, `1.png`, ...; their measure `sharpness` falls, 0.9, 0.8, ...

    Every third, from 2, was dropped by a step. Pictures lie outside, in `source` beside `folder`.
    """
    source = folder.parent / "source"
    source.mkdir(parents=True)
    rows = []
    for number in range(count):
        picture(size, seed=number).save(source / f"{number}.png", compress_level=1)
        dropped = number % 3 == 2
        rows.append(
            {
                "name": f"{number}.png",
                "source": str(source / f"{number}.png"),
                "width": size[0],
                "height": size[1],
                "pixel_hash": f"{number:064x}",
                "sharpness": 0.9 - number / 10,
                "noise": 5.0 + number if number else None,
                "text": f"picture number {number}",
                "split": None if dropped else "train",
                "kept": not dropped,
                "step": "sharpness" if dropped else None,
                "reason": "sharpness 0.7, allowed from 0.75" if dropped else None,
            }
        )
    write_manifest(folder, rows, thresholds={"sharpness": [0.75, None], "noise": [None, 7]})
    return folder


def write_manifest(folder: Path, rows: list[dict[str, Any]], *, thresholds: Any = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if thresholds is not None:
        table = table.replace_schema_metadata({"thresholds": json.dumps(thresholds)})
    parquet.write_table(table, folder / "manifest.parquet")
