"""What a build leaves behind beside the pictures: `manifest.parquet` and `metadata.jsonl`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow.parquet as pq

from diffusion4k import __version__
from diffusion4k.curation.dropped import dropped_table
from diffusion4k.curation.engine import batches_of, joined, load_daft, rows_of
from diffusion4k.curation.files import MANIFEST, SPLITS
from diffusion4k.curation.measures import MEASURES
from diffusion4k.curation.recipe import DatasetRecipe
from diffusion4k.curation.summary import Summary
from diffusion4k.curation.thresholds import Thresholds
from diffusion4k.data.folder import METADATA
from diffusion4k.support.files import atomic_path, writing

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["write_manifest", "write_metadata"]

_INNER = ("index", "key", "kind", "path", "start", "length", "column")


def write_manifest(
    table: "DataFrame", hashes: "DataFrame", recipe: DatasetRecipe, summary: Summary
) -> None:
    """One row per candidate, in the order of the sources.

    Each is counted in `summary`, and those that were dropped stand in `dropped.csv` as well.

    `hashes` has more columns of it, by `key`.
    """
    daft = load_daft()
    table = joined(table, hashes, on="key")
    table = table.with_column("kept", daft.col("step").is_null()).sort("index")
    table = table.select(*(name for name in table.column_names if name not in _INNER))
    notes = {
        "diffusion4k": __version__,
        "recipe": recipe.model_dump_json(),
        "thresholds": json.dumps(_limits(recipe.thresholds)),
    }
    schema = table.schema().to_pyarrow_schema().with_metadata(notes)
    path = recipe.output / MANIFEST
    with (
        dropped_table(recipe.output) as add_dropped,
        writing(path),
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema) as file,
    ):
        for batch in batches_of(table):
            file.write_batch(batch.cast(schema))
            rows = batch.select(["source", "step", "reason", "split", "text"]).to_pylist()
            summary.add(rows)
            add_dropped(rows)


def write_metadata(table: "DataFrame", output: Path) -> dict[str, set[str]]:
    """`metadata.jsonl` of both splits, as the trainer reads it; the names of each split's files."""
    daft = load_daft()
    rows = table.where(daft.col("step").is_null()).select("index", "name", "text", "split")
    names: dict[str, set[str]] = {split: set() for split in SPLITS}
    with ExitStack() as stack:
        files = {split: stack.enter_context(_metadata(output / split)) for split in SPLITS}
        for row in rows_of(rows.sort("index")):
            line = {"file_name": row["name"], "text": row["text"] or ""}
            files[row["split"]].write(json.dumps(line, ensure_ascii=False) + "\n")
            names[row["split"]].add(row["name"])
    return {split: found | {METADATA} if found else found for split, found in names.items()}


def _limits(thresholds: Thresholds) -> dict[str, list[float | None]]:
    """Least and most of each measure, by its name."""
    limits: dict[str, list[float | None]] = {}
    for _, section in thresholds:
        for field, limit in section:
            bound, _, name = field.partition("_")
            if name in MEASURES and bound in ("min", "max"):
                limits.setdefault(name, [None, None])[bound == "max"] = limit
    return limits


@contextmanager
def _metadata(folder: Path) -> Iterator[IO[str]]:
    path = folder / METADATA
    with (
        writing(path),
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        yield file
