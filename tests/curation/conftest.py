"""Small photographs, and `build(...)`, which makes a dataset of them in `tmp_path`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diffusion4k.curation.build import build_dataset
from diffusion4k.curation.recipe import DatasetRecipe
from diffusion4k.curation.summary import Summary

Build = Callable[..., "Built"]


def picture(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """Coarse coloured noise, as unlike any other seed's as can be, with some detail."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def save(path: Path, seed: int, width: int = 96, height: int = 64, **options: Any) -> Path:
    """Write `picture(...)`, by default as JPEG of quality 95."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = options or ({"quality": 95} if path.suffix == ".jpg" else {})
    picture(seed, width, height).save(path, **options)
    return path


@dataclass
class Built:
    """What a build made."""

    output: Path
    summary: Summary

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The manifest's rows."""
        return pq.read_table(self.output / "manifest.parquet").to_pylist()

    def by_name(self) -> dict[str, dict[str, Any]]:
        """The manifest's rows by the end of their source."""
        return {Path(row["source"]).name: row for row in self.rows}

    def reason(self, name: str) -> str:
        """`STEP: REASON` of the row whose source has this name."""
        row = self.by_name()[name]
        return f"{row['step']}: {row['reason']}"

    def files(self) -> dict[str, bytes]:
        """All that was published, by its path in the output."""
        return {
            path.relative_to(self.output).as_posix(): path.read_bytes()
            for split in ("train", "eval")
            for path in sorted((self.output / split).rglob("*"))
            if path.is_file()
        }


LENIENT = {
    name: {field: None for field in type(section).model_fields if field[:4] in ("min_", "max_")}
    for name, section in DatasetRecipe.model_fields["thresholds"].default
}
"""Thresholds that let everything through: pictures as small as these are no photographs."""


def recipe(output: Path, *sources: Any, **keys: Any) -> DatasetRecipe:
    """A recipe for pictures as small as those here."""
    header = {"min_shorter_side": 32} | keys.pop("header", {})
    listed = [{"path": str(each)} if isinstance(each, Path) else each for each in sources]
    content = {"output": output, "sources": listed, "header": header, "thresholds": LENIENT}
    return DatasetRecipe.model_validate(content | keys)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four good photographs with captions in metadata.jsonl."""
    folder = tmp_path / "photos"
    lines = []
    for seed, name in enumerate(("a.jpg", "b.png", "deep/c.webp", "deep/d.jpg")):
        save(folder / name, seed)
        lines.append(f'{{"file_name": "{name}", "text": "picture {seed}"}}\n')
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds `tmp_path/out` of sources (folders, or sections of a recipe) and keys."""

    def run(*sources: Any, **keys: Any) -> Built:
        output = keys.pop("output", tmp_path / "out")
        return Built(output, build_dataset(recipe(output, *sources, **keys)))

    return run
