"""From the snapshots of all runs to values, paired differences and curves.

Images of an arm are those of all its training seeds together; intervals come from drawing training
seeds and prompts (of the velocity's error: seeds and pictures), and a difference is one of the same
seeds and prompts: see `statistics.crossed`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.ablation.results import (
    AblationEntry,
    AblationFacts,
    AblationResults,
    ArmCurve,
    EqualArms,
    judge,
)
from diffusion4k.ablation.setup import StudySetup
from diffusion4k.ablation.snapshots import Snapshot, findings_of, photographs_of, read_snapshot
from diffusion4k.ablation.velocity_error import levels_of
from diffusion4k.benchmark.values import EMPTY, Cell, Values, from_zero
from diffusion4k.metrics.measure import Column, Distance, Mean
from diffusion4k.metrics.measuring import Measured
from diffusion4k.metrics.spectrum import RINGS, log_distance
from diffusion4k.statistics import Statistic, crossed, mean_of, minus, ratio_of_sums
from diffusion4k.support.progress import track
from diffusion4k.support.versions import versions
from diffusion4k.training.watch.curve import Curve as LossCurve
from diffusion4k.wavelet import SUB_BANDS

__all__ = ["BEFORE", "DECODED", "PHOTOGRAPHS", "VELOCITY_COLUMNS", "results_of"]

BEFORE, PHOTOGRAPHS, DECODED = "before training", "photographs", "through the autoencoder"

VELOCITY_COLUMNS = (
    Mean("velocity_error", "velocity error", "lower", 5),
    Mean("velocity_error_coarse", "velocity error (LL)", "lower", 5),
    Mean("velocity_error_detail", "velocity error (LH, HL, HH)", "lower", 5),
    Mean("velocity_error_late", "velocity error (sigma < 1/3)", "lower", 5),
)

DECODED_COLUMN = Distance(
    "spectrum_distance_decoded",
    "spectrum, distance to decoded photographs",
    "lower",
    3,
    "spectrum",
    log_distance,
)
"""Distance without what the autoencoder loses, which is the same for all arms."""

Key: TypeAlias = tuple[str, int, int]
"""Arm, seed, steps."""
Array: TypeAlias = NDArray[np.float64]


class _Side:
    """All snapshots of an arm after so many steps: rows, each of a training seed and a prompt."""

    def __init__(
        self,
        snapshots: Mapping[int, Snapshot],
        findings: Mapping[int, Sequence[Measured]],
        *,
        is_start: bool = False,
    ) -> None:
        """`is_start`: before training, where there are no seeds that others might replace."""
        self.is_start = is_start
        self.findings = [each for seed in snapshots for each in findings[seed]]
        images = [
            (seed, image) for seed, snapshot in snapshots.items() for image in snapshot.images
        ]
        self.seeds = [seed for seed, _ in images]
        self.prompts = [image.prompt for _, image in images]
        self.errors = np.stack([snapshot.errors for snapshot in snapshots.values()])
        """`(seeds, pictures, levels, 4)`."""

    @property
    def by_picture(self) -> list[NDArray[np.intp]]:
        """Labels of the rows of errors, by seed and by picture."""
        seeds, pictures = np.indices(self.errors.shape[:2])
        return [seeds.ravel(), pictures.ravel()]

    def velocity(self, column: str, levels: Array) -> Array:
        """The error of each seed and picture, flat."""
        of_bands = {"velocity_error_coarse": [0], "velocity_error_detail": [1, 2, 3]}
        bands = self.errors[..., of_bands.get(column, [0, 1, 2, 3])].mean(-1)
        wanted = levels < 1 / 3 if column == "velocity_error_late" else levels > 0
        return np.asarray(bands[..., wanted].mean(-1)).ravel()


def results_of(
    setup: StudySetup,
    snapshots: Mapping[Key, Path],
    start: Path,
    loss_curves: Mapping[tuple[str, int], Path],
    notes: Sequence[str],
) -> AblationResults:
    """All results; `snapshots` and `start` are folders of snapshots."""
    study = setup.study
    photographs = photographs_of(setup, setup.photographs)
    decoded = photographs_of(setup, setup.decoded)
    sides = {
        (arm, steps): _side(setup, {s: snapshots[arm, s, steps] for s in study.seeds}, arm)
        for arm in study.arms
        for steps in study.steps
    }
    before = _side(setup, {0: start}, BEFORE)
    work = _Work(setup, Values(photographs), Values(decoded))
    every = [(arm, steps) for steps in study.steps for arm in study.arms]
    entries = [*work.entries(BEFORE, 0, before, None)]
    for arm, steps in track(every, len(every), "intervals"):
        base = None if arm == study.baseline else sides[study.baseline, steps]
        entries += work.entries(arm, steps, sides[arm, steps], base)
    last = {arm: sides[arm, study.steps[-1]] for arm in study.arms}
    spectra = [_spectrum(arm, side.findings) for arm, side in last.items()]
    spectra.append(_spectrum(BEFORE, before.findings))
    if photographs:
        spectra.append(_spectrum(PHOTOGRAPHS, photographs))
        spectra.append(_spectrum(DECODED, decoded))
    firsts = {
        arm: read_snapshot(snapshots[arm, study.seeds[0], study.steps[-1]]) for arm in study.arms
    }
    return AblationResults(
        tuple(study.arms),
        study.baseline,
        study.steps,
        work.columns,
        tuple(entries),
        tuple(levels_of(study).tolist()),
        work.by_level(last),
        tuple(((np.arange(RINGS) + 0.5) / 64).tolist()),
        tuple(spectra),
        _identities(setup, sides, loss_curves),
        tuple(setup.missing),
        tuple(notes),
        _facts(setup, before, photographs),
        {
            arm: tuple((image.prompt, str(image.path)) for image in snapshot.images)
            for arm, snapshot in {BEFORE: read_snapshot(start), **firsts}.items()
        },
    )


def _side(setup: StudySetup, folders: Mapping[int, Path], name: str) -> _Side:
    snapshots = {seed: read_snapshot(folder) for seed, folder in folders.items()}
    findings = {
        seed: findings_of(setup, snapshot.images, name) for seed, snapshot in snapshots.items()
    }
    return _Side(snapshots, findings, is_start=name == BEFORE)


class _Work:
    """Values with their intervals."""

    def __init__(self, setup: StudySetup, values: Values, beside_decoded: Values) -> None:
        self._ground, self._values, self._beside_decoded = setup, values, beside_decoded
        self._levels = levels_of(setup.study)
        of_decoded = (DECODED_COLUMN,) if setup.decoded else ()
        self.columns: tuple[Column, ...] = (*VELOCITY_COLUMNS, *of_decoded, *setup.columns)

    def entries(self, arm: str, steps: int, side: _Side, base: _Side | None) -> list[AblationEntry]:
        """Entries of all columns; without a `base` there is no difference."""
        return [self._entry(arm, steps, column, side, base) for column in self.columns]

    def _entry(
        self, arm: str, steps: int, column: Column, side: _Side, base: _Side | None
    ) -> AblationEntry:
        ours = self._statistic(column, side)
        value = self._cell(column, side, ours)
        if column in VELOCITY_COLUMNS or isinstance(column, Distance):
            value = from_zero(value)
        theirs = self._statistic(column, base) if base else None
        if base is None or ours is None or theirs is None:
            return AblationEntry(arm, steps, column.name, value)
        difference = self._cell(column, side, minus(ours, theirs))
        baseline = self._cell(column, base, theirs).value
        verdict = judge(difference, baseline, column, self._ground.study.margin)
        return AblationEntry(arm, steps, column.name, value, difference, verdict)

    def _statistic(self, column: Column, side: _Side) -> Statistic | None:
        if column in VELOCITY_COLUMNS:
            return mean_of(side.velocity(column.name, self._levels))
        values = self._beside_decoded if column is DECODED_COLUMN else self._values
        return values.statistic(column, side.findings)

    def _cell(self, column: Column, side: _Side, statistic: Statistic | None) -> Cell:
        if statistic is None:
            return EMPTY
        kinds: list[ArrayLike] = [side.seeds, side.prompts]
        if column in VELOCITY_COLUMNS:
            kinds = [*side.by_picture]
        if side.is_start:
            kinds = kinds[1:]
        repeats = not isinstance(column, Distance)
        found = crossed(statistic, kinds, repeats=repeats, resamples=self._ground.study.resamples)
        return Cell(*map(_finite, (found.value, found.low, found.high)))

    def by_level(self, sides: Mapping[str, _Side]) -> dict[str, tuple[ArmCurve, ...]]:
        """Error relative to the baseline's, less 1, at each noise level."""
        study = self._ground.study
        base = sides[study.baseline]
        parts = {"all": [0, 1, 2, 3], **{name: [at] for at, name in enumerate(SUB_BANDS)}}
        return {
            name: tuple(
                self._relative(arm, side, base, bands)
                for arm, side in sides.items()
                if arm != study.baseline
            )
            for name, bands in parts.items()
        }

    def _relative(self, arm: str, side: _Side, base: _Side, bands: list[int]) -> ArmCurve:
        cells = []
        for level in range(len(self._levels)):
            ours, theirs = (s.errors[:, :, level, bands].mean(-1).ravel() for s in (side, base))
            ratio = ratio_of_sums(ours, theirs)
            found = crossed(ratio, side.by_picture, resamples=self._ground.study.resamples)
            cells.append([found.value - 1, found.low - 1, found.high - 1])
        values, low, high = zip(*cells, strict=True)
        return ArmCurve(arm, values, tuple(map(_finite, low)), tuple(map(_finite, high)))


def _spectrum(arm: str, findings: Sequence[Measured]) -> ArmCurve:
    mean = np.mean([found.features("spectrum")[0] for found in findings], axis=0)
    return ArmCurve(arm, tuple(mean.astype(float).tolist()))


def _identities(
    setup: StudySetup,
    sides: Mapping[tuple[str, int], _Side],
    loss_curves: Mapping[tuple[str, int], Path],
) -> tuple[EqualArms, ...]:
    study, last = setup.study, setup.study.steps[-1]
    found = []
    for first, second in study.equal:
        losses = [
            _largest(*(_losses(loss_curves[arm, seed], last) for arm in (first, second)))
            for seed in study.seeds
        ]
        errors = [
            _largest(*(sides[arm, steps].errors.mean((1, 2, 3)) for arm in (first, second)))
            for steps in study.steps
        ]
        found.append(EqualArms(first, second, max(losses), max(errors)))
    return tuple(found)


def _losses(path: Path, last: int) -> Array:
    """Losses of all steps to the `last`: an earlier study may have trained a run further."""
    rows = LossCurve.read(path)
    return np.array([float(row["loss"]) for row in rows if int(row["step"]) <= last])


def _largest(first: Array, second: Array) -> float:
    """Relative difference."""
    return float(np.max(np.abs(first - second) / np.abs(first)))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _facts(setup: StudySetup, before: _Side, photographs: Sequence[Measured]) -> AblationFacts:
    study, recipe = setup.study, setup.recipe.for_processes(1)
    libraries = ("torch", "diffusers", "transformers", "numpy", "pillow", "numba")
    return {
        "study": study.model_dump(mode="json", exclude={"output"}),
        "seeds": list(study.seeds),
        "prompts": len(setup.prompts.prompts),
        "images": len(before.findings),
        "photographs": len(photographs),
        "training_pictures": len(setup.cache),
        "velocity_pictures": before.errors.shape[1],
        "cache": setup.checksum,
        "model": recipe.model,
        "size": f"{recipe.crop_size[0]}x{recipe.crop_size[1]}",
        "batch": recipe.batch_size * recipe.gradient_accumulation,
        "protocols": {measure.name: measure.protocol for measure in setup.measures},
        "versions": versions("python", *libraries),
    }
