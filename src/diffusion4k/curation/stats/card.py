"""The dataset's card in the hub's format: `README.md` with a YAML header.

The last line holds a hash of all above it. A card whose hash is right was written here and may be
replaced; any other was written or edited by someone.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from diffusion4k.curation.stats.collect import PAPER, SizeRow, StatsPart, collect
from diffusion4k.errors import UsageError
from diffusion4k.support.files import write_text

__all__ = ["CARD", "check_card", "write_card"]

CARD = "README.md"
_MARK = re.compile(r"<!-- diffusion4k dataset stats: ([0-9a-f]{16}) -->\n\Z")
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def check_card(dataset: Path, *, license_id: str = "unknown", force: bool = False) -> None:
    """Refuse before any work to replace a card that someone wrote.

    Raises:
        UsageError: there is one, and no `force`; or `license_id` is none of the hub's.
    """
    if not _LICENSE.fullmatch(license_id):
        raise UsageError(
            f"--license {license_id}: allowed are the hub's names, such as cc-by-4.0 or cc0-1.0"
        )
    path = dataset / CARD
    if force or not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    mark = _MARK.search(text)
    if not mark or mark[1] != _hash(text[: mark.start()]):
        raise UsageError(
            f"{path}: written or edited by hand: --force replaces it, or leave out --card"
        )


def write_card(dataset: Path, *, license_id: str = "unknown", force: bool = False) -> Path:
    """Write the card; its path.

    Raises:
        UsageError: as `check_card`.
    """
    check_card(dataset, license_id=license_id, force=force)
    parts, _ = collect(dataset)
    header = yaml.safe_dump(_header(dataset, parts, license_id), sort_keys=False)
    text = f"---\n{header}---\n\n{_body(dataset, parts)}\n"
    write_text(dataset / CARD, f"{text}<!-- diffusion4k dataset stats: {_hash(text)} -->\n")
    return dataset / CARD


def _header(dataset: Path, parts: Sequence[StatsPart], license_id: str) -> dict[str, object]:
    splits = {_split(part): part for part in parts}
    return {
        "license": license_id,
        "pretty_name": dataset.resolve().name,
        "task_categories": ["text-to-image"],
        "size_categories": [_size_category(sum(len(part.photos) for part in parts))],
        "tags": ["image", "text", "high-resolution", "diffusion4k"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"{part.folder}/**" if part.folder != "." else "**"}
                    for split, part in splits.items()
                ],
            }
        ],
        "dataset_info": {
            # What `load_dataset` makes of file_name and text.
            "features": [
                {"name": "image", "dtype": "image"},
                {"name": "text", "dtype": "string"},
            ],
            "splits": [
                {"name": split, "num_bytes": part.bytes, "num_examples": len(part.photos)}
                for split, part in splits.items()
            ],
        },
    }


def _body(dataset: Path, parts: Sequence[StatsPart]) -> str:
    rows = "\n".join(_row(row) for row in (*(part.size_row() for part in parts), *PAPER))
    folders = ", ".join(f"`{part.folder}`" for part in parts)
    return f"""# {dataset.resolve().name}

Pictures with captions, for text-to-image models at high resolution.

| dataset | pictures | median height | median width | average height | average width |
|---|---|---|---|---|---|
{rows}

Pixels, upright; the last {len(PAPER)} rows are Table 9 of Diffusion-4K (CVPR 2025), for comparison.

## Layout

Image folders: {folders}. In each, `metadata.jsonl` has one line per picture:
`{{"file_name": "...", "text": "..."}}`, the file relative to the folder, and its caption.

    from datasets import load_dataset

    dataset = load_dataset("imagefolder", data_dir=".")
"""


def _row(row: SizeRow) -> str:
    sizes = (row.median_height, row.median_width, row.mean_height, row.mean_width)
    return f"| {row.name} | {row.pictures:,} | " + " | ".join(f"{s:.0f}" for s in sizes) + " |"


def _split(part: StatsPart) -> str:
    """The hub allows letters, digits and underscores."""
    return "train" if part.folder == "." else re.sub(r"\W+", "_", part.folder)


def _size_category(count: int) -> str:
    for number, size in enumerate(_SIZES):
        if count < 1000 * 10**number:
            return f"{_SIZES[number - 1]}<n<{size}" if number else f"n<{size}"
    return f"n>{_SIZES[-1]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
