"""STAND-IN, removed at the merge: what branches `measures` and `duplicates` bring.

Replace the imports of this module by those of the real ones.
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.config.types import NonNegative, Section

__all__ = [
    "MEASURES",
    "Decision",
    "DuplicatesRecipe",
    "Fingerprint",
    "Thresholds",
    "fingerprint",
    "group_duplicates",
    "judge",
    "latest_decisions",
    "measure",
    "split",
]

MEASURES = ("sharpness", "mean")


class Thresholds(Section):
    min_sharpness: NonNegative = 0.5
    max_mean: NonNegative = 250.0

    def limits(self) -> dict[str, tuple[float | None, float | None]]:
        return {"sharpness": (self.min_sharpness, None), "mean": (None, self.max_mean)}


class DuplicatesRecipe(Section):
    max_distance: NonNegative = 8


@dataclass(frozen=True)
class Fingerprint:
    pixel_hash: str
    perceptual_hash: int


def measure(image: NDArray[np.uint8]) -> dict[str, float]:
    grey = image.mean(2)
    return {"sharpness": float(np.abs(np.diff(grey, axis=1)).mean()), "mean": float(grey.mean())}


def judge(values: Mapping[str, float], thresholds: Thresholds) -> list[str]:
    reasons = []
    if values["sharpness"] < thresholds.min_sharpness:
        reasons.append(
            f"sharpness: {values['sharpness']:.3g}, allowed at least {thresholds.min_sharpness:g}"
        )
    if values["mean"] > thresholds.max_mean:
        reasons.append(f"mean: {values['mean']:.3g}, allowed at most {thresholds.max_mean:g}")
    return reasons


def fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    grey = Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)
    small = np.asarray(grey, np.float32)
    bits = (np.diff(small, axis=1) > 0).ravel()
    return Fingerprint(digest, int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True))


@dataclass(frozen=True)
class Decision:
    name: str
    picture_hash: str | None
    decision: str
    reason: str | None
    caption: str | None


def latest_decisions(path: Path) -> dict[str, Decision]:
    if not path.exists():
        return {}
    query = "SELECT name, picture_hash, decision, reason, caption FROM decision ORDER BY id"
    with sqlite3.connect(path) as connection:
        return {row[0]: Decision(*row) for row in connection.execute(query)}


def group_duplicates(
    pixel_hashes: Sequence[str], perceptual: Sequence[int], wanted: DuplicatesRecipe
) -> list[int]:
    """Number of the group of each picture; pictures of one group are near-duplicates."""
    group = list(range(len(perceptual)))
    for i in range(len(group)):
        for j in range(i):
            near = bin((perceptual[i] ^ perceptual[j]) & (2**64 - 1)).count("1")
            if pixel_hashes[i] == pixel_hashes[j] or near <= wanted.max_distance:
                old, new = group[i], group[j]
                group = [new if each == old else each for each in group]
    return group


def split(
    pixel_hashes: Sequence[str],
    groups: Sequence[int],
    eligible: Sequence[bool],
    count: int,
    seed: int,
) -> list[bool]:
    """Which pictures are set aside: `count` of the eligible, drawn by their content."""
    order = sorted(
        (i for i, may in enumerate(eligible) if may),
        key=lambda i: hashlib.sha256(f"{seed} {pixel_hashes[i]}".encode()).digest(),
    )
    chosen = set(order[:count])
    return [i in chosen for i in range(len(pixel_hashes))]
