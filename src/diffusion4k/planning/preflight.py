"""Everything that would end a run late, checked in its first seconds and reported all at once.

Each check stands alone: one that cannot be made because another failed (no model, say) is left out.
Nothing is written, and no weights are loaded.
"""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine, existing_folder, present_machine
from diffusion4k.data.folder import METADATA, FolderScan, photo_folder, scan_folder
from diffusion4k.data.index import INDEX
from diffusion4k.data.reader import LatentCache, refuse_other_build
from diffusion4k.data.sizes import fitted_size, kept_size
from diffusion4k.errors import UsageError
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.planning.disk import training_disk
from diffusion4k.planning.first_look import PreflightFindings
from diffusion4k.planning.report import duration, verdict
from diffusion4k.planning.training import plan_training
from diffusion4k.support.lock import refuse_file
from diffusion4k.support.processes import process_count
from diffusion4k.support.wording import counted
from diffusion4k.training.check import recipe_checks
from diffusion4k.training.checkpoint.checkpoint import checkpoints
from diffusion4k.training.checkpoint.resume import resume_point
from diffusion4k.training.engine.context_parallel import check_processes
from diffusion4k.training.inputs import inputs_of, require_same_inputs
from diffusion4k.training.pictures import check_count
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["look_over", "summary"]

_SCANNED = 5000
"""Photographs up to which their headers are read before the run: a second or so."""
_SURELY = 1.15
"""A plan is at most a tenth off: what is so far above the memory does not fit."""


def summary(findings: PreflightFindings) -> str:
    """What a run without problems comes to, in a few lines."""
    lines = ["no problem found", *(f"warning: {text}" for text in findings.warnings)]
    if plan := findings.plan:
        lines += [
            f"memory {plan.peak / 2**30:.2f} GiB of {plan.machine.memory / 2**30:.2f} GiB free",
            f"disk {sum(plan.disk.values()) / 1e9:.2f} GB",
            f"time {duration(plan.total_seconds)}, about: {plan.steps} steps of "
            f"{duration(plan.step_seconds)}",
            "`diffusion4k plan` with this recipe shows more",
        ]
    return "\n".join(lines)


def look_over(
    recipe: Recipe,
    *,
    unknown: Collection[str] = (),
    world: int | None = None,
    machine: Machine | None = None,
    planned: bool = True,
    skip_bad: bool = False,
    changed_inputs: bool = False,
) -> PreflightFindings:
    """Everything that is wrong with a recipe here.

    Args:
        unknown: keys whose values are those of `INSTEAD`: what depends on them is left out.
        world: number of processes; by default the launcher's.
        machine: on which it is to run; by default this one.
        planned: whether memory and time are planned, which takes a second or more.
        skip_bad: broken photographs are no problem.
        changed_inputs: nor are other photographs or weights than those of the checkpoint.
    """
    findings = PreflightFindings()
    world = process_count() if world is None else world
    with findings.noting():
        check_processes(recipe.context_parallel, world)
    started = world
    world = max(world // recipe.context_parallel, 1)  # of which each has its own pictures
    checkpoint = None
    with findings.noting():
        recipe = recipe.for_processes(world)
    with findings.noting():
        refuse_file(recipe.output)
        if not unknown:
            checkpoint, _ = resume_point(recipe, world)
    model = family = None
    if "model" not in unknown:
        with findings.noting():
            model = resolve(recipe.model)
            family = family_of(model, **recipe.model_options)
    if model and family:
        for check in recipe_checks(recipe, family, model):
            with findings.noting():
                check()
    sized = "resolution" not in unknown
    made_for: _MadeFor | None = None
    if model and family and sized:
        made_for = {"model": model, "family": family}
    count = _photographs(recipe, world, findings, made_for, skip_bad=skip_bad, sized=sized)
    if checkpoint and model and not changed_inputs and count and count <= _SCANNED:
        with findings.noting():
            require_same_inputs(checkpoint, inputs_of(recipe, model), changed=False)
    if model and family and sized:
        blueprint = Blueprint(model, **recipe.model_options)
        if planned:
            machine = (machine or present_machine(folder=recipe.output)).of_run(started)
            with findings.noting():
                _memory(recipe, blueprint, machine, findings)
        with findings.noting():
            _disk(recipe, blueprint, count)
    return findings


class _MadeFor(TypedDict):
    """What a cache must have been built with."""

    model: Path
    family: Family


def _photographs(
    recipe: Recipe,
    world: int,
    findings: PreflightFindings,
    made_for: _MadeFor | None,
    *,
    skip_bad: bool,
    sized: bool,
) -> int | None:
    """Largest possible number of photographs; None if there are none.

    Args:
        made_for: model and family that the cache must be of; None: that is not known.
        sized: whether the recipe's resolution is known.
    """
    count = None
    cache_folder = recipe.cache_folder
    if recipe.data is None or isinstance(cache_folder, str):  # the cache is all there is
        source: str | Path = cache_folder
        with findings.noting():
            cache = LatentCache(cache_folder)
            count = len(cache)
            if made_for:
                cache.require(**made_for, **recipe.stored)
    else:
        source = recipe.data
        if made_for and not recipe.uncached:
            with findings.noting():
                refuse_other_build(
                    cache_folder, **made_for, **recipe.stored, dtype=recipe.cache_dtype
                )
        with findings.noting():
            folder = photo_folder(recipe.data)
            count = _lines(folder)
            if count is None or count <= _SCANNED:
                scan = scan_folder(folder)
                if not skip_bad:
                    scan.usable()
                count = len(scan.photos)
                if sized:
                    _crops_fit(recipe, scan)
                    findings.warnings += _enlarged(recipe, scan)
    if count is not None:
        with findings.noting():
            check_count(recipe, count, world, source)
    return count


def _lines(folder: Path) -> int | None:
    """Number of lines of the metadata; None if there is none."""
    metadata = folder / METADATA
    return metadata.read_bytes().count(b"\n") if metadata.is_file() else None


def _enlarged(recipe: Recipe, scan: FolderScan) -> list[str]:
    """A warning of photographs that are enlarged: a model trained on them learns to be soft."""
    sides = [min(photo.width, photo.height) for photo in scan.photos]
    small = [side for side in sides if side < recipe.resolution]
    if not small or not recipe.enlarge or recipe.buckets:
        return []
    return [
        f"{len(small)} of {counted(len(sides), 'photograph')} below {recipe.resolution} "
        "pixels on the "
        f"shorter side will be enlarged, up to {recipe.resolution / min(small):.1f} times: "
        "enlarge=false keeps their size"
    ]


def _crops_fit(recipe: Recipe, scan: FolderScan) -> None:
    if recipe.buckets:
        return
    width, height = recipe.crop_size
    size = fitted_size if recipe.enlarge else kept_size
    for photo in scan.photos:
        columns, rows = size(photo.width, photo.height, recipe.resolution)
        if columns < width or rows < height:
            raise UsageError(
                f"crop: found {width}x{height}, larger than {photo.path}, which is cached at "
                f"{columns}x{rows}: choose a smaller crop or a higher resolution, or train with "
                "buckets"
            )


def _memory(
    recipe: Recipe, blueprint: Blueprint, machine: Machine, findings: PreflightFindings
) -> None:
    plan = findings.plan = plan_training(blueprint, recipe, machine)
    if "device" in plan.shortages:
        surely = plan.peak > _SURELY * machine.memory
        (findings.problems if surely else findings.warnings).append(
            verdict(plan).replace("\n", " ")
        )


def _disk(recipe: Recipe, blueprint: Blueprint, photographs: int | None) -> None:
    """Refuse disks that are too small for what is still to come."""
    cache_folder = recipe.cache_folder
    filled = isinstance(cache_folder, str) or recipe.uncached or (cache_folder / INDEX).exists()
    there = len(checkpoints(recipe.output / "checkpoints"))
    needed = training_disk(
        blueprint, recipe, None if filled else photographs, checkpoints_there=there
    )
    folders = {"checkpoints": recipe.output, "result": recipe.output, "cache": cache_folder}
    disks: dict[int, list[str]] = {}
    for what in needed:
        disks.setdefault(existing_folder(folders[what]).stat().st_dev, []).append(what)
    for parts in disks.values():
        folder = folders[parts[0]]
        free = shutil.disk_usage(existing_folder(folder)).free
        wanted = sum(needed[part] for part in parts)
        if wanted > free:
            raise UsageError(
                f"{folder}: {wanted / 1e9:.1f} GB are needed for {', '.join(parts)}, "
                f"{free / 1e9:.1f} GB are free: make room, choose another folder, or lower "
                "checkpoint.keep"
            )
