"""What came of a demo, as plain data and as the rows of its table."""

import platform
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion4k.demo.settings import Demo
from diffusion4k.metrics.evaluate import Evaluation, Folder
from diffusion4k.metrics.frechet import FewSamplesWarning, frechet_distance
from diffusion4k.sampling import Output
from diffusion4k.support.devices import default_device, device_name
from diffusion4k.support.versions import versions
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["GROUPS", "DemoResult", "DemoRow", "PromptChange", "machine"]

GROUPS = {
    "before": "before",
    "after": "after fine-tuning",
    "aspect": "after, 4:3",
    "direct": "after, without stages",
}

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class DemoRow:
    """One line of the table; distances are None where they are not defined."""

    label: str
    images: int
    size: str
    glcm_score: float
    compression_ratio: float
    detail_distance: float
    token_grid_ratio: float
    fd_effnet_patch: float | None
    patches: int


@dataclass(frozen=True)
class PromptChange:
    """One prompt before and after fine-tuning: pairs of values, lower is nearer to photographs."""

    prompt: str
    detail_distance: tuple[float, float]
    fd_effnet_patch: tuple[float, float] | None
    """None where an image holds a single patch."""


@dataclass
class DemoResult:
    """What came of it; images and measurements by the names of `GROUPS`."""

    demo: Demo
    recipe: Recipe
    checked: list[str] = field(default_factory=list)
    losses: Curve = field(default_factory=list)
    validation: Curve = field(default_factory=list)
    images: dict[str, list[Output]] = field(default_factory=dict)
    measured: dict[str, Evaluation] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[DemoRow]:
        """The photographs, then each group of images against them.

        The photographs' distance is a yardstick: two of them (as many as there are images before
        and after) against the others, the mean over all pairs.
        """
        photographs = self._photographs
        rows = [_row("bundled photographs", photographs, _between_pairs(photographs))]
        for name, label in GROUPS.items():
            distances = {d.name: d.value for d in self.measured[name].distances}
            rows.append(_row(label, self.measured[name].images, distances["FD-EffNet-patch"]))
        return rows

    @cached_property
    def changes(self) -> list[PromptChange]:
        """What fine-tuning changed, prompt by prompt."""
        sides = [self.measured[name].images.images for name in ("before", "after")]
        changes = []
        for number, output in enumerate(self.images["after"]):
            names = [self.images[name][number].path.name for name in ("before", "after")]
            found = [images[name] for images, name in zip(sides, names, strict=True)]
            detail = [each.numbers["detail_distance"] for each in found]
            patches = [each.features("effnet_patch") for each in found]
            distances = None
            if min(map(len, patches)) > 1:
                distances = _pair([self._patch_distance(each) for each in patches])
            changes.append(PromptChange(output.settings.prompt, _pair(detail), distances))
        return changes

    @property
    def _photographs(self) -> Folder:
        photographs = next(iter(self.measured.values())).reference
        assert photographs is not None
        return photographs

    def _patch_distance(self, patches: NDArray[np.float32]) -> float:
        """Distance of one image's patches to those of all photographs."""
        return _distance(patches, list(self._photographs.features("effnet_patch")))

    def to_json(self) -> dict[str, Any]:
        """Plain data, every number with what made it; paths are relative to the folder."""
        return {
            "demo": self.demo.to_json(),
            "recipe": self.recipe.model_dump(mode="json", exclude={"output", "cache"}),
            "versions": versions() | {"python": platform.python_version()},
            "machine": machine(),
            "check": self.checked,
            "validation_loss": {
                "before": self.validation[0][1],
                "after": self.validation[-1][1],
            },
            "table": [asdict(row) for row in self.rows],
            "changes": [asdict(change) for change in self.changes],
            "images": {
                name: [
                    asdict(output.settings)
                    | {"file": output.path.relative_to(self.demo.out).as_posix()}
                    for output in outputs
                ]
                for name, outputs in self.images.items()
            },
            "measured": {name: _portable(each.to_json()) for name, each in self.measured.items()},
        }


def machine() -> dict[str, Any]:
    """The machine that the timings belong to."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": next(names, platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "gpu": device_name(default_device()),
        "system": platform.system(),
    }


def _row(label: str, folder: Folder, patch: float | None) -> DemoRow:
    sizes = {
        f"{width:.0f}×{height:.0f}"
        for width, height in zip(folder.numbers("width"), folder.numbers("height"), strict=True)
    }
    return DemoRow(
        label,
        len(folder.images),
        sizes.pop() if len(sizes) == 1 else "native sizes",
        folder.mean("glcm_score"),
        folder.compression_ratio,
        folder.mean("detail_distance"),
        folder.mean("token_grid_ratio"),
        patch,
        sum(map(len, folder.features("effnet_patch"))),
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    before, after = values
    return before, after


def _between_pairs(folder: Folder) -> float:
    features = list(folder.features("effnet_patch"))
    distances = []
    for pair in combinations(range(len(features)), 2):
        others = [each for number, each in enumerate(features) if number not in pair]
        distances.append(_distance(np.concatenate([features[n] for n in pair]), others))
    return float(np.mean(distances))


def _distance(ours: NDArray[np.float32], theirs: Sequence[NDArray[np.float32]]) -> float:
    with warnings.catch_warnings():
        # The report says how few samples there are.
        warnings.simplefilter("ignore", FewSamplesWarning)
        return frechet_distance(ours, np.concatenate(theirs))


def _portable(measured: dict[str, Any]) -> dict[str, Any]:
    """Measurements without the folders' paths, which mean nothing elsewhere."""
    for side in ("evaluated", "reference"):
        measured[side].pop("folder")
    return measured
