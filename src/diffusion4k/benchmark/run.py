"""The whole road: prompts -> images -> findings -> rows, differences and everything written.

Any step that was stopped continues with the same command: images are kept by what made them,
findings by the content of the picture and the protocol, and the rest takes seconds.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from diffusion4k.benchmark.comparable import Size
from diffusion4k.benchmark.crops import common_size, cropped
from diffusion4k.benchmark.distributed import Processes
from diffusion4k.benchmark.entries import (
    check_entries,
    found_images,
    images_folder,
    make_images,
    size_of,
    write_captions,
)
from diffusion4k.benchmark.model_runs import ModelRun, conditions_of
from diffusion4k.benchmark.prompts import PromptSet, read_prompt_set
from diffusion4k.benchmark.recipe import BenchmarkRecipe
from diffusion4k.benchmark.report import write_report
from diffusion4k.benchmark.results import BenchmarkResults
from diffusion4k.benchmark.summary import differences_of, facts_of, images_of, notes_of, rows_of
from diffusion4k.benchmark.tables import save_latex
from diffusion4k.benchmark.values import Values
from diffusion4k.data.folder import METADATA, photo_folder, read_folder
from diffusion4k.data.picture_files import list_images
from diffusion4k.imagesets.models import ImageSetEntry
from diffusion4k.metrics.measure import Measure, Unavailable
from diffusion4k.metrics.measuring import measure_folder, name_in
from diffusion4k.metrics.own import own_measures
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.selection import measures_for
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.metrics.store import MeasureStore
from diffusion4k.support.lock import locked
from diffusion4k.support.progress import Counter

__all__ = ["FILES", "run_benchmark"]

FILES = ("results.json", "results.csv", "images.csv", "results.tex", "report.html")
"""What is written into the output folder, beside the images."""

_MEASURED = "measured"


def run_benchmark(recipe: BenchmarkRecipe, *, skip_bad: bool = False) -> BenchmarkResults | None:
    """Make and measure all images; None in all processes but the first.

    Raises:
        UsageError: something in the recipe that cannot be meant.
        Diffusion4kError: a model that cannot be run, weights of a metric that are named and cannot
            be used, or a row without any good image.
    """
    check_entries(recipe)
    own_measures(recipe.metrics, "metrics")
    prompts = read_prompt_set(recipe.prompts, recipe.limit, skip_bad=skip_bad)
    team = Processes()
    held = locked(recipe.output, other="output") if team.is_main else nullcontext()
    with held:
        if team.is_main and any(entry.model is not None for entry in recipe.models):
            # Weights that cannot be used end the run before images are made; they are let go, for
            # the models need the memory.
            _measures(recipe, prompts, team)
        for entry in recipe.models:
            if entry.model is not None and team.world > 1:
                make_images(recipe, entry, prompts, team, share=team.share)
        team.gather()
        if not team.is_main:
            return None
        return _measured(recipe, prompts, team, skip_bad=skip_bad)


def _measured(
    recipe: BenchmarkRecipe, prompts: PromptSet, team: Processes, *, skip_bad: bool
) -> BenchmarkResults:
    entrants = _entrants(recipe, prompts, team)
    reference = _reference(recipe, prompts, skip_bad=skip_bad)
    measures, missing = _measures(recipe, prompts, team)
    store = MeasureStore(recipe.output / _MEASURED)
    everyone = [*entrants, reference] if reference else entrants
    for entrant in everyone:
        _measure(entrant, measures, store)
    values = Values(
        reference.findings if reference else [],
        resamples=recipe.resamples,
        groups=recipe.distance_groups,
    )
    columns = tuple(column for measure in measures for column in measure.columns)
    results = BenchmarkResults(
        columns,
        rows_of(entrants, reference, columns, values, prompts),
        differences_of(entrants, columns, values),
        tuple(missing),
        {entrant.name: entrant.bad for entrant in everyone if entrant.bad},
        notes_of(recipe, prompts, entrants, reference, columns),
        images_of(everyone, columns),
        facts_of(recipe, prompts, measures),
    )
    _write(results, entrants, recipe.output)
    return results


def _measures(
    recipe: BenchmarkRecipe, prompts: PromptSet, team: Processes
) -> tuple[list[Measure], list[Unavailable]]:
    settings = MeasureSettings(
        recipe.reencode, recipe.patch_size, recipe.patches_per_image, recipe.grid_period
    )
    has_reference = bool(recipe.reference or prompts.reference)
    return measures_for(
        settings,
        recipe.networks,
        str(team.device),
        has_reference=has_reference,
        own=own_measures(recipe.metrics, "metrics"),
    )


def _write(results: BenchmarkResults, entrants: Sequence[ModelRun], folder: Path) -> None:
    data, table, images, latex, report = (folder / name for name in FILES)
    results.save_json(data)
    results.save_csv(table)
    results.save_images(images)
    save_latex(results, latex)
    write_report(results, entrants, report)


def _entrants(recipe: BenchmarkRecipe, prompts: PromptSet, team: Processes) -> list[ModelRun]:
    """The rows with their images; the models make what is not there yet."""
    shots: dict[str, list[ImageSetEntry]] = {}
    for entry in recipe.models:
        if entry.images is not None:
            shots[entry.name] = found_images(images_folder(recipe, entry))
            continue
        made = make_images(recipe, entry, prompts, team)
        write_captions(images_folder(recipe, entry), made)
        shots[entry.name] = made
    sizes = {shot.path: size_of(shot) for row in shots.values() for shot in row}
    wanted = _crop_size(recipe, [size for size in sizes.values() if size])
    entrants = []
    for entry in recipe.models:
        originals = shots[entry.name]
        known = {shot.path: sizes[shot.path] for shot in originals}
        folder = recipe.output / "cropped" / entry.name
        measured = originals
        if wanted:
            measured = [cropped(shot, known[shot.path], wanted, folder) for shot in originals]
        conditions = conditions_of(originals, [wanted or size for size in known.values() if size])
        entrants.append(ModelRun(entry.name, measured, conditions, images_folder(recipe, entry)))
    return entrants


def _crop_size(recipe: BenchmarkRecipe, sizes: Sequence[Size]) -> Size | None:
    if recipe.crop is None or not sizes:
        return None
    return common_size(sizes) if recipe.crop == "common" else recipe.crop


def _reference(recipe: BenchmarkRecipe, prompts: PromptSet, *, skip_bad: bool) -> ModelRun | None:
    folder = photo_folder(recipe.reference) if recipe.reference else prompts.reference
    if folder is None:
        return None
    if (folder / METADATA).is_file():
        photos = read_folder(folder, skip_bad=skip_bad)
        shots = [ImageSetEntry(p.path, p.path.name, p.text) for p in photos]
        sizes = [(photo.width, photo.height) for photo in photos]
    else:
        shots = [ImageSetEntry(path, path.name) for path in list_images(folder)]
        sizes = [size for shot in shots if (size := size_of(shot))]
    return ModelRun("photographs", shots, conditions_of(shots, sizes), folder)


def _measure(entrant: ModelRun, measures: Sequence[Measure], store: MeasureStore) -> None:
    pictures = [MeasuredImage(shot.path, shot.prompt or None) for shot in entrant.shots]
    with Counter(f"measuring {entrant.name}", len(pictures)) as counter:
        good, bad = measure_folder(
            entrant.folder, pictures, measures, store, lambda _: counter.advance()
        )
    entrant.found |= {finding.path: finding for finding in good}
    entrant.bad |= {name_in(entrant.folder, finding.path): finding.problem for finding in bad}
