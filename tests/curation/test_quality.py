"""Verdicts: each limit rejects beyond it alone, and says the value found and the one allowed."""

import math

import pytest
from pydantic import ValidationError

from diffusion4k.curation.measures import MEASURES
from diffusion4k.curation.steps.quality import Rejection, rejections
from diffusion4k.curation.thresholds import BlurThresholds, ExposureThresholds, Thresholds

LIMITS = [
    (step, *field.split("_", 1), limit)
    for step, section in Thresholds()
    for field, limit in section
    if limit is not None
]


def test_every_limit_is_of_a_measure_that_exists() -> None:
    for _, section in Thresholds():
        for field in type(section).model_fields:
            bound, _, name = field.partition("_")
            assert bound in ("min", "max")
            assert name in MEASURES


@pytest.mark.parametrize(("step", "bound", "name", "limit"), LIMITS)
def test_a_limit_itself_is_allowed_and_beyond_it_is_not(
    step: str, bound: str, name: str, limit: float
) -> None:
    beyond = limit + (0.01 if bound == "max" else -0.01)
    assert rejections({name: limit}, Thresholds()) == []
    [found] = rejections({name: beyond}, Thresholds())
    assert found.step == step
    allowed = "at least" if bound == "min" else "at most"
    assert found.reason.startswith(f"{name} {beyond:.3g}")
    assert f"allowed {allowed} {limit:g}" in found.reason


def test_reasons_read_well() -> None:
    values = {"traced_quality": 20.0, "noise": 11.37, "border_top": 0.2}
    assert rejections(values, Thresholds()) == [
        Rejection("compressed", "traced_quality 20, allowed at least 50"),
        Rejection("noise", "noise 11.4, allowed at most 5"),
    ]


def test_what_was_not_measured_is_not_judged() -> None:
    assert rejections({}, Thresholds()) == []
    assert rejections(dict.fromkeys(MEASURES), Thresholds()) == []
    assert rejections(dict.fromkeys(MEASURES, math.nan), Thresholds()) == []


def test_limits_are_changed_and_switched_off() -> None:
    values = {"detail_fall": -2.0, "motion_blur": 1.5}
    assert len(rejections(values, Thresholds())) == 2
    off = Thresholds(blur=BlurThresholds(min_detail_fall=None, max_motion_blur=2))
    assert rejections(values, off) == []
    read = Thresholds.model_validate({"exposure": {"max_blown_out": None}})
    assert read.exposure == ExposureThresholds(max_blown_out=None)
    with pytest.raises(ValidationError):
        Thresholds.model_validate({"blur": {"min_sharpness": 1}})
