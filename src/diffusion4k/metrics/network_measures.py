"""The measures with networks that can be made on this machine, and what is missing.

Unavailable measures are reported with the reason: no weights named, or a missing package.
Their columns stay empty; nothing replaces them. Weights that are named but missing, damaged or of
another network end the run: nobody wants an empty column after hours of work.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.aesthetics import AestheticMeasure, AestheticPredictor
from diffusion4k.metrics.clip import Clip
from diffusion4k.metrics.clip_score import ClipScoreMeasure
from diffusion4k.metrics.cmmd import CmmdMeasure
from diffusion4k.metrics.dino import DinoV2, DinoV2Measure
from diffusion4k.metrics.fid import FidMeasure, InceptionResize, PatchFidMeasure
from diffusion4k.metrics.hpsv3 import HpsV3, HpsV3Measure
from diffusion4k.metrics.inception import InceptionV3
from diffusion4k.metrics.iqa import IqaMeasure, IqaScore
from diffusion4k.metrics.lpips import Lpips
from diffusion4k.metrics.measure import Column, Measure, MetricUnavailable, Unavailable
from diffusion4k.metrics.networks import Networks
from diffusion4k.metrics.pairs import FidelityMeasure, LpipsMeasure
from diffusion4k.metrics.pickscore import PickScoreMeasure

__all__ = ["network_columns", "network_measures"]

_Maker: TypeAlias = tuple[tuple[str, ...], Callable[[], list[Measure]]]


def network_measures(
    settings: Networks, device: str = "cpu"
) -> tuple[list[Measure], list[Unavailable]]:
    """What can be made of `settings`, with PSNR and SSIM, and what is missing.

    All models are loaded here, so that a long run does not fail in its middle. Columns that are
    missing for one reason are reported together.

    Raises:
        Diffusion4kError: weights that are named and cannot be used.
    """
    measures: list[Measure] = [FidelityMeasure()]
    reasons: dict[str, list[str]] = {}
    for columns, make in _makers(settings, device):
        try:
            measures += make()
        except MetricUnavailable as error:
            reasons.setdefault(str(error), []).extend(columns)
    return measures, [Unavailable(tuple(names), reason) for reason, names in reasons.items()]


def network_columns() -> list[str]:
    """The columns of all of them, be there weights or not."""
    return [name for names, _ in _makers(Networks(), "cpu") for name in names]


def _makers(settings: Networks, device: str) -> list[_Maker]:
    """Names of columns, and what makes their measures."""

    @cache  # one that serves two measures is loaded once
    def seeing(name: str) -> Clip:
        return Clip(name, device, texts=False)

    def lpips() -> list[Measure]:
        weights = _named("lpips", settings.lpips)
        network = Lpips(settings.lpips_network, weights, settings.lpips_heads)
        return [LpipsMeasure(network, device)]

    def inception() -> list[Measure]:
        network = InceptionV3(_named("inception", settings.inception), device)
        protocol = InceptionResize(settings.fid_resize, settings.fid_side)
        patches = PatchFidMeasure(network, settings.patch_size, settings.patches_per_image)
        return [FidMeasure(network, protocol), patches]

    def cmmd() -> list[Measure]:
        return [CmmdMeasure(seeing(_named("cmmd_clip", settings.cmmd_clip)))]

    def dinov2() -> list[Measure]:
        return [DinoV2Measure(DinoV2(_named("dinov2", settings.dinov2), device))]

    def clip_score() -> list[Measure]:
        model = Clip(_named("clip", settings.clip), device)
        return [ClipScoreMeasure(model, settings.long_prompts)]

    def aesthetics() -> list[Measure]:
        layers = _named("aesthetics_mlp", settings.aesthetics_mlp)
        model = seeing(_named("aesthetics_clip", settings.aesthetics_clip))
        return [AestheticMeasure(model, AestheticPredictor(layers, model))]

    def pickscore() -> list[Measure]:
        return [PickScoreMeasure(Clip(_named("pickscore", settings.pickscore), device))]

    def hpsv3() -> list[Measure]:
        return [HpsV3Measure(HpsV3(_named("hpsv3", settings.hpsv3), device))]

    def score_of_pyiqa(name: str) -> list[Measure]:
        try:
            return [IqaMeasure(IqaScore(name, device))]
        except MetricUnavailable:
            raise
        except Diffusion4kError as error:
            if "pyiqa" in settings.model_fields_set:
                raise
            raise MetricUnavailable(str(error)) from None  # Nobody asked for it.

    return [
        (_names(LpipsMeasure.columns), lpips),
        (_names(FidMeasure.columns + PatchFidMeasure.columns), inception),
        (_names(CmmdMeasure.columns), cmmd),
        (_names(DinoV2Measure.columns), dinov2),
        (_names(ClipScoreMeasure.columns), clip_score),
        (_names(AestheticMeasure.columns), aesthetics),
        (_names(PickScoreMeasure.columns), pickscore),
        (_names(HpsV3Measure.columns), hpsv3),
        *(((name,), partial(score_of_pyiqa, name)) for name in settings.pyiqa),
    ]


def _names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _named(key: str, weights: str | None) -> str:
    """The weights, or a `MetricUnavailable` that says which setting names them."""
    if weights is None:
        raise MetricUnavailable(
            f"no weights: `{key}` names none; docs/metric-networks.md says which"
        )
    return weights
