"""Everything that would end a run late, looked for in its first seconds and told all at once.

Each check stands alone: one that cannot be made because another failed (no model, say) is left out.
Nothing is written, and no weights are loaded.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from diffusion4k.data.folder import METADATA, FolderScan, photo_folder, scan_folder
from diffusion4k.data.pixels import fitted_size
from diffusion4k.data.reader import LatentCache
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.planning.blueprint import Blueprint
from diffusion4k.planning.machine import Machine, present_machine
from diffusion4k.planning.plan import Plan
from diffusion4k.planning.report import verdict
from diffusion4k.planning.training import plan_training
from diffusion4k.training.check import recipe_checks
from diffusion4k.training.recipe import Recipe
from diffusion4k.training.resume import resume_point

__all__ = ["Findings", "is_main", "look_over", "processes", "refuse_problems", "summary"]

_SCANNED = 5000
"""Photographs up to which their headers are read before the run: a second or so."""
_SURELY = 1.15
"""A plan is at most a tenth off: what is so far above the memory does not fit."""


@dataclass
class Findings:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plan: Plan | None = None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note as a problem what the block is refused for."""
        try:
            yield
        except Diffusion4kError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))


def is_main() -> bool:
    """Whether this is the process that tells."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """Of this run, as its launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def refuse_problems(name: str, findings: Findings) -> None:
    """Raise `UsageError` if there are problems, all of them in it, numbered."""
    found = findings.problems
    if len(found) == 1:
        raise UsageError(f"{name}: {found[0]}")
    if found:
        listed = "; ".join(f"({number}) {text}" for number, text in enumerate(found, 1))
        raise UsageError(f"{name}: {len(found)} problems: {listed}")


def summary(findings: Findings) -> str:
    """What a run without problems comes to, in a few lines."""
    lines = ["no problem found", *(f"warning: {text}" for text in findings.warnings)]
    if plan := findings.plan:
        lines += [
            f"memory {plan.peak / 2**30:.2f} GiB of {plan.machine.memory / 2**30:.2f} GiB free",
            f"disk {sum(plan.disk.values()) / 1e9:.2f} GB, {plan.steps} steps",
            "`diffusion4k plan` with this recipe says more",
        ]
    return "\n".join(lines)


def look_over(
    recipe: Recipe,
    *,
    world: int | None = None,
    machine: Machine | None = None,
    planned: bool = True,
    skip_bad: bool = False,
) -> Findings:
    """Everything that is wrong with a recipe here.

    Arguments:
        world: number of processes; by default the launcher's.
        machine: on which it shall run; by default this one.
        planned: whether memory and disk are planned, which takes a second or more.
        skip_bad: broken photographs are no problem.
    """
    findings = Findings()
    world = processes() if world is None else world
    if world % recipe.context_parallel:
        findings.problems.append(
            f"context_parallel: found {recipe.context_parallel}, which does not divide {world} "
            "processes"
        )
    world = max(world // recipe.context_parallel, 1)  # of which each has its own pictures
    with findings.noting():
        recipe = recipe.for_processes(world)
    with findings.noting():
        if recipe.output.exists() and not recipe.output.is_dir():
            raise UsageError(f"{recipe.output}: a file, no folder: choose another output")
        resume_point(recipe, world)
    model = family = None
    with findings.noting():
        model = resolve(recipe.model)
        family = family_of(model, high_resolution=recipe.high_resolution_options)
    if model and family:
        for check in recipe_checks(recipe, family, model):
            with findings.noting():
                check()
    _photographs(recipe, world, findings, model, family, skip_bad)
    if planned and model and family:
        machine = machine or present_machine(folder=recipe.output, measured=False)
        _machine(recipe, model, machine, findings)
    return findings


def _photographs(
    recipe: Recipe,
    world: int,
    findings: Findings,
    model: Path | None,
    family: Family | None,
    skip_bad: bool,
) -> None:
    count = None
    if recipe.data is None:
        with findings.noting():
            cache = LatentCache(recipe.cache_folder)
            count = len(cache)
            if model and family:
                cache.require(
                    model=model,
                    family=family,
                    resolution=recipe.resolution,
                    longest=recipe.longest,
                )
    else:
        with findings.noting():
            folder = photo_folder(recipe.data)
            scan = _scanned(folder)
            if scan:
                if not skip_bad:
                    scan.usable()
                count = len(scan.photos)
                _crops_fit(recipe, scan)
    batch = recipe.batch_size * recipe.gradient_accumulation * world
    if count is not None and batch > count:
        findings.problems.append(
            f"{recipe.data or recipe.cache_folder}: {count} photographs, fewer than the {batch} of "
            "a step (batch_size x gradient_accumulation x processes): lower one of these, or add "
            "some"
        )


def _scanned(folder: Path) -> FolderScan | None:
    """What is in the folder; None if that would take long, and is left to the cache."""
    metadata = folder / METADATA
    if metadata.is_file() and metadata.read_bytes().count(b"\n") > _SCANNED:
        return None
    return scan_folder(folder)


def _crops_fit(recipe: Recipe, scan: FolderScan) -> None:
    if recipe.buckets:
        return
    width, height = recipe.crop_size
    for photo in scan.photos:
        columns, rows = fitted_size(photo.width, photo.height, recipe.resolution)
        if columns < width or rows < height:
            raise UsageError(
                f"crop: found {width}x{height}, larger than {photo.path}, which is cached at "
                f"{columns}x{rows}: choose a smaller crop or a higher resolution, or train with "
                "buckets"
            )


def _machine(recipe: Recipe, model: Path, machine: Machine, findings: Findings) -> None:
    with findings.noting():
        blueprint = Blueprint(model, high_resolution=recipe.high_resolution_options)
        plan = findings.plan = plan_training(blueprint, recipe, machine)
        if "device" in plan.shortages:
            surely = plan.peak > _SURELY * machine.memory
            (findings.problems if surely else findings.warnings).append(
                verdict(plan).replace("\n", " ")
            )
        free = shutil.disk_usage(_existing(recipe.output)).free
        needed = sum(size for what, size in plan.disk.items() if what != "cache")
        if needed > free:
            raise UsageError(
                f"{recipe.output}: {needed / 1e9:.1f} GB are needed for checkpoints and result, "
                f"{free / 1e9:.1f} GB are free: make room, choose another output, or lower "
                "checkpoint.keep"
            )


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return folder if folder.exists() else _existing(folder.parent)
