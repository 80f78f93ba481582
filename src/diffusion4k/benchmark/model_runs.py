"""A row on its way to the table: its images, on what they were made, and what was found in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion4k.benchmark.comparable import Conditions, Size
from diffusion4k.errors import Diffusion4kError
from diffusion4k.imagesets.models import ImageSetEntry
from diffusion4k.metrics.measuring import Measured
from diffusion4k.sampling.files import read_metadata

__all__ = ["ModelRun", "conditions_of"]


@dataclass
class ModelRun:
    """What could not be measured is in `bad`, with its reason."""

    name: str
    images: list[ImageSetEntry]
    conditions: Conditions
    folder: Path
    found: dict[Path, Measured] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)

    @property
    def findings(self) -> list[Measured]:
        """Measurements of the images in their order."""
        return list(self.found.values())

    def by_pair(self) -> dict[tuple[str, int], Measured]:
        """Findings by prompt and seed, of the images for which both are known."""
        pairs = {image.pair: image.path for image in self.images if image.pair}
        return {pair: self.found[path] for pair, path in pairs.items() if path in self.found}


def conditions_of(images: Sequence[ImageSetEntry], sizes: Sequence[Size]) -> Conditions:
    """Conditions of images as they are saved, and of the sizes that are measured."""
    prompts = [image.prompt for image in images]
    suffixes = {image.path.suffix.lower().lstrip(".") for image in images}
    formats = {"JPEG" if suffix in ("jpg", "jpeg") else suffix.upper() for suffix in suffixes}
    return Conditions(
        tuple(sizes),
        frozenset(prompt for prompt in prompts if prompt),
        prompts.count(""),
        frozenset(formats),
        frozenset(how for image in images if (how := _how_made(image.path))),
    )


def _how_made(path: Path) -> str:
    """`directly`, or `in stages: 512x512, 1024x1024`; nothing without a record of ours."""
    try:
        stages = read_metadata(path).get("stages")
    except (Diffusion4kError, OSError):
        return ""
    sizes = ", ".join(f"{stage['width']}x{stage['height']}" for stage in stages or ())
    return f"in stages: {sizes}" if sizes else "directly"
