"""A Hugging Face dataset that was downloaded: parquet shards, or an image folder."""

from collections.abc import Iterator
from glob import escape
from pathlib import Path

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.recipe import FolderSource, HuggingFaceSource, ParquetSource
from diffusion4k.curation.sources.folder import folder_entries
from diffusion4k.curation.sources.parquet import parquet_entries
from diffusion4k.errors import UsageError

__all__ = ["huggingface_entries"]


def huggingface_entries(
    source: HuggingFaceSource, output: Path | None = None
) -> Iterator[CurationEntry]:
    """All pictures of the dataset folder, or of its shards whose name begins with `split`.

    Raises:
        UsageError: no such folder, no such split, or no such column.
    """
    root = Path(source.path)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder: download the dataset and give its folder")
    pattern = f"{source.split or ''}*.parquet"
    shards = sorted(root.rglob(pattern))
    if not shards and any(root.rglob("*.parquet")):
        raise UsageError(f"{root}: no file {pattern} in it: give another split, or none")
    if not shards:
        folder = root / source.split if source.split else root
        inside = FolderSource(path=str(folder), captions=source.captions)
        yield from folder_entries(inside, output)
    for shard in shards:
        inside_shard = ParquetSource(
            path=escape(str(shard)), bytes=source.image, captions=source.captions
        )
        yield from parquet_entries(inside_shard)
