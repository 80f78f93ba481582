"""All runs of a study, each trained, measured, and never twice.

    OUTPUT/runs/<arm>/seed-<n>/recipe.yaml        the run, for `diffusion4k train` on a cluster
    OUTPUT/runs/<arm>/seed-<n>/conditions.json    what it was started under
    OUTPUT/runs/<arm>/seed-<n>/training/          checkpoints, curves, the model
    OUTPUT/runs/<arm>/seed-<n>/look-<steps>/      see `snapshots`
    OUTPUT/start/                                 a snapshot of the model before any training

The same command in several processes, or on several machines that share the output folder, shares
the runs out: each takes one that nobody works on, by a lock that ends with its process. A run that
was trained elsewhere, by its `recipe.yaml` and any engine, is found trained.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from diffusion4k.ablation.arms import VARIED, Run, base_recipe, runs_of
from diffusion4k.ablation.estimate import estimate
from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.ablation.report import write_everything
from diffusion4k.ablation.results import AblationResults
from diffusion4k.ablation.setup import StudySetup, prepare
from diffusion4k.ablation.snapshots import has_snapshot, take_snapshot
from diffusion4k.ablation.summary import results_of
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import family_of, resolve
from diffusion4k.planning.first_look import refuse_problems
from diffusion4k.planning.preflight import look_over
from diffusion4k.sampling.stages import resolve_stages
from diffusion4k.statistics import FEWEST_CROSSED
from diffusion4k.support.files import write_text
from diffusion4k.support.lock import try_lock, wait_for
from diffusion4k.support.processes import process_count
from diffusion4k.support.text_files import json_of
from diffusion4k.support.wording import counted
from diffusion4k.training.checkpoint.checkpoint import latest_checkpoint, read_state
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.signals import TrainingStopped

__all__ = ["check_study", "check_time", "notes_of", "run_study", "snapshot_folder", "start_folder"]


def start_folder(study: AblationRecipe) -> Path:
    """The folder of the snapshot before training."""
    return study.output / "start"


def snapshot_folder(run: Run, steps: int) -> Path:
    """The folder of a run's snapshot after so many steps."""
    return run.folder / f"look-{steps:06}"


def run_study(study: AblationRecipe, *, skip_bad: bool = False) -> AblationResults | None:
    """Do what is not done yet, and report; None while other processes are still at work.

    Raises:
        UsageError: arms that differ in more than was asked, or a study that cannot be meant.
        Stopped: a signal came; what is done is kept.
        Diffusion4kError: runs that failed, after all others have been done.
    """
    runs, setup = _ready(study, skip_bad=skip_bad)
    for run in runs:
        write_text(run.folder / "recipe.yaml", run.recipe.as_yaml())
    for note in notes_of(study, setup):
        print(note, file=sys.stderr, flush=True)
    if any(not _is_done(run, setup) for run in runs):
        print(estimate(setup, runs, _snapshots_to_do(runs, setup)), file=sys.stderr, flush=True)
    _snapshot_of_start(setup, runs[0])
    failed = _carry_out(runs, setup)
    if failed:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise Diffusion4kError(
            f"{len(failed)} of {len(runs)} runs failed, the others are done: {reasons}; leave "
            "their arm out of the study to see the others' results"
        )
    if not all(_is_done(run, setup) for run in runs):
        return None
    with try_lock(study.output / ".report") as ours:
        if not ours:
            return None
        for run in runs:  # which others may have trained
            _refuse_other_conditions(run, setup)
        with wait_for(start_folder(study), "another process takes the snapshot before training"):
            pass
        _snapshot_of_start(setup, runs[0])
        snapshots = {
            (run.arm, run.seed, s): snapshot_folder(run, s) for run in runs for s in study.steps
        }
        curves = {(run.arm, run.seed): run.recipe.output / "loss.csv" for run in runs}
        notes = notes_of(study, setup)
        results = results_of(setup, snapshots, start_folder(study), curves, notes)
        write_everything(results, study.output)
    return results


def check_time(study: AblationRecipe, *, skip_bad: bool = False) -> str:
    """Notes, and what is left to do with the time it takes; the cache is completed for that.

    Raises:
        UsageError: as `run_study`.
    """
    runs, setup = _ready(study, skip_bad=skip_bad)
    todo = _snapshots_to_do(runs, setup)
    return "\n".join(["no problem found", *notes_of(study, setup), estimate(setup, runs, todo)])


def _ready(study: AblationRecipe, *, skip_bad: bool) -> tuple[list[Run], StudySetup]:
    runs = check_study(study, skip_bad=skip_bad)
    setup = prepare(study, skip_bad=skip_bad)
    for run in runs:
        _refuse_other_conditions(run, setup)
    return runs, setup


def check_study(study: AblationRecipe, *, skip_bad: bool = False) -> list[Run]:
    """The runs, after everything that would end one of them late was checked.

    Raises:
        UsageError: all problems in one line.
    """
    if process_count() > 1:
        raise UsageError(
            "a study distributes its own runs: start the same command several times, each "
            "with its own GPU (CUDA_VISIBLE_DEVICES), without accelerate launch or torchrun; or "
            "train runs that need many GPUs from their recipe.yaml, see docs/ablation.md"
        )
    runs = runs_of(study)
    _refuse_images_of_others(study, runs[0].recipe)
    base = base_recipe(study).model_copy(update={"output": study.output / "unused"})
    refuse_problems("recipe", look_over(base, planned=False, skip_bad=skip_bad))
    for run in runs[: len(study.arms)]:
        arm = base.model_copy(update={key: getattr(run.recipe, key) for key in VARIED})
        findings = look_over(arm, planned=False, skip_bad=skip_bad)
        refuse_problems(f"arms.{run.arm}", findings)
    return runs


def _refuse_images_of_others(study: AblationRecipe, recipe: Recipe) -> None:
    """Refuse a study whose images another model would make, by the stages that the model states."""
    folder = resolve(recipe.model)
    family = family_of(folder, **recipe.model_options)
    defaults, smallest = family.defaults(folder), recipe.first_stage or 0
    width, height = study.width or defaults.width, study.height or defaults.height
    for arm in study.arms:
        staging = study.staging(arm)
        stages = resolve_stages(
            family,
            folder,
            defaults,
            width=width,
            height=height,
            stages=staging.stages,
            options=staging.stage_options,
        )
        if stages and all(s.model or max(s.width, s.height) < smallest for s in stages):
            raise UsageError(
                f"arms.{arm}: {recipe.model} leaves all stages of images of {width}x{height} to "
                f"{stages[-1].model or recipe.model}, so that none would show what was trained: "
                "give `stages: []`, a larger size, or the other model as recipe.model"
            )


def notes_of(study: AblationRecipe, setup: StudySetup) -> list[str]:
    """What a reader must know before he believes a number."""
    notes = list(setup.notes)
    for count, what in ((len(study.seeds), "seed"), (len(setup.prompts.prompts), "prompt")):
        if count < FEWEST_CROSSED:
            notes.append(
                f"{counted(count, what)}: too few for an interval, so no difference "
                f"can be distinguished from chance: give at least {FEWEST_CROSSED}"
            )
    if min(study.velocity.pictures, len(setup.velocity_cache)) < FEWEST_CROSSED:
        notes.append(
            f"{counted(len(setup.velocity_cache), 'picture')}: too few for an interval of velocity "
            "errors"
        )
    if not study.velocity.data:
        notes.append(
            "the velocity's error is measured on pictures of the training set, with noise that no "
            "run was trained with: velocity.data names others, which show more than how well a "
            "run remembers"
        )
    return notes


def _carry_out(runs: Sequence[Run], setup: StudySetup) -> dict[str, str]:
    """Every run that is not done and that nobody works on; why some failed."""
    failed: dict[str, str] = {}
    for run in runs:
        with try_lock(run.folder) as ours:
            if not ours or _is_done(run, setup):
                continue
            place = f"{runs.index(run) + 1} of {len(runs)}"
            print(f"run {place}: {run.name}", file=sys.stderr, flush=True)
            try:
                _train_and_evaluate(run, setup)
            except (UsageError, TrainingStopped):
                raise
            except Diffusion4kError as error:
                failed[run.name] = str(error)
                print(f"{run.name}: failed: {error}", file=sys.stderr, flush=True)
    return failed


def _train_and_evaluate(run: Run, setup: StudySetup) -> None:
    """Train to each of the study's steps, and take a snapshot there."""
    _refuse_other_conditions(run, setup)
    _write_conditions(run, setup)
    for steps in setup.study.steps:
        folder = snapshot_folder(run, steps)
        if has_snapshot(setup, folder, run.arm):
            continue
        done = _trained_steps(run)
        if done > steps:
            raise UsageError(
                f"{run.folder}: has been trained to step {done}, and its snapshot at step {steps} "
                "is missing, or was made with other prompts, sizes or pictures: undo that, leave "
                f"{steps} out of `steps`, or choose another output"
            )
        recipe = run.until(steps)
        setup.require_cache()
        train(recipe)
        name = f"{run.name}, step {steps}"
        take_snapshot(setup, recipe, folder, arm=run.arm, name=name)


def _snapshot_of_start(setup: StudySetup, run: Run) -> None:
    """First of all, as what fails in a snapshot then fails before any training."""
    folder = start_folder(setup.study)
    with try_lock(folder) as ours:
        if ours and not has_snapshot(setup, folder, None):
            take_snapshot(setup, run.recipe, folder, arm=None, name="the model at its start")


def _snapshots_to_do(runs: Sequence[Run], setup: StudySetup) -> list[tuple[Run, int]]:
    """Steps that are left until each snapshot that is missing."""
    left = []
    for run in runs:
        done = _trained_steps(run)
        for steps in setup.study.steps:
            if not has_snapshot(setup, snapshot_folder(run, steps), run.arm):
                left.append((run, max(steps - done, 0)))
                done = max(done, steps)
    return left


def _is_done(run: Run, setup: StudySetup) -> bool:
    return all(
        has_snapshot(setup, snapshot_folder(run, steps), run.arm) for steps in setup.study.steps
    )


def _trained_steps(run: Run) -> int:
    checkpoint = latest_checkpoint(run.recipe.output / "checkpoints")
    return int(read_state(checkpoint)["step"]) if checkpoint else 0


def _conditions(run: Run, setup: StudySetup) -> dict[str, object]:
    """All that decides about a run's result; of cache and model the content and not the path."""
    free = {"output", "seed", "cache", "model"}
    if run.recipe.schedule.name == "constant":
        free.add("steps")  # else the learning rate depends on where the run ends
    recipe = run.recipe.model_dump(mode="json", exclude=free)
    return {"cache content": setup.checksum, "model content": setup.model, **recipe}


def _write_conditions(run: Run, setup: StudySetup) -> None:
    content = json.dumps(_conditions(run, setup), indent=1)
    write_text(run.folder / "conditions.json", content + "\n")


def _refuse_other_conditions(run: Run, setup: StudySetup) -> None:
    """Refuse a run that was started under something else than the study says now."""
    try:
        before = json_of((run.folder / "conditions.json").read_bytes())
    except (OSError, ValueError):
        return
    now = json.loads(json.dumps(_conditions(run, setup)))
    free = {"checkpoint", "validation", "log", "guard", "engine", "offload"}
    changes = [
        f"{key} ({before.get(key)} -> {now.get(key)})"
        for key in sorted({*before, *now} - free)
        if before.get(key) != now.get(key)
    ]
    if changes:
        raise UsageError(
            f"{run.folder}: was trained with another {', '.join(changes)}: undo "
            "that, or choose another output, as the results would not be comparable"
        )
