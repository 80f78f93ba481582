"""`evaluate --against`: images measured once more by every metric of one image, beside ratings."""

from collections.abc import Sequence
from pathlib import Path

from diffusion4k.benchmark.human_agreement import Agreement, agreement_with_people
from diffusion4k.benchmark.ratings import Ratings
from diffusion4k.errors import UsageError
from diffusion4k.metrics.measure import Distance, Measure
from diffusion4k.metrics.measuring import Measured, measure_all
from diffusion4k.metrics.networks import Networks
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.registry import make_measures
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.metrics.store import MeasureStore
from diffusion4k.support.progress import track

__all__ = ["compare_with_ratings", "figure_paths", "measures_of_one_image"]


def measures_of_one_image(
    settings: MeasureSettings, networks: Networks, device: str = "cpu", own: Sequence[Measure] = ()
) -> tuple[list[Measure], list[str]]:
    """Measures that see one image alone, and why some that people compare cannot be made.

    Raises:
        Diffusion4kError: weights that are named and cannot be used.
    """
    # The other networks see folders, prompts or originals, and are not loaded.
    measures, missing = make_measures(settings, networks, device, wanted=_sees_one_image)
    named = [f"{', '.join(each.columns)}: {each.reason}" for each in missing]
    return [*measures, *filter(_sees_one_image, own)], named


def compare_with_ratings(
    paths: Sequence[Path],
    ratings: Ratings,
    measures: Sequence[Measure],
    store: MeasureStore,
) -> tuple[Agreement, list[str]]:
    """The agreement of each of the measures, and which of them could not be used.

    Images that cannot be read have no findings, and count as not measured.

    Raises:
        Diffusion4kError: fewer than three images that are measured and rated.
    """
    rated = [path for path in paths if path.name in set(ratings.images)]
    findings = _found(rated, measures, store)
    failed = [path for path in rated if path.name not in findings]
    useless = _failing(failed, measures, store)
    if useless:
        measures = [measure for measure in measures if measure.name not in useless]
        findings = _found(rated, measures, store)
    columns = [column for measure in measures for column in measure.columns]
    named = [f"{name}: {reason}" for name, reason in useless.items()]
    return agreement_with_people(columns, findings, ratings), named


def _found(
    paths: Sequence[Path], measures: Sequence[Measure], store: MeasureStore
) -> dict[str, Measured]:
    """Measurements by file name, without the images that a measure cannot read."""
    found = measure_all(map(MeasuredImage, paths), measures, store)
    return {
        finding.path.name: finding
        for finding in track(found, len(paths), "measuring rated images")
        if not finding.problem
    }


def _failing(
    paths: Sequence[Path], measures: Sequence[Measure], store: MeasureStore
) -> dict[str, str]:
    """Measures that cannot take images which others can, and why: a patch may be too small.

    They are left out for all images, rather than the images for all measures.
    """
    found: dict[str, str] = {}
    for path in paths:
        problems = {
            measure.name: next(measure_all([MeasuredImage(path)], [measure], store)).problem
            for measure in measures
        }
        if not all(problems.values()):
            here = {name: f"{path.name}: {why}" for name, why in problems.items() if why}
            found = here | found
    return found


def figure_paths(figure: Path | None, out: Path | None, suffixes: Sequence[str]) -> list[Path]:
    """Where the scatter plots go: the figure named, or a PNG and an SVG file beside the results.

    Raises:
        UsageError: a suffix that is not written.
    """
    if figure is None:
        beside = out.with_name(f"{out.stem}-ratings") if out else None
        return [beside.with_name(beside.name + s) for s in (".png", ".svg")] if beside else []
    if figure.suffix.lower() not in suffixes:
        raise UsageError(f"--figure {figure}: allowed are files ending in {', '.join(suffixes)}")
    return [figure]


def _sees_one_image(measure: Measure | type[Measure]) -> bool:
    alone = not measure.needs_prompt and not measure.needs_original
    return alone and any(not isinstance(column, Distance) for column in measure.columns)
