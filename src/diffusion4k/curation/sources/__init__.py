"""Where photographs come from; each source is a file here, and gives entries in a fixed order."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.recipe import (
    FolderSource,
    HuggingFaceSource,
    ParquetSource,
    Source,
    TarSource,
)
from diffusion4k.curation.sources.folder import folder_entries
from diffusion4k.curation.sources.huggingface import huggingface_entries
from diffusion4k.curation.sources.parquet import parquet_entries
from diffusion4k.curation.sources.tars import tar_entries

__all__ = ["all_entries"]


def all_entries(sources: Sequence[Source], output: Path) -> Iterator[CurationEntry]:
    """The candidates of all sources; what lies in `output`, which is written, is none.

    Raises:
        UsageError: a source is not there, or has not the columns that the recipe names.
    """
    for source in sources:
        for entry in _entries(source, output):
            yield replace(
                entry, name=f"{source.prefix}/{entry.name}" if source.prefix else entry.name
            )


def _entries(source: Source, output: Path) -> Iterator[CurationEntry]:
    match source:
        case FolderSource():
            return folder_entries(source, output)
        case TarSource():
            return tar_entries(source)
        case ParquetSource():
            return parquet_entries(source)
        case HuggingFaceSource():
            return huggingface_entries(source, output)
