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
    processes = Processes()
    held = locked(recipe.output, other="output") if processes.is_main else nullcontext()
    with held:
        if processes.is_main and any(entry.model is not None for entry in recipe.models):
            # Weights that cannot be used end the run before images are made; they are let go, for
            # the models need the memory.
            _measures(recipe, prompts, processes)
        for entry in recipe.models:
            if entry.model is not None and processes.world > 1:
                make_images(recipe, entry, prompts, processes, share=processes.share)
        processes.gather()
        if not processes.is_main:
            return None
        return _measured(recipe, prompts, processes, skip_bad=skip_bad)


def _measured(
    recipe: BenchmarkRecipe, prompts: PromptSet, processes: Processes, *, skip_bad: bool
) -> BenchmarkResults:
    model_runs = _model_runs(recipe, prompts, processes)
    reference = _reference(recipe, prompts, skip_bad=skip_bad)
    measures, missing = _measures(recipe, prompts, processes)
    store = MeasureStore(recipe.output / _MEASURED)
    everyone = [*model_runs, reference] if reference else model_runs
    for model_run in everyone:
        _measure(model_run, measures, store)
    values = Values(
        reference.findings if reference else [],
        resamples=recipe.resamples,
        groups=recipe.distance_groups,
    )
    columns = tuple(column for measure in measures for column in measure.columns)
    results = BenchmarkResults(
        columns,
        rows_of(model_runs, reference, columns, values, prompts),
        differences_of(model_runs, columns, values),
        tuple(missing),
        {model_run.name: model_run.bad for model_run in everyone if model_run.bad},
        notes_of(recipe, prompts, model_runs, reference, columns),
        images_of(everyone, columns),
        facts_of(recipe, prompts, measures),
    )
    _write(results, model_runs, recipe.output)
    return results


def _measures(
    recipe: BenchmarkRecipe, prompts: PromptSet, processes: Processes
) -> tuple[list[Measure], list[Unavailable]]:
    settings = MeasureSettings(
        recipe.reencode, recipe.patch_size, recipe.patches_per_image, recipe.grid_period
    )
    has_reference = bool(recipe.reference or prompts.reference)
    return measures_for(
        settings,
        recipe.networks,
        str(processes.device),
        has_reference=has_reference,
        own=own_measures(recipe.metrics, "metrics"),
    )


def _write(results: BenchmarkResults, model_runs: Sequence[ModelRun], folder: Path) -> None:
    data, table, images, latex, report = (folder / name for name in FILES)
    results.save_json(data)
    results.save_csv(table)
    results.save_images(images)
    save_latex(results, latex)
    write_report(results, model_runs, report)


def _model_runs(
    recipe: BenchmarkRecipe, prompts: PromptSet, processes: Processes
) -> list[ModelRun]:
    """The rows with their images; the models make what is not there yet."""
    images: dict[str, list[ImageSetEntry]] = {}
    for entry in recipe.models:
        if entry.images is not None:
            images[entry.name] = found_images(images_folder(recipe, entry))
            continue
        made = make_images(recipe, entry, prompts, processes)
        write_captions(images_folder(recipe, entry), made)
        images[entry.name] = made
    sizes = {image.path: size_of(image) for row in images.values() for image in row}
    wanted = _crop_size(recipe, [size for size in sizes.values() if size])
    model_runs = []
    for entry in recipe.models:
        originals = images[entry.name]
        known = {image.path: sizes[image.path] for image in originals}
        folder = recipe.output / "cropped" / entry.name
        measured = originals
        if wanted:
            measured = [cropped(image, known[image.path], wanted, folder) for image in originals]
        conditions = conditions_of(originals, [wanted or size for size in known.values() if size])
        model_runs.append(ModelRun(entry.name, measured, conditions, images_folder(recipe, entry)))
    return model_runs


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
        images = [ImageSetEntry(p.path, p.path.name, p.text) for p in photos]
        sizes = [(photo.width, photo.height) for photo in photos]
    else:
        images = [ImageSetEntry(path, path.name) for path in list_images(folder)]
        sizes = [size for image in images if (size := size_of(image))]
    return ModelRun("photographs", images, conditions_of(images, sizes), folder)


def _measure(model_run: ModelRun, measures: Sequence[Measure], store: MeasureStore) -> None:
    pictures = [MeasuredImage(image.path, image.prompt or None) for image in model_run.images]
    with Counter(f"measuring {model_run.name}", len(pictures)) as counter:
        good, bad = measure_folder(
            model_run.folder, pictures, measures, store, lambda _: counter.advance()
        )
    model_run.found |= {finding.path: finding for finding in good}
    model_run.bad |= {name_in(model_run.folder, finding.path): finding.problem for finding in bad}
