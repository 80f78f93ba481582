"""From findings to rows, paired differences and notes."""

from collections.abc import Sequence
from itertools import combinations

from diffusion4k.benchmark.comparable import said_size, why_not, why_not_published
from diffusion4k.benchmark.model_runs import ModelRun
from diffusion4k.benchmark.prompts import PromptSet
from diffusion4k.benchmark.published import PUBLISHED
from diffusion4k.benchmark.recipe import BenchmarkRecipe
from diffusion4k.benchmark.results import Difference, ImageRow, TableRow
from diffusion4k.benchmark.values import Cell, Values, foreign_files, per_picture
from diffusion4k.metrics.compression import why_marked
from diffusion4k.metrics.measure import Column, Distance, Measure
from diffusion4k.metrics.measuring import Measured
from diffusion4k.support.progress import track
from diffusion4k.support.versions import versions
from diffusion4k.support.wording import counted

__all__ = ["differences_of", "facts_of", "images_of", "notes_of", "rows_of"]

_ENOUGH = 10  # images for an interval that means something


def rows_of(
    model_runs: Sequence[ModelRun],
    reference: ModelRun | None,
    columns: Sequence[Column],
    values: Values,
    prompts: PromptSet,
) -> tuple[TableRow, ...]:
    """Ours, the photographs, and the published ones."""
    base = model_runs[0].conditions
    rows = [
        TableRow(
            model_run.name,
            "ours",
            len(model_run.found),
            said_size(model_run.conditions.sizes),
            _cells(columns, model_run.findings, values),
            tuple(why_not(model_run.conditions, base)),
            images_folder=str(model_run.folder),
        )
        for model_run in track(model_runs, len(model_runs), "intervals")
    ]
    if reference:
        numbers = [column for column in columns if not isinstance(column, Distance)]
        cells = _cells(numbers, reference.findings, values)
        size = said_size(reference.conditions.sizes)
        name, count = reference.name, len(reference.found)
        rows.append(TableRow(name, "photographs", count, size, cells))
    for published in PUBLISHED:
        cells = {name: Cell(value) for name, value in published.values.items()}
        notes = tuple(why_not_published(published, base, prompts.published_name))
        size = "x".join(map(str, published.size))
        rows.append(
            TableRow(
                published.name, "published", published.images, size, cells, notes, published.source
            )
        )
    return tuple(rows)


def _cells(
    columns: Sequence[Column], findings: Sequence[Measured], values: Values
) -> dict[str, Cell]:
    return {column.name: values.value(column, findings) for column in columns}


def differences_of(
    model_runs: Sequence[ModelRun], columns: Sequence[Column], values: Values
) -> tuple[Difference, ...]:
    """Differences of every two rows that have at least two pairs of images."""
    found = []
    for first, second in combinations(model_runs, 2):
        ours, theirs = first.by_pair(), second.by_pair()
        pairs = [pair for pair in ours if pair in theirs]
        if len(pairs) < 2:
            continue
        sides = [ours[pair] for pair in pairs], [theirs[pair] for pair in pairs]
        cells = {column.name: values.difference(column, *sides) for column in columns}
        found.append(Difference(first.name, second.name, len(pairs), cells))
    return tuple(found)


def images_of(model_runs: Sequence[ModelRun], columns: Sequence[Column]) -> tuple[ImageRow, ...]:
    """The numbers of every image that was measured."""
    found = []
    for model_run in model_runs:
        values = {c.name: per_picture(c, model_run.findings) for c in columns}
        for place, image in enumerate(s for s in model_run.images if s.path in model_run.found):
            numbers = {name: float(v[place]) for name, v in values.items() if v is not None}
            row = ImageRow(model_run.name, image.path.name, image.prompt, image.seed, numbers)
            found.append(row)
    return tuple(found)


def notes_of(
    recipe: BenchmarkRecipe,
    prompts: PromptSet,
    model_runs: Sequence[ModelRun],
    reference: ModelRun | None,
    columns: Sequence[Column],
) -> tuple[str, ...]:
    """What a reader must know of all rows."""
    notes = []
    everyone = [*model_runs, reference] if reference else model_runs
    measured = [found for model_run in everyone for found in model_run.findings]
    if foreign := sum(foreign_files(column, measured) for column in columns):
        notes.append(why_marked(foreign, "reencode=true"))
    if prompts.repeated:
        notes.append(f"{prompts.name}: {counted(prompts.repeated, 'repeated prompt')} left out")
    notes += [
        f"{model_run.name}: the prompts of {unknown} of {counted(len(model_run.images), 'image')} "
        "are not known: name them in metadata.jsonl; metrics of prompts are left empty"
        for model_run in model_runs
        if (unknown := model_run.conditions.unprompted)
    ]
    # That all are made directly goes without saying.
    if {how for model_run in model_runs for how in model_run.conditions.made} - {"directly"}:
        notes += [
            f"{model_run.name}: made {'; '.join(ways)}"
            for model_run in model_runs
            if (ways := sorted(model_run.conditions.made))
        ]
    if recipe.crop:
        size = said_size(model_runs[0].conditions.sizes)
        notes.append(f"measured: the centre of every image, {size}")
    for first, second in combinations(model_runs, 2):
        ours, theirs = first.by_pair(), second.by_pair()
        if (common := len(ours.keys() & theirs.keys())) < max(
            len(first.images), len(second.images)
        ):
            notes.append(
                f"{first.name} and {second.name}: {counted(common, 'pair')} of "
                f"{len(first.images)} and {len(second.images)} images; the others have no partner "
                "and are left out of their difference"
            )
    fewest = min(len(model_run.found) for model_run in model_runs)
    if fewest == 1:
        notes.append("a row of one image has no intervals, and no distance of whole images")
    elif fewest < _ENOUGH:
        notes.append(
            f"{counted(fewest, 'image')}: intervals of so few are rough, and rather too narrow"
        )
    if reference and fewest < 2048:
        notes.append(
            f"{counted(fewest, 'image')} and {counted(len(reference.found), 'photograph')}: a "
            "Fréchet distance of fewer "
            "samples than its extractor has dimensions is too high; compare it between rows of as "
            "many images only"
        )
    return tuple(notes)


def facts_of(
    recipe: BenchmarkRecipe, prompts: PromptSet, measures: Sequence[Measure]
) -> dict[str, object]:
    """What the results rest on."""
    libraries = ("torch", "diffusers", "transformers", "numpy", "pillow", "numba")
    return {
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "prompts": {
            "name": prompts.name,
            "count": len(prompts.prompts),
            "fingerprint": prompts.fingerprint,
        },
        "protocols": {measure.name: measure.protocol for measure in measures},
        "versions": versions("python", *libraries),
    }
