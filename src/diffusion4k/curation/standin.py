"""STAND-IN, to be removed at the merge: names of branches measures, duplicates and inspection.

MEASURES, measure, measure_header            curation.measures
Rejection, judge                             curation.quality
Thresholds                                   curation.thresholds
Fingerprint, find_duplicates, fingerprint, kept, split    curation.duplicates
CORRELATION, DISTANCE                        curation.duplicates.groups
Decision, latest_decisions                   curation.inspection.decisions
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.config.types import NonNegative, Section

__all__ = [
    "CORRELATION",
    "DISTANCE",
    "MEASURES",
    "Decision",
    "Fingerprint",
    "Rejection",
    "Thresholds",
    "find_duplicates",
    "fingerprint",
    "judge",
    "kept",
    "latest_decisions",
    "measure",
    "measure_header",
    "split",
]

MEASURES = {"detail": "mean step", "brightness": "mean", "jpeg_quality": "of the file"}
DISTANCE, CORRELATION = 8, 0.7


class BlurThresholds(Section):
    min_detail: NonNegative | None = 0.2


class ExposureThresholds(Section):
    max_brightness: NonNegative | None = 250


class FlatThresholds(Section):
    max_flat_ratio: NonNegative | None = 0.5


class Thresholds(Section):
    blur: BlurThresholds = BlurThresholds()
    exposure: ExposureThresholds = ExposureThresholds()
    flat: FlatThresholds = FlatThresholds()


def measure(pixels: NDArray[np.uint8]) -> dict[str, float]:
    grey = pixels.mean(2)
    return {"detail": float(np.abs(np.diff(grey)).mean()), "brightness": float(grey.mean())}


def measure_header(source: Any) -> dict[str, float]:
    return {"jpeg_quality": float("nan")}


@dataclass(frozen=True)
class Rejection:
    step: str
    reason: str


def judge(values: Mapping[str, float | None], thresholds: Thresholds) -> list[Rejection]:
    found = []
    detail, brightness = values.get("detail"), values.get("brightness")
    least, most = thresholds.blur.min_detail, thresholds.exposure.max_brightness
    if detail is not None and least is not None and detail < least:
        found.append(Rejection("blur", f"detail {detail:.3g}, allowed at least {least:g}"))
    if brightness is not None and most is not None and brightness > most:
        reason = f"brightness {brightness:.3g}, allowed at most {most:g}"
        found.append(Rejection("exposure", reason))
    return found


@dataclass(frozen=True, eq=False)
class Fingerprint:
    pixel_hash: str
    bits: int

    def to_columns(self) -> dict[str, str | bytes]:
        bits = self.bits.to_bytes(8, "little")
        return {"pixel_hash": self.pixel_hash, "perceptual_hash": bits, "thumbnail": b""}

    @classmethod
    def from_columns(
        cls, pixel_hash: str, perceptual_hash: bytes, thumbnail: bytes
    ) -> "Fingerprint":
        return cls(pixel_hash, int.from_bytes(perceptual_hash, "little"))


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    small = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    bits = np.diff(np.asarray(small, np.float32), axis=1) > 0
    return Fingerprint(digest, int.from_bytes(np.packbits(bits.ravel()).tobytes(), "little"))


class Groups(NamedTuple):
    labels: NDArray[np.int64]


def find_duplicates(
    fingerprints: Sequence[Fingerprint],
    *,
    distance: int = DISTANCE,
    least_correlation: float = CORRELATION,
) -> Groups:
    labels = list(range(len(fingerprints)))
    for i, one in enumerate(fingerprints):
        for j, other in enumerate(fingerprints[:i]):
            if (one.bits ^ other.bits).bit_count() <= distance:
                old, new = max(labels[i], labels[j]), min(labels[i], labels[j])
                labels = [new if each == old else each for each in labels]
    return Groups(np.array(labels, np.int64))


def kept(
    labels: NDArray[np.int64], names: Sequence[str], pixels: Sequence[int], size: Sequence[int]
) -> NDArray[np.bool_]:
    keep = np.zeros(len(names), bool)
    for label in set(labels.tolist()):
        group = np.flatnonzero(labels == label).tolist()
        keep[min(group, key=lambda p: (-pixels[p], -size[p], names[p]))] = True
    return keep


def split(
    names: Sequence[str],
    labels: Sequence[int] | NDArray[np.int64],
    *,
    eval_share: float | None = None,
    eval_count: int | None = None,
    seed: int = 0,
    eligible: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> list[str]:
    count = round((eval_share or 0) * len(names)) if eval_count is None else eval_count
    chosen: set[int] = set()
    for label in sorted(set(labels), key=lambda n: hashlib.sha256(f"{seed} {n}".encode()).digest()):
        members = {p for p in range(len(names)) if labels[p] == label}
        allowed = eligible is None or all(eligible[p] for p in members)
        if allowed and len(chosen) + len(members) <= count:
            chosen |= members
    return ["eval" if p in chosen else "train" for p in range(len(names))]


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
