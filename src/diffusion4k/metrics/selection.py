"""Which measures the pictures of a folder get, in `evaluate --all` and in the benchmark alike."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from diffusion4k.metrics.measure import Distance, Measure, Unavailable
from diffusion4k.metrics.registry import make_measures, measure_kinds
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from diffusion4k.metrics.networks import Networks

__all__ = ["lacking_prompts", "measures_for", "takes_prompts"]


def measures_for(
    settings: MeasureSettings,
    networks: "Networks",
    device: str = "cpu",
    *,
    has_reference: bool,
    own: Sequence[Measure] = (),
) -> tuple[list[Measure], list[Unavailable]]:
    """All measures of pictures made from prompts, with one's own, and why other columns are empty.

    Such a picture has no original that it should equal: PSNR, SSIM and LPIPS are no part of them.

    Raises:
        Diffusion4kError: weights that are named and cannot be used.
    """
    made, missing = make_measures(settings, networks, device)
    measures, without = [], []
    for measure in [*made, *own]:
        if measure.needs_original:
            continue
        if not has_reference and all(isinstance(column, Distance) for column in measure.columns):
            without += [column.name for column in measure.columns]
        else:
            measures.append(measure)
    if without:
        reason = "no photographs: name their folder with `reference`"
        missing.append(Unavailable(tuple(without), reason))
    of_originals = {
        column.name for kind in measure_kinds() if kind.needs_original for column in kind.columns
    }
    return measures, [each for each in missing if not of_originals.issuperset(each.columns)]


def takes_prompts(measures: Sequence[Measure], prompts: Iterable[str | None]) -> Sequence[Measure]:
    """The measures that pictures of these prompts can have; None is a prompt that is not known."""
    if all(prompt is not None for prompt in prompts):
        return measures
    return [measure for measure in measures if not measure.needs_prompt]


def lacking_prompts(
    measures: Sequence[Measure], prompts: Sequence[str | None]
) -> list[Unavailable]:
    """What is missing where prompts are not known."""
    unknown = sum(prompt is None for prompt in prompts)
    names = [column.name for m in measures if m.needs_prompt for column in m.columns]
    if not unknown or not names:
        return []
    reason = (
        f"the prompts of {unknown} of {counted(len(prompts), 'image')} are not known: name them in "
        "metadata.jsonl"
    )
    return [Unavailable(tuple(names), reason)]
