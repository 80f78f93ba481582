"""`diffusion4k dataset build`: all steps in their order.

Every build begins with the list of candidates and decides again about each; headers, measures,
scores and files that are there already are not made again. So the same command continues after
whatever ended it, and with another threshold only what that threshold lets in is measured.
"""

from pathlib import Path

from diffusion4k.curation.engine import calls_ended, interrupts_noted, load_daft, use_ray
from diffusion4k.curation.entries import write_entries
from diffusion4k.curation.files import COUNTS, DECISIONS, DROPPED, SPLITS
from diffusion4k.curation.inspection.decisions import latest_decisions
from diffusion4k.curation.manifest import write_manifest, write_metadata
from diffusion4k.curation.publish import PublishStep, ending_of, remove_others
from diffusion4k.curation.reading import Reader
from diffusion4k.curation.recipe import DatasetRecipe
from diffusion4k.curation.sources import all_entries
from diffusion4k.curation.steps.base import Step
from diffusion4k.curation.steps.captions import CaptionsStep
from diffusion4k.curation.steps.duplicates import DuplicatesStep
from diffusion4k.curation.steps.header import HeaderStep
from diffusion4k.curation.steps.hooks import HookStep
from diffusion4k.curation.steps.inspection import InspectionStep
from diffusion4k.curation.steps.measure import MeasureStep
from diffusion4k.curation.steps.quality import QualityStep
from diffusion4k.curation.steps.scores import ScoresStep
from diffusion4k.curation.steps.split import SplitStep
from diffusion4k.curation.summary import Summary
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import writing
from diffusion4k.support.lock import locked

__all__ = ["build_dataset"]


def build_dataset(recipe: DatasetRecipe, *, ray: str | None = None) -> Summary:
    """Build the dataset of a recipe into its `output`; on a Ray cluster, if its address is given.

    Raises:
        Diffusion4kError: a source, a model or a hook is not there, the output is not ours or
            cannot be written, or no picture was kept.
    """
    output = recipe.output
    work = output / "work"
    load_daft()
    if ray:
        use_ray(ray)
    with locked(output), calls_ended(), interrupts_noted():
        _check_is_ours(output, work)
        summary = _build(recipe, work)
    if not summary.candidates:
        places = ", ".join(source.path for source in recipe.sources)
        raise Diffusion4kError(f"{places}: no picture in it: give another source")
    if not summary.kept:
        raise Diffusion4kError(
            f"{output}: no picture of {summary.candidates} was kept: {output / DROPPED} says why "
            f"of each, {output / COUNTS} how often"
        )
    return summary


def _build(recipe: DatasetRecipe, work: Path) -> Summary:
    output, entries = recipe.output, work.absolute() / "entries"
    with writing(work):
        work.mkdir(exist_ok=True)
        reader = Reader(work.absolute() / "fetched", recipe.fetch)
        measures = MeasureStep(reader, work)
        steps = _steps(recipe, reader, measures, work)
        write_entries(all_entries(recipe.sources, output), entries)
    table = load_daft().read_parquet(f"{entries}/*.parquet")
    for step in steps:
        table = step.run(table)
    table = table.collect()
    # The old files go last: until then the old metadata has all that it names.
    names = write_metadata(table, output)
    summary = Summary(["source", *(step.name for step in steps)])
    write_manifest(table, measures.fingerprints().exclude("thumbnail"), recipe, summary)
    summary.write(output)
    for split in SPLITS:
        remove_others(output / split, names[split])
    return summary


def _steps(recipe: DatasetRecipe, reader: Reader, measures: MeasureStep, work: Path) -> list[Step]:
    thresholds, decisions = recipe.thresholds, latest_decisions(recipe.output / DECISIONS)
    publish = PublishStep(recipe.publish, reader, recipe.output, work)
    steps: list[Step] = [
        HeaderStep(recipe.header, reader, work, ending_of(recipe.publish)),
        measures,
        *(QualityStep(section, thresholds) for section in type(thresholds).model_fields),
        DuplicatesStep(recipe.duplicates, measures.fingerprints),
        CaptionsStep(recipe.captions, recipe.output, publish.published(), decisions),
    ]
    if recipe.scores.clip:
        steps.append(ScoresStep(recipe.scores, reader, work))
    steps += [HookStep(hook, reader, work) for hook in recipe.hooks]
    steps.append(InspectionStep(decisions))
    return [*steps, SplitStep(recipe.split, recipe.duplicates, measures.fingerprints), publish]


def _check_is_ours(output: Path, work: Path) -> None:
    """Refuse a folder whose `train` or `eval` somebody else made: they would be emptied."""
    for split in SPLITS:
        if (output / split).exists() and not work.is_dir():
            raise Diffusion4kError(
                f"{output / split}: not written by `diffusion4k dataset build`, which would remove "
                "what is in it: choose another output"
            )
