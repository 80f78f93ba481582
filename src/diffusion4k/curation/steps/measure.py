"""Full decode, once: measures, and hashes of pixels and file, kept whatever the thresholds are."""

import hashlib
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k import __version__
from diffusion4k.curation.duplicates import fingerprint
from diffusion4k.curation.engine import Row
from diffusion4k.curation.entries import LOCATION
from diffusion4k.curation.measures import MEASURES, measure, measure_header
from diffusion4k.curation.reading import Opened, Reader
from diffusion4k.curation.steps.base import drop, kept
from diffusion4k.curation.store import Store, Work
from diffusion4k.data.images import open_pixels
from diffusion4k.support.files import sha256_of

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["MeasureStep"]

_COLUMNS = {
    "file_hash": pa.string(),
    "pixel_hash": pa.string(),
    "perceptual_hash": pa.binary(),
    "thumbnail": pa.binary(),
    **dict.fromkeys(MEASURES, pa.float64()),
}
_FOR_DUPLICATES = ("perceptual_hash", "thumbnail")
_BATCH = 4  # photographs: what a thread takes at a time


class MeasureStep:
    """Decodes each picture to its last pixel; what cannot be decoded is dropped."""

    name = "measure"

    def __init__(self, reader: Reader, work: Path) -> None:
        self._reader = reader
        self._store = Store(work, "measures", _COLUMNS, __version__)

    def run(self, table: "DataFrame") -> "DataFrame":
        """Add a column for each measure, and file_hash and pixel_hash."""
        begin = partial(_begin, self._reader)
        table = self._store.complete(
            table, begin, LOCATION, wanted=kept(table), batch=_BATCH, without=_FOR_DUPLICATES
        )
        table = drop(table, self.name, lambda row: row["problem"], ["problem"])
        return table.exclude("problem")

    def fingerprints(self) -> "DataFrame":
        """Columns key, perceptual_hash and thumbnail: kilobytes a picture, so not in the table."""
        return self._store.table().select("key", *_FOR_DUPLICATES)


def _begin(reader: Reader) -> Work:
    return partial(_measured, reader.again())


def _measured(reader: Reader, row: Row) -> Row:
    with reader.open(row) as file:
        digest = _file_hash(file)
        pixels = open_pixels(file)
        of_file = measure_header(file)
    values = measure(pixels) | of_file
    # What could not be measured is not known: null, not NaN.
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    return {"file_hash": digest, **fingerprint(pixels).to_columns(), **known}


def _file_hash(file: Opened) -> str:
    if isinstance(file, Path):
        return sha256_of(file)
    digest = hashlib.sha256(file.read()).hexdigest()
    file.seek(0)
    return digest
