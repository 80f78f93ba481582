"""Metrics beside ratings whose relation is known."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from diffusion4k.benchmark.human_agreement import agreement_with_people
from diffusion4k.benchmark.ratings import Ratings
from diffusion4k.benchmark.scatter import draw_scatter
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Distance, Mean, Ratio
from diffusion4k.metrics.measuring import Measured

COLUMNS = (
    Mean("glcm_score", "GLCM Score", "higher", 3),
    Mean("flat", "flat", "", 1),
    Mean("elsewhere", "elsewhere", "", 1),
    Ratio("compression_ratio", "Compression Ratio", "lower", 2, "raw_bytes", "jpeg_bytes"),
    Distance("fd", "FD", "lower", 2, "features", lambda a, b: 0.0),
)
NAMES = tuple(f"{n}.jpg" for n in range(20))


def example(raters: int = 4) -> tuple[dict[str, Measured], Ratings]:
    rng = np.random.default_rng(2)
    truth = rng.uniform(2, 9, len(NAMES))
    findings = {
        name: Measured(
            Path(name),
            {
                "glcm_score": value + rng.normal(),
                "flat": 1.0,
                "raw_bytes": 1000.0,
                "jpeg_bytes": 10 * value + rng.normal(),
            },
        )
        for name, value in zip(NAMES, truth, strict=True)
    }
    table = np.clip(np.round(truth + rng.normal(0, 0.7, (raters, len(NAMES)))), 1, 10)
    table[0, 0] = np.nan
    return findings, Ratings(NAMES, tuple(f"r{n}" for n in range(raters)), table)


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_correlations_are_scipys_and_the_ratio_enters_by_its_reciprocal() -> None:
    findings, ratings = example()
    found = agreement_with_people(COLUMNS, findings, ratings)
    means = np.nanmean(ratings.table, 0)
    by_name = {each.column.name: each for each in found.indicators}
    assert set(by_name) == {"glcm_score", "flat", "compression_ratio"}
    score = [findings[name].numbers["glcm_score"] for name in NAMES]
    reciprocal = [findings[name].numbers["jpeg_bytes"] / 1000 for name in NAMES]
    for name, values in (("glcm_score", score), ("compression_ratio", reciprocal)):
        indicator = by_name[name].correlations
        wanted = {
            "srcc": scipy.stats.spearmanr(values, means)[0],
            "plcc": scipy.stats.pearsonr(values, means)[0],
            "kendall": scipy.stats.kendalltau(values, means)[0],
        }
        for kind, value in wanted.items():
            assert indicator[kind].value == pytest.approx(value, abs=1e-12)
            assert indicator[kind].low < value < indicator[kind].high
    assert by_name["compression_ratio"].label == "1 / Compression Ratio"
    assert by_name["compression_ratio"].correlations["plcc"].value > 0.9
    assert (by_name["glcm_score"].published, by_name["flat"].published) == ((0.75, 0.77), None)
    assert np.isnan(by_name["flat"].correlations["srcc"].value)
    assert "flat: the same for all images: no correlation" in found.warnings
    assert found.alpha["ordinal"].value > 0.7 and len(found.raters) == 4
    assert min(rater.with_others for rater in found.raters) > 0.7
    assert found.to_json()["indicators"]["flat"]["srcc"]["value"] is None


def test_one_rater_agrees_with_nobody() -> None:
    findings, ratings = example(raters=1)
    found = agreement_with_people(COLUMNS, findings, ratings)
    assert found.alpha == {} and found.raters == ()
    assert len(found.means) == 19  # One was not rated.


def test_too_little_to_correlate() -> None:
    findings, ratings = example()
    few = {name: findings[name] for name in NAMES[:2]}
    too_few = r"2 images both measured and rated, .* at least 3: 2.jpg, 3.jpg, 4"
    with pytest.raises(Diffusion4kError, match=too_few):
        agreement_with_people(COLUMNS, few, ratings)
    constant = Ratings(NAMES, ("r",), np.full((1, len(NAMES)), 4.0))
    with pytest.raises(Diffusion4kError, match="all 20 images have the mean rating 4"):
        agreement_with_people(COLUMNS, findings, constant)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_figure_is_the_same_every_time(tmp_path: Path, suffix: str) -> None:
    findings, ratings = example()
    found = agreement_with_people(COLUMNS, findings, ratings)
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    draw_scatter(found, first)
    draw_scatter(found, second)
    assert len(first.read_bytes()) > 3000
    assert first.read_bytes() == second.read_bytes()
