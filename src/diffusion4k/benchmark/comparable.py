"""When two rows of a table do not compare, and why: said beside the number, not left to the reader.

A row is held against the first row of ours. Scores change with the size of the images, the prompts,
how many images there are (distances above all) and how they were saved and measured.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

from diffusion4k.benchmark.published import PublishedRow

__all__ = ["Conditions", "Size", "said_size", "why_not", "why_not_published"]

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Conditions:
    """What the numbers of a row depend on beside the model."""

    sizes: tuple[Size, ...]
    """Size of every image, as it was measured."""
    prompts: frozenset[str]
    unprompted: int
    """Images whose prompt is not known."""
    formats: frozenset[str]
    made: frozenset[str] = frozenset()
    """How: `directly`, or the sizes of the stages; empty where the images do not say it."""

    @property
    def images(self) -> int:
        """How many."""
        return len(self.sizes)


def why_not(row: Conditions, base: Conditions) -> list[str]:
    """Differences of one of our rows from the first, a phrase each."""
    found = []
    if (ours := said_size(row.sizes)) != (theirs := said_size(base.sizes)):
        found.append(f"other size: {ours}, not {theirs}")
    if row.unprompted or base.unprompted:
        found.append("prompts of some images are not known")
    elif row.prompts != base.prompts:
        common = len(row.prompts & base.prompts)
        found.append(f"other prompts: {common} of {len(base.prompts)} in common")
    if row.images != base.images:
        found.append(f"other number of images: {row.images}, not {base.images}")
    if row.formats != base.formats:
        names = [" and ".join(sorted(each)) for each in (row.formats, base.formats)]
        found.append(f"other files: {names[0]}, not {names[1]}")
    return found


def why_not_published(row: PublishedRow, base: Conditions, prompts: str | None) -> list[str]:
    """Differences of a published row from our first row.

    `prompts` is the published set that ours are taken for, if any.
    """
    found = []
    width, height = row.size
    if (ours := said_size(base.sizes)) != (theirs := f"{width}x{height}"):
        found.append(f"other size: {theirs}, not {ours}")
    if prompts != row.prompts:
        found.append(f"other prompts: {row.prompts}")
    if row.images != base.images:
        found.append(f"other number of images: {row.images}, not {base.images}")
    found.append(f"its own protocol: {row.source}")
    return found


def said_size(sizes: tuple[Size, ...]) -> str:
    """`2048x2048`, or the commonest and how many others there are."""
    if not sizes:
        return "no size"
    counted = Counter(sizes).most_common()
    (width, height), _ = counted[0]
    others = f" and {len(counted) - 1} other sizes" if len(counted) > 1 else ""
    return f"{width}x{height}{others}"
