"""What came of a demo, as plain data and as the rows of its table."""

import platform
import warnings
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusion4k.demo.settings import Demo
from diffusion4k.metrics.evaluate import Evaluation, Folder
from diffusion4k.metrics.frechet import FewSamplesWarning, frechet_distance
from diffusion4k.sampling import Output
from diffusion4k.training.export import versions
from diffusion4k.training.recipe import Recipe

__all__ = ["GROUPS", "Result", "Row", "machine"]

GROUPS = {
    "before": "before fine-tuning",
    "after": "after fine-tuning",
    "aspect": "after fine-tuning, 4:3",
}

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Row:
    """One line of the table; distances are None where they are not defined."""

    label: str
    images: int
    size: str
    glcm_score: float
    glcm_entropy: float
    compression_ratio: float
    fd_effnet: float | None
    fd_effnet_patch: float | None
    patches: int


@dataclass
class Result:
    """What came of it; images and measurements by the names of `GROUPS`."""

    demo: Demo
    recipe: Recipe
    checked: list[str] = field(default_factory=list)
    losses: Curve = field(default_factory=list)
    validation: Curve = field(default_factory=list)
    images: dict[str, list[Output]] = field(default_factory=dict)
    measured: dict[str, Evaluation] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[Row]:
        """The photographs, then each group of images against them.

        The photographs' distances are a yardstick: two of them (as many as there are images
        before and after) against the others, the mean over all pairs.
        """
        photographs = next(iter(self.measured.values())).reference
        assert photographs is not None
        rows = [
            _row(
                "bundled photographs",
                photographs,
                _between_pairs(photographs, "effnet"),
                _between_pairs(photographs, "effnet_patch"),
            )
        ]
        for name, label in GROUPS.items():
            distances = {d.name: d.value for d in self.measured[name].distances}
            whole, patch = distances["FD-EffNet"], distances["FD-EffNet-patch"]
            rows.append(_row(label, self.measured[name].images, whole, patch))
        return rows

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
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
    }


def _row(label: str, folder: Folder, whole: float | None, patch: float | None) -> Row:
    sizes = {
        f"{width:.0f}×{height:.0f}"
        for width, height in zip(folder.numbers("width"), folder.numbers("height"), strict=True)
    }
    return Row(
        label,
        len(folder.images),
        sizes.pop() if len(sizes) == 1 else "native sizes",
        folder.mean("glcm_score"),
        folder.mean("glcm_entropy"),
        folder.compression_ratio,
        whole,
        patch,
        sum(map(len, folder.features("effnet_patch"))),
    )


def _between_pairs(folder: Folder, kind: str) -> float:
    features = list(folder.features(kind))
    distances = []
    for pair in combinations(range(len(features)), 2):
        others = [each for number, each in enumerate(features) if number not in pair]
        ours = np.concatenate([features[number] for number in pair])
        with warnings.catch_warnings():
            # The report says how few samples there are.
            warnings.simplefilter("ignore", FewSamplesWarning)
            distances.append(frechet_distance(ours, np.concatenate(others)))
    return float(np.mean(distances))


def _portable(measured: dict[str, Any]) -> dict[str, Any]:
    """Without the folders' places, which mean nothing elsewhere."""
    for side in ("evaluated", "reference"):
        measured[side].pop("folder")
    return measured
