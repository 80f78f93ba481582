"""What a study shows: pairs of images, patches, or candidates, and the pairs that check attention.

A `Unit` is what is seen at once: one image or two. Its name says what it is, so that rows of the
database are understood without this program.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from PIL import Image

from diffusion4k.curation.inspection.candidates import Candidate
from diffusion4k.curation.inspection.inspection import Inspection
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import UsageError
from diffusion4k.preference.answers import Check
from diffusion4k.preference.study.config import (
    InspectionTask,
    PairwiseTask,
    RatingTask,
    StudyConfig,
)
from diffusion4k.preference.study.patches import cut_patches
from diffusion4k.preference.study.pictures import ScenePictures, find_scenes, folders_of
from diffusion4k.preference.study.questions import PAPER
from diffusion4k.support.files import atomic_path, sha256_of
from diffusion4k.support.wording import counted

__all__ = ["CHECK_SCENES", "DEGRADED", "Material", "Unit", "find_material"]

DEGRADED = " (degraded)"
"""What is added to a model's name for the blurred copies of its images."""
CHECK_SCENES = 8
"""So many images, evenly among the scenes, serve for attention checks."""
# Pixels of the longer side that a blurred copy is made from: so few are seen to be missing in any
# size at which the whole image is looked at.
_BLURRED = 160


@dataclass(frozen=True)
class Unit:
    """What is seen at once."""

    name: str
    models: tuple[str, ...]
    """Two, sorted, or one; in an inspection it is the empty string."""
    paths: tuple[Path, ...]
    """An image of each."""
    prompt_id: str
    text: str
    """The prompt, or the candidate's caption."""
    check: Check = ""


@dataclass
class Material:
    """All that a study shows."""

    units: list[Unit]
    checks: dict[Check, list[Unit]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    inspection: Inspection | None = None
    """For an inspection, where its decisions go."""

    def __post_init__(self) -> None:
        self.by_name = {unit.name: unit for unit in self.everything()}

    def everything(self) -> Iterator[Unit]:
        """Units and checks."""
        yield from self.units
        for units in self.checks.values():
            yield from units

    def paths(self) -> list[Path]:
        """Every image file, once."""
        return list(dict.fromkeys(path for unit in self.everything() for path in unit.paths))


def find_material(config: StudyConfig) -> Material:
    """Look at all folders; cut patches and make degraded copies that are not there yet.

    Raises:
        UsageError: what is not there, or does not fit together.
        Diffusion4kError: images that cannot be read.
    """
    task = config.task
    if isinstance(task, PairwiseTask):
        return _pairs(config, task)
    if isinstance(task, RatingTask):
        return _patches(config, task)
    return _candidates(task)


def _pairs(config: StudyConfig, task: PairwiseTask) -> Material:
    prompts = Path(task.prompts) if task.prompts else None
    found = find_scenes(task.models, prompts, skip_missing=task.missing == "skip")
    if task.questions == PAPER and not any(scene.prompt for scene in found.scenes):
        raise UsageError(
            f"{next(iter(task.models.values()))}: its images carry no prompts, which the paper's "
            "questions need: give a file of `prompts`, or `questions` of your own, as in "
            "docs/study.md"
        )
    units = [
        _pair(scene, *sorted(pair))
        for scene in found.scenes
        for pair in combinations(task.models, 2)
    ]
    # Each time another scene and another model.
    step = max(len(found.scenes) // CHECK_SCENES, 1)
    chosen = found.scenes[::step][:CHECK_SCENES]
    models = sorted(task.models)
    checks: dict[Check, list[Unit]] = {}
    if task.checks.identical:
        checks["identical"] = [
            _twice(scene, models[number % len(models)]) for number, scene in enumerate(chosen)
        ]
    if task.checks.degraded:
        checks["degraded"] = [
            _degraded(scene, models[(number + 1) % len(models)], config.place / "checks")
            for number, scene in enumerate(chosen)
        ]
    return Material(units, checks, found.notes)


def _pair(scene: ScenePictures, first: str, second: str) -> Unit:
    paths = scene.images[first], scene.images[second]
    return Unit(f"{scene.id}: {first} | {second}", (first, second), paths, scene.id, scene.prompt)


def _twice(scene: ScenePictures, model: str) -> Unit:
    path = scene.images[model]
    name = f"{scene.id}: {model}, identical"
    return Unit(name, (model, model), (path, path), scene.id, scene.prompt, "identical")


def _degraded(scene: ScenePictures, model: str, folder: Path) -> Unit:
    path = scene.images[model]
    copy = folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', scene.id)}-{sha256_of(path)[:16]}.jpg"
    if not copy.is_file():
        image = open_rgb(path)
        small = image.reduce(max(max(image.size) // _BLURRED, 4))
        blurred = small.resize(image.size, Image.Resampling.BICUBIC)
        with atomic_path(copy) as temporary:
            blurred.save(temporary, "JPEG", quality=80)
    name = f"{scene.id}: {model}, degraded"
    models = model, model + DEGRADED
    return Unit(name, models, (path, copy), scene.id, scene.prompt, "degraded")


def _patches(config: StudyConfig, task: RatingTask) -> Material:
    units = []
    for model in folders_of(task.images):
        files = [entry.path for entry in model.entries]
        if task.patches:
            folder = config.place / "patches"
            files = cut_patches(model.name, files, folder, task.patches, config.seed)
        units += [
            Unit(f"{model.name}: {path.name}", (model.name,), (path,), path.name, "")
            for path in files
        ]
    names = [unit.prompt_id for unit in units]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"{twice}: patches of two models have this name: give them different names, as "
            "ratings go by the name of the file"
        )
    return Material(units)


def _candidates(task: InspectionTask) -> Material:
    inspection = Inspection(Path(task.dataset), everything=task.everything)
    here = [c for c in inspection.candidates if c.path]
    if not here:
        raise UsageError(
            f"{task.dataset}: no candidate's picture is a file on this machine: build it again"
        )
    left_out = len(inspection.candidates) - len(here)
    notes = [
        f"{counted(left_out, 'candidate')} left out, as their pictures are no files on this machine"
    ]
    return Material(
        [_candidate(c) for c in here], notes=notes if left_out else [], inspection=inspection
    )


def _candidate(candidate: Candidate) -> Unit:
    assert candidate.path
    return Unit(candidate.name, ("",), (candidate.path,), candidate.name, candidate.text or "")
