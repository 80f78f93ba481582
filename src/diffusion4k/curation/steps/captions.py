"""Captions: those that came with the picture, a model's before these, a person's before all.

A model's captions are found in `captions.sqlite` by the content of the file (as it came, or as it
was published), a person's in `decisions.sqlite` by the picture's name and content.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k.curation.engine import Row, as_frame, joined, load_daft, mapped
from diffusion4k.curation.files import LEDGER
from diffusion4k.curation.inspection.decisions import Decision
from diffusion4k.curation.recipe import CaptionsRecipe
from diffusion4k.curation.steps.base import drop
from diffusion4k.errors import Diffusion4kError

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["CaptionsStep"]


class CaptionsStep:
    """Sets `text`; drops what has none, if captions are required."""

    name = "captions"

    def __init__(
        self,
        wanted: CaptionsRecipe,
        output: Path,
        published: "DataFrame",
        decisions: Mapping[str, Decision],
    ) -> None:
        self._wanted, self._published, self._decisions = wanted, published, decisions
        self._ledger = output / LEDGER

    def run(self, table: "DataFrame") -> "DataFrame":
        """Set `text` as it is to be published."""
        if self._ledger.is_file():
            table = self._with_models(table)
        corrected = [
            {"name": name, "seen": decision.picture_hash, "corrected": decision.caption}
            for name, decision in self._decisions.items()
            if decision.caption is not None
        ]
        if corrected:
            schema = pa.schema([(name, pa.string()) for name in ("name", "seen", "corrected")])
            table = joined(table, as_frame(pa.Table.from_pylist(corrected, schema)), on="name")
            inputs = ["text", "pixel_hash", "seen", "corrected"]
            table = mapped(table, _with_persons, inputs, {"text": pa.string()})
            table = table.exclude("seen", "corrected")
        if self._wanted.required:
            table = drop(table, self.name, _missing, ["text"])
        return table

    def _with_models(self, table: "DataFrame") -> "DataFrame":
        daft = load_daft()
        captions = as_frame(_read_ledger(self._ledger))
        found = captions.select(daft.col("picture").alias("file_hash"), daft.col("caption"))
        # The captioner knows a picture that was re-encoded as it was published.
        again = self._published.join(captions, left_on="sha256", right_on="picture")
        again = again.select(daft.col("source_hash").alias("file_hash"), daft.col("caption"))
        found = found.concat(again).groupby("file_hash").agg(daft.col("caption").min())
        table = joined(table, found, on="file_hash")
        table = mapped(table, _with_model, ["text", "caption"], {"text": pa.string()})
        return table.exclude("caption")


def _with_model(rows: list[Row]) -> list[Row]:
    return [{"text": row["caption"] or row["text"]} for row in rows]


def _with_persons(rows: list[Row]) -> list[Row]:
    return [{"text": _person(row) or row["text"]} for row in rows]


def _person(row: Row) -> str | None:
    same = row["seen"] in (None, row["pixel_hash"])
    return row["corrected"] if same else None


def _missing(row: Row) -> str | None:
    return None if row["text"] else "caption: there is none: run `diffusion4k dataset caption`"


def _read_ledger(path: Path) -> pa.Table:
    """The newest caption of each picture that was not flagged."""
    query = "SELECT picture, text FROM captions WHERE flag IS NULL ORDER BY created, attempt"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            captions = {picture: text.strip() for picture, text in connection.execute(query)}
        finally:
            connection.close()
    except (sqlite3.Error, AttributeError) as error:
        raise Diffusion4kError(
            f"{path}: cannot be read ({error}): it is damaged, or not what "
            "`diffusion4k dataset caption` writes; move it away"
        ) from None
    return pa.table(
        {
            "picture": pa.array(captions.keys(), pa.string()),
            "caption": pa.array(captions.values(), pa.string()),
        }
    )
